"""Where an image lies, by its header: the affine, its unit, and what contradicts it.

Handles the traps of real files: sform and qform that disagree or are absent, axes that are not
at right angles, unusual units.  Does not read the data.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.imaging.grid import Grid

FORM_TOLERANCE_MM = 0.1
"""Corner distance above which qform and sform are reported to disagree."""
ZOOM_TOLERANCE = 0.01
"""Relative difference above which the zooms are reported to contradict the affine."""
SLANT_TOLERANCE = np.radians(1.0)
"""Deviation from right angles above which the axes are reported, rad; float32 makes 1e-6."""
SMALLEST_MM, LARGEST_MM = 0.01, 100.0
"""Voxel sizes of scans lie well between; others are metres or micrometres."""
_OTHER_UNITS = {1: ("metre", 1e3), 3: ("micrometre", 1e-3)}  # NIfTI code: name, in mm


def opened(path: Path) -> Any:
    """Open a file to read its first bytes, unpacked."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return nb.openers.ImageOpener(str(path))


def placed(
    path: Path, image: Any, shape: tuple[int, int, int], warnings: list[str]
) -> tuple[Grid, str]:
    """Take the affine from sform, else qform, else zooms.

    Parameters
    ----------
    path : Path
        The file, for messages.
    image : nibabel image
        NIfTI, of that file.
    shape : tuple of int
        Its first three axes.
    warnings : list of str
        Contradictions of the header are appended.

    Returns
    -------
    grid : Grid
    source : str
        ``sform``, ``qform`` or ``zooms``.

    Raises
    ------
    InputDataError
        If there is no usable affine, or the voxels have no size that a scan can have.
    """
    header = image.header
    name, to_mm = _OTHER_UNITS.get(int(header["xyzt_units"]) % 8, ("mm", 1.0))
    unit = np.diag([to_mm, to_mm, to_mm, 1.0])
    if to_mm != 1.0:
        warnings.append(f"The header's unit is the {name}; lengths were converted to mm.")
    sform, qform = header.get_sform(coded=True)[0], _qform(header, warnings)
    source = "sform" if sform is not None else "qform" if qform is not None else "zooms"
    holder = image.file_map.get("header", image.file_map["image"])  # .hdr of a pair, else .nii
    zooms = _stored_zooms(Path(holder.filename)) * to_mm
    if source != "sform" and not (np.isfinite(zooms).all() and zooms.min() > 0):
        raise InputDataError(
            f"{path}: found voxel sizes {_listed(zooms)} mm and no sform; expected positive "
            "numbers. Correct the header."
        )
    try:
        grid = Grid(shape, unit @ np.asarray(image.affine, dtype=np.float64))
    except InputDataError as error:
        raise InputDataError(f"{path}: {error}") from error
    check_sizes(path, grid, name)
    if source == "zooms":
        warnings.append(
            "The header has neither qform nor sform (both codes are 0), so the orientation is "
            "not known; the voxel sizes are used, with x from right to left, y to the front, "
            "z up."
        )
    warnings += _contradictions(grid, None if qform is None else unit @ qform, zooms)
    return grid, source


def check_sizes(path: Path, grid: Grid, unit: str) -> None:
    """Refuse voxels of a size that no scan has: the unit is another one (InputDataError)."""
    smallest, largest = grid.spacings.min(), grid.spacings.max()
    if not SMALLEST_MM <= smallest <= largest <= LARGEST_MM:
        words = f", in the header's unit, the {unit}" if unit != "mm" else ""
        raise InputDataError(
            f"{path}: found voxels of {_listed(grid.spacings)} mm{words}; expected "
            f"{SMALLEST_MM:g} to {LARGEST_MM:g} mm. Correct the unit (xyzt_units) or the voxel "
            "sizes and affine in the header."
        )


def _contradictions(
    grid: Grid, qform: npt.NDArray[np.float64] | None, zooms: npt.NDArray[np.float64]
) -> list[str]:
    """Compare the affine in use with the other fields of the header, all in mm."""
    warnings = []
    distance = 0.0 if qform is None else grid.distance_mm(qform)
    if distance > FORM_TOLERANCE_MM:
        warnings.append(f"qform and sform disagree by up to {distance:.2f} mm; the sform is used.")
    if (slant := _slant(grid)) > SLANT_TOLERANCE:
        warnings.append(
            f"The axes of the header's affine are {np.degrees(slant):.1f} degrees off right "
            "angles, which a qform cannot hold: tools that read it place the image differently. "
            "Resample the image to a grid with right angles if it was registered by its header."
        )
    if not np.allclose(np.abs(zooms), grid.spacings, rtol=ZOOM_TOLERANCE, atol=0):
        warnings.append(
            f"The header's voxel sizes {_listed(zooms)} mm differ from the affine's "
            f"{_listed(grid.spacings)} mm; those of the affine are used."
        )
    return warnings


def _slant(grid: Grid) -> float:
    """Return by how much the angle of two array axes differs from a right one, rad."""
    directions = grid.affine[:3, :3] / grid.spacings
    cosines = directions.T @ directions - np.eye(3)
    return float(np.arcsin(np.clip(np.abs(cosines).max(), 0, 1)))


def _qform(header: Any, warnings: list[str]) -> npt.NDArray[np.float64] | None:
    """Return the qform if its code is above 0 and it is a rotation.

    Where it would count, because there is no sform, nibabel has refused it on loading.
    """
    try:
        qform = header.get_qform(coded=True)[0]
    except ValueError as error:
        warnings.append(f"The qform is not a rotation ({error}); the sform is used.")
        return None
    return None if qform is None else np.asarray(qform, dtype=np.float64)


def _stored_zooms(path: Path) -> npt.NDArray[np.float64]:
    """Read the zooms as they are: nibabel replaces zero and negative ones on loading."""
    with opened(path) as stream:
        start = stream.read(540)
    order = "<" if int.from_bytes(start[:4], "little") in (348, 540) else ">"
    length = int(np.frombuffer(start, dtype=f"{order}i4", count=1)[0])
    # NIfTI-1 (348 bytes) holds pixdim as float32 at byte 76, NIfTI-2 as float64 at 104.
    kind, offset = ("f8", 104) if length == 540 else ("f4", 76)
    pixdim = np.frombuffer(start, dtype=f"{order}{kind}", count=4, offset=offset)
    return pixdim[1:].astype(np.float64)


def _listed(values: npt.NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
