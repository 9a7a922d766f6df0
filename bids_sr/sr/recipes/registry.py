"""The classes of the recipes by name; which there are is said in ``method_facts``."""

from __future__ import annotations

from bids_sr.method_facts import RECIPE_IMPLEMENTATIONS
from bids_sr.sr.contract.settings import class_at
from bids_sr.sr.recipes.base import Recipe

RECIPES: dict[str, type[Recipe]] = {
    name: class_at(place) for name, place in RECIPE_IMPLEMENTATIONS.items()
}
