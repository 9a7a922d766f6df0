"""A recipe trains weights on files.

This is the contract of every recipe: its fields are its settings, its one verb is
:meth:`Recipe.train`.  A recipe neither finds files nor names its output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from bids_sr.compute.device import limited_threads, resolve_device
from bids_sr.compute.progress import Progress
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.contract.card import RecipeUsed, Start
from bids_sr.sr.contract.settings import configured, require
from bids_sr.sr.contract.weights import Weights

IMAGES = (".nii", ".nii.gz")
"""Endings of the files that most recipes read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Hold the inputs of a training besides its settings."""

    files: tuple[Path, ...]
    """Training files, sorted by path."""
    acquisitions: Mapping[Path, Acquisition] = field(default_factory=dict)
    """How images were taken, where that is known from elsewhere than their header."""
    start: Weights | None = None
    """Weights to begin with; None for a new network."""
    checkpoint: Path | None = None
    """Where the state is written regularly, and from where an interrupted training resumes."""
    progress: Progress | None = None
    device: torch.device
    threads: int
    """Number of cores, on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """Train a network; a subclass adds its settings as fields."""

    name: ClassVar[str]
    """The name under which the recipe is registered."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Sets of settings by name; the defaults are one of them, with nothing in it."""
    suffixes: ClassVar[tuple[str, ...]] = IMAGES
    """Endings of the files that it reads."""

    threads: int | None = None
    """CPU threads; None leaves the choice to torch."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    seed: int = DEFAULT_SEED
    """Seed of weights, patches and which files are left out."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    def train(
        self,
        files: Sequence[Path],
        *,
        acquisitions: Mapping[Path, Acquisition] | None = None,
        start: Weights | None = None,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> Weights:
        """Train on files.

        Parameters
        ----------
        files : sequence of Path
            Images, or other files that the recipe reads.  Those that cannot be read are left out
            with a warning.
        acquisitions : mapping of Path to Acquisition, optional
            How images were taken, where the header does not state it.
        start : Weights, optional
            Begin with these instead of a new network.
        checkpoint : Path, optional
            Where the state is written regularly; if the file exists, the training resumes from
            it.  It is not removed.
        progress : callable, optional
            Called with the progress of the training.

        Returns
        -------
        Weights
            With a card that describes their network and training.

        Raises
        ------
        InputDataError
            If no file can be used.
        WeightsError
            If `start` is of another architecture.
        ConfigError
            If the checkpoint belongs to a training with other settings.
        """
        readable = tuple(sorted(path for path in files if path.name.endswith(self.suffixes)))
        if not readable:
            raise InputDataError(
                f"Found {len(files)} files, none of which ends in {' or '.join(self.suffixes)}; "
                f"expected some for the recipe {self.name!r}."
            )
        with limited_threads(self.threads) as threads:
            weights = self._train(
                Job(
                    files=readable,
                    acquisitions=acquisitions or {},
                    start=start,
                    checkpoint=checkpoint,
                    progress=progress,
                    device=resolve_device(self.device),
                    threads=threads,
                )
            )
        card = replace(
            weights.card,
            recipe=RecipeUsed(name=self.name, parameters=self.parameters()),
            seed=self.seed,
            data=weights.card.data or {"Files": [path.name for path in readable]},
            start=None if start is None else Start(sha256=start.digest, card=start.card),
        )
        return Weights(tensors=weights.tensors, card=card)

    def parameters(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @abstractmethod
    def _train(self, job: Job) -> Weights:
        """Do the work of :meth:`train`.

        The card needs the architecture and the curve, and optionally geometry and data;
        recipe, seed and start are filled in.
        """


def make_recipe(
    recipes: Mapping[str, type[Recipe]], name: str, parameters: Mapping[str, Any] | None = None
) -> Recipe:
    """Return the recipe of that name with its settings.

    Parameters
    ----------
    recipes : mapping
        The recipes by name.
    name : str
    parameters : mapping, optional
        Settings by name.  ``preset`` names a set of them, over which the others win.

    Raises
    ------
    ConfigError
        If the name or a setting is unknown, or a value is impossible.
    """
    return configured(recipes, "recipe", name, parameters)
