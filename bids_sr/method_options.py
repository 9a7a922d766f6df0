"""What a user asks of the super-resolution: method, model, adaptation, effort.

Both commands make it from their options.  It knows which options go together, not what
a method does with them, and imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bids_sr.exceptions import ConfigError

METHOD_NAMES = (
    "self",
    "finetuned",
    "pretrained",
    "latent",
    "bspline",
    "lanczos",
    "linear",
    "none",
)
DEFAULT_METHOD: Final = "finetuned"
PRESETS: dict[str, tuple[str, ...]] = {"self": ("fast", "smore"), "latent": ("fast", "paper")}
ADAPTATIONS = ("none", "dataset", "image", "both")
ADAPTABLE: dict[str, tuple[str, ...]] = {"finetuned": ADAPTATIONS, "latent": ADAPTATIONS}
"""The adaptations that a method can take."""
DEFAULT_ADAPTATION = {"finetuned": "image", "latent": "none"}
"""What a method with a model adapts it to unasked."""
WITH_MODEL = ("finetuned", "pretrained", "latent")
WITH_RESULT = ("self", "finetuned", "latent")
"""Methods that learn something which can be kept."""
WITH_UNCERTAINTY = ("self", "finetuned", "pretrained")
"""Methods that can tell how uncertain an image of theirs is."""
RECIPES = {"finetuned": "adapt", "latent": "autoencoder"}
"""The recipe that trains a method's weights on the images of a dataset."""
TAKES_SERIES = ("latent", "bspline", "lanczos", "linear", "none")
"""Methods that reconstruct the frames of a 4-D image in fair time."""
SLOPPY: dict[str, dict[str, Any]] = {
    "self": {"steps": 30, "channels": 8, "blocks": 2, "orientations": 1, "mirrored": False},
    "finetuned": {"steps": 10, "orientations": 1, "mirrored": False},
    "latent": {"steps": 10, "width": 4},
}
_FILES = (".safetensors", ".pth", ".pt", ".ckpt")


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Hold the options that decide how an image is super-resolved."""

    method: str = DEFAULT_METHOD
    """One of :data:`METHOD_NAMES`."""
    preset: str | None = None
    """Named set of hyper-parameters; None: the method's defaults."""
    model: str | None = None
    """Published name or path of weights; None: the method's own."""
    adapt: str | None = None
    """One of :data:`ADAPTATIONS`; None leaves it to the method."""
    reuse_model: Path | None = None
    """What was learnt from an image of the same geometry; None: learn."""
    save_model: bool = False
    """Keep what is learnt."""
    data_consistency: bool | None = None
    """Agree with the acquired slices; None leaves it to the method."""
    steps: int | None = None
    """Most training steps; None leaves it to the method."""
    time_budget: float | None = None
    """Most training time, s."""
    seed: int = 0
    device: str = "auto"
    weights_dir: Path | None = None
    offline: bool = False
    sloppy: bool = False
    """Coarse settings, for tests."""
    alone: bool = False
    """Whether there is one image and no dataset."""

    def __post_init__(self) -> None:
        """Refuse options that do not go together (ConfigError), with their spelling."""
        if self.model is not None and is_path(self.model):  # nodes run in folders of their own
            object.__setattr__(self, "model", os.path.abspath(self.model))
        self._require("--sr-preset", self.preset, PRESETS)
        self._require("--sr-adapt", self.adapt, ADAPTABLE)
        for spelled, value, able in (
            ("--sr-model", self.model, WITH_MODEL),
            ("--sr-reuse-model", self.reuse_model, ("self",)),
            ("--save-model", self.save_model or None, WITH_RESULT),
        ):
            if value is not None and self.method not in able:
                raise ConfigError(
                    f"{spelled} does not go with --sr-method {self.method}: expected "
                    f"{' or '.join(able)}"
                )
        if self.adapt == "none" and self.method == "latent" and self.model is None:
            raise ConfigError(
                "--sr-adapt none with --sr-method latent leaves nothing to work with: give "
                "--sr-model, or let it learn from the dataset or the image"
            )

    def _require(
        self, spelled: str, value: str | None, choices: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Refuse what the method does not know, and name the methods that do."""
        allowed = choices.get(self.method, ())
        if value is None or value in allowed:
            return
        expected = f"expected {', '.join(allowed)}" if allowed else "leave it out"
        others = " or ".join(method for method, known in choices.items() if value in known)
        raise ConfigError(
            f"{spelled} {value} does not go with --sr-method {self.method}: {expected}"
            + (f", or take --sr-method {others}" if others else "")
        )

    @property
    def adapts_to_dataset(self) -> bool:
        """Whether the images of the run together come before each of them."""
        chosen = self.adapt
        if self.alone:
            return False
        if chosen is None and self.method == "latent" and self.model is None:
            chosen = "dataset"
        return chosen in ("dataset", "both")

    @property
    def recipe(self) -> str | None:
        """The recipe that trains on the images of the run; None where nothing does."""
        return RECIPES[self.method] if self.adapts_to_dataset else None

    @property
    def adaptation(self) -> str:
        """What the weights are adapted to, in words; empty where the method adapts none."""
        if self.method not in ADAPTABLE:
            return ""
        words = {"none": "nothing", "dataset": "the dataset", "image": "each image"}
        words |= {"both": "the dataset and each image"}
        unasked = "dataset" if self.adapts_to_dataset else DEFAULT_ADAPTATION[self.method]
        if self.alone and self.method == "latent" and self.model is None:
            unasked = "image"
        return words[self.adapt or unasked]

    @property
    def takes_series(self) -> bool:
        """Whether 4-D images are processed, frame by frame."""
        return self.method in TAKES_SERIES

    @property
    def output_grid(self) -> Literal["fov", "slice"]:
        """The layout of the output where none is asked for."""
        return "slice" if self.method == "latent" else "fov"

    def parameters(self) -> dict[str, Any]:
        """Return what is asked for by the names of the methods' fields.

        A method takes those that it has; the rest is not its matter.
        """
        values: dict[str, Any] = {"seed": self.seed, "device": self.device}
        if self.sloppy and self.steps is None:
            values |= SLOPPY.get(self.method, {})
        adapt = self.adapt
        if self.adapts_to_dataset:
            adapt = "image" if adapt == "both" else "none"
        asked = {
            "preset": self.preset,
            "steps": self.steps,
            "time_budget": self.time_budget,
            "data_consistency": self.data_consistency,
            "model": self.model,
            "adapt": adapt,
            "reuse": None if self.reuse_model is None else str(self.reuse_model),
            "weights_dir": None if self.weights_dir is None else str(self.weights_dir),
            "offline": self.offline or None,
        }
        return values | {name: value for name, value in asked.items() if value is not None}

    def words(self) -> str:
        """Say it in a few words: method, preset, model, adaptation."""
        parts = []
        if self.preset is not None:
            parts.append(f"preset {self.preset}")
        if self.reuse_model is not None:
            parts.append(f"reusing {self.reuse_model}")
        if self.method in WITH_MODEL:
            own = "learnt in this run" if self.recipe == "autoencoder" else "its own"
            parts.append(f"model {self.model or own}")
        if self.adaptation:
            parts.append(f"adapted to {self.adaptation}")
        return f"{self.method} ({', '.join(parts)})" if parts else self.method


def is_path(model: str) -> bool:
    """Tell whether a model is named by its file rather than by a published name."""
    return os.sep in model or model.endswith(_FILES)
