"""A recipe turns files into weights: what is read, what is learnt, how long.

This is the contract that every recipe keeps: its fields are its settings, its one verb
is :meth:`Recipe.train`.  A recipe neither finds files nor names the file it makes.
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
from bids_sr.sr.contract.card import RecipeUsed, Start
from bids_sr.sr.contract.settings import configured, require
from bids_sr.sr.contract.weights import Weights

IMAGES = (".nii", ".nii.gz")
"""Endings of the files that most recipes read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Hold what one training is given besides its settings."""

    files: tuple[Path, ...]
    """What to learn from, in the order of their paths."""
    acquisitions: Mapping[Path, Acquisition] = field(default_factory=dict)
    """How images were taken, where that is known from elsewhere than their header."""
    start: Weights | None = None
    """Weights to begin with; None for a new network."""
    checkpoint: Path | None = None
    """Where the state goes now and then, and from where an interrupted training goes on."""
    progress: Progress | None = None
    device: torch.device
    threads: int
    """On a CPU, so many cores."""


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
    seed: int = 0
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
        """Learn from files.

        Parameters
        ----------
        files : sequence of Path
            Images, or what else the recipe reads.  Those that cannot be read are left out
            with a warning.
        acquisitions : mapping of Path to Acquisition, optional
            How images were taken, where the header does not say it all.
        start : Weights, optional
            Begin with these instead of a new network.
        checkpoint : Path, optional
            Write the state there now and then; if it is there, go on from it.  It is left
            in place.
        progress : callable, optional
            Told how far the training is.

        Returns
        -------
        Weights
            Their card says what they are and what they come from.

        Raises
        ------
        InputDataError
            If nothing can be learnt from the files.
        WeightsError
            If `start` is of another architecture.
        ConfigError
            If the checkpoint belongs to a training with other settings.
        """
        wanted = tuple(sorted(path for path in files if path.name.endswith(self.suffixes)))
        if not wanted:
            raise InputDataError(
                f"Found {len(files)} files, none of which ends in {' or '.join(self.suffixes)}; "
                f"expected some for the recipe {self.name!r}."
            )
        with limited_threads(self.threads) as threads:
            learnt = self._train(
                Job(
                    files=wanted,
                    acquisitions=acquisitions or {},
                    start=start,
                    checkpoint=checkpoint,
                    progress=progress,
                    device=resolve_device(self.device),
                    threads=threads,
                )
            )
        card = replace(
            learnt.card,
            recipe=RecipeUsed(name=self.name, parameters=self.parameters()),
            seed=self.seed,
            data=learnt.card.data or {"Files": [path.name for path in wanted]},
            start=None if start is None else Start(sha256=start.digest, card=start.card),
        )
        return Weights(tensors=learnt.tensors, card=card)

    def parameters(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @abstractmethod
    def _train(self, job: Job) -> Weights:
        """Do the work of :meth:`train`.

        The card needs the architecture and the curve; geometry and data where there is
        more to say than names; recipe, seed and start are filled in.
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
