"""The recipes by name: one line each."""

from __future__ import annotations

from bids_sr.sr.training.recipe import Recipe
from bids_sr.sr.training.supervised import Supervised

RECIPES: dict[str, type[Recipe]] = {
    "supervised": Supervised,
}
