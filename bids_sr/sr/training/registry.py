"""The recipes by name: one line each."""

from __future__ import annotations

from bids_sr.sr.training.autoencoder import AutoencoderRecipe
from bids_sr.sr.training.perceptual import Perceptual
from bids_sr.sr.training.recipe import Recipe
from bids_sr.sr.training.supervised import Supervised

RECIPES: dict[str, type[Recipe]] = {
    "autoencoder": AutoencoderRecipe,
    "perceptual": Perceptual,
    "supervised": Supervised,
}
