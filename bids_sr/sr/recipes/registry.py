"""The recipes by name: one line each."""

from __future__ import annotations

from bids_sr.sr.recipes.adapt import Adapt
from bids_sr.sr.recipes.autoencoder import AutoencoderRecipe
from bids_sr.sr.recipes.base import Recipe
from bids_sr.sr.recipes.perceptual import Perceptual
from bids_sr.sr.recipes.supervised import Supervised
from bids_sr.sr.recipes.video import Video

RECIPES: dict[str, type[Recipe]] = {
    "adapt": Adapt,
    "autoencoder": AutoencoderRecipe,
    "perceptual": Perceptual,
    "supervised": Supervised,
    "video": Video,
}
