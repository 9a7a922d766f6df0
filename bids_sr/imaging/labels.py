"""Label maps: volumes whose values are labels, so integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.imaging.volume import Volume


def read_labels(path: Path) -> Volume:
    """Load a label map as int32 (InputDataError where it holds fractions)."""
    volume = Volume.load(path)
    label_values(volume, path.name)
    return volume.with_data(volume.data.astype(np.int32))


def label_values(volume: Volume, name: str) -> npt.NDArray[np.number]:
    """Return the labels that occur in a volume, sorted (InputDataError where it holds fractions).

    Parameters
    ----------
    volume : Volume
    name : str
        Name of the volume in the error message.
    """
    labels = np.unique(volume.data)
    fractions = labels[labels != np.round(labels)]
    if fractions.size:
        raise InputDataError(
            f"Found values such as {fractions[0]:g} in {name}; expected the integers of a label "
            "map. It may be an image."
        )
    return labels
