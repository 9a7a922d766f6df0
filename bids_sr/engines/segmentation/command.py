"""A command-line tool: its arguments, and how its results are read.

It defines the command and its requirements.  A Nipype interface runs it.
"""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import nibabel as nb
import numpy as np

from bids_sr.engines.segmentation.base import Label, Segmentation, SegmentationTool
from bids_sr.exceptions import EngineError, MissingToolError
from bids_sr.files import read_text
from bids_sr.imaging import Volume, resample

LICENCES = ("license.txt", ".license")
LOOKUP_TABLE = "FreeSurferColorLUT.txt"


@dataclass(frozen=True, kw_only=True)
class CommandTool(SegmentationTool):
    """Contract of a command-line tool."""

    program: ClassVar[str]
    """Executable on the PATH."""
    how_to_get: ClassVar[str]
    """A sentence: how to install and configure it."""

    @abstractmethod
    def argv(self, in_file: Path, folder: Path, companion: Path | None = None) -> list[str]:
        """Return the command line, program first.

        Parameters
        ----------
        in_file : Path
            The image, NIfTI.
        folder : Path
            Where all results go; it exists.
        companion : Path, optional
            The other image, where the tool needs one.
        """

    @abstractmethod
    def read(self, volume: Volume, folder: Path) -> Segmentation:
        """Read the results of the program.

        Parameters
        ----------
        volume : Volume
            The image that was segmented.
        folder : Path
            As in :meth:`argv`.

        Raises
        ------
        EngineError
            If a result is missing or cannot be read.
        """

    def check(self) -> None:
        """Refuse where the program is missing; see :class:`.SegmentationTool`."""
        if shutil.which(self.program) is None:
            raise MissingToolError(
                f"--segmentation {self.name}: found no program {self.program} on the PATH. "
                f"{self.how_to_get} Or leave {self.name} out."
            )

    def segment(self, volume: Volume, mask: Volume | None = None) -> Segmentation:
        """Refuse: a command-line tool does not run in this process."""
        raise EngineError(f"{self.name} is a command-line tool; expected CommandTool to run it.")


@dataclass(frozen=True, kw_only=True)
class FreeSurferTool(CommandTool):
    """A program of FreeSurfer, with its licence and its table of labels."""

    how_to_get: ClassVar[str] = (
        "It comes with FreeSurfer: install it from https://surfer.nmr.mgh.harvard.edu, set "
        "FREESURFER_HOME and source $FREESURFER_HOME/SetUpFreeSurfer.sh."
    )

    def check(self) -> None:
        """Refuse where program, licence or table is missing; see :class:`.SegmentationTool`."""
        super().check()
        home = os.environ.get("FREESURFER_HOME", "")
        if not home or not (Path(home) / LOOKUP_TABLE).is_file():
            raise MissingToolError(
                f"--segmentation {self.name}: FREESURFER_HOME is {home or 'not set'}; expected "
                f"the folder of FreeSurfer, which holds {LOOKUP_TABLE}. {self.how_to_get}"
            )
        licence = os.environ.get("FS_LICENSE", "")
        places = [Path(licence)] if licence else [Path(home) / name for name in LICENCES]
        if not any(place.is_file() for place in places):
            raise MissingToolError(
                f"--segmentation {self.name}: found no licence of FreeSurfer at "
                f"{' or '.join(map(str, places))}. It is free: register at "
                "https://surfer.nmr.mgh.harvard.edu/registration.html, then name the file with "
                "FS_LICENSE."
            )

    def labels_of(self, volume: Volume, path: Path) -> Segmentation:
        """Read a label map of FreeSurfer with the rows of its table that occur in it."""
        labels = read_labels(path, volume)
        table = freesurfer_table(Path(os.environ["FREESURFER_HOME"]) / LOOKUP_TABLE)
        indices = (int(index) for index in np.unique(labels.data) if index)
        rows = tuple(
            table.get(index, Label(index=index, name=f"label {index}")) for index in indices
        )
        return Segmentation(labels=labels, table=rows, record={"Method": self.program})


def freesurfer_table(path: Path) -> Mapping[int, Label]:
    """Read a colour look-up table of FreeSurfer.

    Parameters
    ----------
    path : Path
        Lines of ``index name red green blue alpha``; ``#`` starts a comment.

    Returns
    -------
    dict
        Index -> label.
    """
    labels = {}
    for line in read_text(path, error=EngineError).splitlines():
        words = line.split("#")[0].split()
        if len(words) >= 5 and words[0].isdigit() and words[0] != "0":
            red, green, blue = (int(word) for word in words[2:5])
            colour = f"#{red:02x}{green:02x}{blue:02x}"
            labels[int(words[0])] = Label(index=int(words[0]), name=words[1], colour=colour)
    return labels


def read_labels(path: Path, volume: Volume) -> Volume:
    """Read a label map in a format of nibabel, on the grid of an image.

    Parameters
    ----------
    path : Path
    volume : Volume
        Labels on another grid (many tools give 1 mm) go to the nearest voxel of its grid.

    Raises
    ------
    EngineError
        If there is none, or it has no label.
    """
    image = _read(path)
    data = np.rint(image.data).astype(np.int32)
    if not data.any():
        raise EngineError(f"{path.name} has only background; expected at least one label.")
    labels = Volume(data, image.affine)
    if not labels.same_grid(volume):
        labels = resample(labels, volume.grid, kernel="nearest")
    return volume.with_data(np.rint(labels.data).astype(np.int32))


def read_map(path: Path, volume: Volume) -> Volume:
    """Read a probability map, brought to the grid of an image by linear interpolation."""
    image = _read(path)
    if not image.same_grid(volume):
        image = resample(image, volume.grid, kernel="linear")
    return volume.with_data(np.clip(image.data, 0, 1).astype(np.float32))


def _read(path: Path) -> Volume:
    if not path.is_file():
        raise EngineError(
            f"The program did not write {path.name} in {path.parent}. Its output is in "
            "program.log in the same folder."
        )
    try:
        image = nb.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)  # type: ignore[attr-defined]
        affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
    except (OSError, ValueError, nb.filebasedimages.ImageFileError) as error:
        raise EngineError(f"{path} cannot be read ({error}); expected a label map.") from error
    return Volume(data.reshape(data.shape[:3]), affine)
