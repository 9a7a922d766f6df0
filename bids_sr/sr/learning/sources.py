"""Sources: image files as scaled volumes and stacks of slices to learn from.

Nothing here finds files or cuts patches.  A file that cannot be read is left out with a
warning.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import AcquisitionError, ConfigError, InputDataError
from bids_sr.imaging import Acquisition, RobustScaler, View, Volume

LOGGER = logging.getLogger(__name__)
SCALING = "0 to 1: 0.5th percentile to 99.5th of what is above it"
"""How intensities are scaled, in words for a card."""
_SUBJECT = re.compile(r"sub-[0-9a-zA-Z]+")


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Hold parallel slices of an image."""

    data: npt.NDArray[np.float32]
    """(N, H, W) intensities, the bulk of them 0 to 1."""
    spacings: tuple[float, float, float]
    """Distances of slices, rows and columns, mm."""
    name: str
    """Of the file they come from."""


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """Hold an image to learn from."""

    path: Path
    volume: Volume
    """float32, the bulk of the intensities 0 to 1, axes as on disk."""
    acquisition: Acquisition
    """From the header alone unless more was known."""

    @property
    def slice_axis(self) -> int:
        """Array axis across the acquired slices."""
        assert self.acquisition.slice_axis is not None
        return self.acquisition.slice_axis

    def stack(self, axis: int) -> SliceStack:
        """Return the slices across an array axis."""
        view = View.in_plane(axis)
        spacings = self.volume.spacings[[axis, view.rows, view.columns]].tolist()
        return SliceStack(
            view.split(self.volume.data),
            (spacings[0], spacings[1], spacings[2]),
            self.path.name,
        )


def robustly_scaled(volume: Volume) -> Volume:
    """Return a volume with the bulk of its intensities 0 to 1."""
    scaler = RobustScaler.fit(volume.data)
    return volume.with_data(scaler.apply(volume.data).astype(np.float32, copy=False))


def read_images(
    files: Sequence[Path],
    acquisitions: Mapping[Path, Acquisition] | None = None,
    *,
    prepare: Callable[[Volume], Volume] = robustly_scaled,
) -> list[TrainingImage]:
    """Read images and scale their intensities.

    Parameters
    ----------
    files : sequence of Path
        NIfTI files of one volume each.
    acquisitions : mapping of Path to Acquisition, optional
        How they were taken, where that is known.
    prepare : callable
        Scales an image; InputDataError if it is not fit for the training.

    Returns
    -------
    list of TrainingImage
        Without those that cannot be read; a warning is logged for each.

    Raises
    ------
    InputDataError
        If none can be read.
    """
    images = []
    for path in files:
        try:
            images.append(_read(path, (acquisitions or {}).get(path), prepare))
        except (InputDataError, AcquisitionError, OSError) as error:
            LOGGER.warning("Not used for training: %s", error)
    if not images:
        raise InputDataError(
            f"Found {len(files)} files and no image that can be learnt from; expected at least "
            "one. The warnings say what is wrong with each."
        )
    return images


def leave_out(
    files: Sequence[Path], share: float, seed: int, *, named: Sequence[str] = ()
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Split files into those to train on and those to validate on.

    Files of one subject (``sub-`` in their names) stay together.

    Parameters
    ----------
    files : sequence of Path
    share : float
        Of the subjects to leave out; at least one if it is above 0 and there are two or
        more.
    seed : int
    named : sequence of str
        Leave out just these subjects (``sub-01``) instead.

    Returns
    -------
    training, validation : tuples of Path

    Raises
    ------
    ConfigError
        If a named subject has no file.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted(files):
        subject = _SUBJECT.match(path.name)
        groups.setdefault(subject.group() if subject else str(path), []).append(path)
    if unknown := sorted(set(named) - set(groups)):
        raise ConfigError(
            f"Found no file of {', '.join(unknown)} to leave out; expected some of "
            f"{', '.join(groups)}."
        )
    number = round(share * len(groups))
    if share > 0:
        number = max(number, 1)
    number = min(number, len(groups) - 1)
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = set(named) or {list(groups)[index] for index in order[:number]}
    training = [path for name, paths in groups.items() if name not in chosen for path in paths]
    validation = [path for name, paths in groups.items() if name in chosen for path in paths]
    return tuple(training), tuple(validation)


def _read(
    path: Path, acquisition: Acquisition | None, prepare: Callable[[Volume], Volume]
) -> TrainingImage:
    volume = Volume.load(path)
    if acquisition is None:
        acquisition = Acquisition.from_volume(volume)
    return TrainingImage(path, prepare(volume), acquisition.for_volume(volume))
