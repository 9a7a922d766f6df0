"""What a user asks of the super-resolution: method, model, adaptation, effort.

Both commands make it from their options.  It knows which options go together, not what
a method does with them, and imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_sr.exceptions import ConfigError
from bids_sr.method_facts import (
    DEFAULT_METHOD,
    METHOD_FACTS,
    Adaptation,
    DatasetRecipe,
    MethodFacts,
    methods_that,
)
from bids_sr.seed import DEFAULT_SEED

_FILES = (".safetensors", ".pth", ".pt", ".ckpt")
_ADAPTED = {
    "none": "not adapted",
    "dataset": "adapted to the dataset",
    "image": "adapted to each image",
    "both": "adapted to the dataset and each image",
}


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Hold the options that decide how an image is super-resolved."""

    method: str = DEFAULT_METHOD
    """A name in :data:`.METHOD_FACTS`."""
    preset: str | None = None
    """Named set of hyper-parameters; None: the method's defaults."""
    model: str | None = None
    """Published name or path of weights; None: the method's own."""
    adapt: Adaptation | None = None
    """What the weights are adapted to before use; None leaves it to the method."""
    reuse_model: Path | None = None
    """Network trained on an image of the same geometry; None: train."""
    save_model: bool = False
    """Save the trained network."""
    data_consistency: bool | None = None
    """Agree with the acquired slices; None leaves it to the method."""
    steps: int | None = None
    """Maximum training steps; None leaves it to the method."""
    time_budget: float | None = None
    """Maximum training time, s."""
    seed: int = DEFAULT_SEED
    device: str = "auto"
    weights_dir: Path | None = None
    offline: bool = False
    sloppy: bool = False
    """Coarse settings, for tests."""
    alone: bool = False
    """Whether there is one image and no dataset."""

    def __post_init__(self) -> None:
        """Refuse options that do not go together (ConfigError), with their spelling."""
        if self.method not in METHOD_FACTS:
            raise ConfigError(
                f"--sr-method is {self.method!r}: expected {' or '.join(map(repr, METHOD_FACTS))}"
            )
        if self.model is not None and is_path(self.model):  # nodes run in folders of their own
            object.__setattr__(self, "model", os.path.abspath(self.model))
        self._require_choice("--sr-preset", self.preset, lambda facts: facts.presets)
        self._require_choice("--sr-adapt", self.adapt, lambda facts: facts.adaptations)
        self._require_trait("--sr-model", self.model, lambda facts: facts.takes_model)
        self._require_trait(
            "--sr-reuse-model", self.reuse_model, lambda facts: facts.reuses_result
        )
        save_model = self.save_model or None
        self._require_trait("--save-model", save_model, lambda facts: facts.keeps_result)
        if self.adapt == "none" and self._must_learn:
            raise ConfigError(
                f"--sr-adapt none with --sr-method {self.method} leaves no weights to apply: "
                "give --sr-model, or train on the dataset or the image"
            )

    def _require_trait(
        self, spelled: str, value: object, trait: Callable[[MethodFacts], bool]
    ) -> None:
        """Refuse an option that the method has no use for, and name the methods that have."""
        if value is not None and not trait(self.facts):
            raise ConfigError(
                f"{spelled} does not go with --sr-method {self.method}: expected "
                f"{' or '.join(methods_that(trait))}"
            )

    def _require_choice(
        self, spelled: str, value: str | None, choices: Callable[[MethodFacts], Sequence[str]]
    ) -> None:
        """Refuse what the method does not know, and name the methods that do."""
        allowed = choices(self.facts)
        if value is None or value in allowed:
            return
        expected = f"expected {', '.join(allowed)}" if allowed else "leave it out"
        others = " or ".join(methods_that(lambda facts: value in choices(facts)))
        raise ConfigError(
            f"{spelled} {value} does not go with --sr-method {self.method}: {expected}"
            + (f", or use --sr-method {others}" if others else "")
        )

    @property
    def facts(self) -> MethodFacts:
        """What is true of the method."""
        return METHOD_FACTS[self.method]

    @property
    def _must_learn(self) -> bool:
        """Whether there are no weights unless they are trained."""
        return self.facts.takes_model and not self.facts.has_own_model and self.model is None

    @property
    def _adapts_to(self) -> Adaptation | None:
        """What the weights are adapted to; None where the method adapts none."""
        if self.adapt is None and self._must_learn:
            return "image" if self.alone else "dataset"
        return self.adapt or self.facts.default_adaptation

    @property
    def _trains(self) -> bool:
        """Whether anything is trained before an image is reconstructed."""
        if self.facts.adaptations:
            return self._adapts_to != "none"
        return self.facts.keeps_result and self.reuse_model is None

    @property
    def recipe(self) -> DatasetRecipe | None:
        """The recipe that trains on the images of the run; None where nothing does."""
        from_dataset = self._adapts_to in ("dataset", "both") and not self.alone
        return self.facts.recipe if from_dataset else None

    def parameters(self) -> dict[str, Any]:
        """Return what is asked for by the names of the methods' fields.

        A method takes those that it has; the rest is not its matter.
        """
        values: dict[str, Any] = {"seed": self.seed, "device": self.device}
        if self.sloppy and self.steps is None:
            values |= self.facts.sloppy
        adapt = self.adapt
        if self.recipe is not None:
            adapt = "image" if adapt == "both" else "none"
        choices = {
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
        return values | {name: value for name, value in choices.items() if value is not None}

    def words(self) -> str:
        """Say it in a few words: method, preset, model, adaptation."""
        parts = []
        if self.preset is not None:
            parts.append(f"preset {self.preset}")
        if self.reuse_model is not None:
            parts.append(f"reusing {self.reuse_model}")
        if self.facts.takes_model:
            learns = self._must_learn and self.recipe
            own = "model trained in this run" if learns else "bundled model"
            parts.append(f"model {self.model}" if self.model else own)
        if self._adapts_to is not None:
            parts.append(_ADAPTED[self._adapts_to])
        limits = {"--sr-steps": self.steps, "--sr-time-budget": self.time_budget}
        idle = [name for name, limit in limits.items() if limit is not None]
        if idle and not self._trains:
            parts.append(f"nothing is trained: {' and '.join(idle)} without effect")
        return f"{self.method} ({', '.join(parts)})" if parts else self.method


def is_path(model: str) -> bool:
    """Tell whether a model is named by its file rather than by a published name."""
    return os.sep in model or model.endswith(_FILES)
