"""The recipes by name: one line each."""

from __future__ import annotations

from bids_sr.sr.training.adapt import Adapt
from bids_sr.sr.training.autoencoder import AutoencoderRecipe
from bids_sr.sr.training.perceptual import Perceptual
from bids_sr.sr.training.recipe import Recipe
from bids_sr.sr.training.supervised import Supervised
from bids_sr.sr.training.video import Video

RECIPES: dict[str, type[Recipe]] = {
    "adapt": Adapt,
    "autoencoder": AutoencoderRecipe,
    "perceptual": Perceptual,
    "supervised": Supervised,
    "video": Video,
}
