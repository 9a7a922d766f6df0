"""A rigid or affine transform as a text file of ITK, which ANTs, 3D Slicer and others read.

ITK works in LPS+ world coordinates, and its transform of an image maps points of the grid that
is made to points of the image that is moved.  Nothing here calls ITK.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.files.writing import write_text_atomic

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_itk_transform(to_moving: npt.NDArray[np.float64], path: str | os.PathLike[str]) -> Path:
    """Write a transform that brings an image to another grid.

    Parameters
    ----------
    to_moving : (4, 4) array
        From the world of the new grid to that of the moved image, RAS+, mm: the inverse of the
        way that the anatomy takes.
    path : path
        A ``.txt`` file.
    """
    matrix = _LPS @ to_moving @ _LPS
    parameters = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
    words = " ".join(f"{value + 0.0:.15g}" for value in parameters)
    return write_text_atomic(
        Path(path),
        "#Insight Transform File V1.0\n"
        "#Transform 0\n"
        "Transform: AffineTransform_double_3_3\n"
        f"Parameters: {words}\n"
        "FixedParameters: 0 0 0\n",
    )
