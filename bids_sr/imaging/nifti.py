"""NIfTI files: what a header says, the data to the last byte, and whole files back.

Knows the traps of real files (unfetched annex links, two disagreeing forms,
absent forms, odd types).  Does not know what an image is used for.
"""

from __future__ import annotations

import gzip
import logging
import os
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.imaging.grid import Grid

LOGGER = logging.getLogger(__name__)

FORM_TOLERANCE_MM = 0.1
"""Corner distance above which qform and sform are said to disagree."""
ZOOM_TOLERANCE = 0.01
"""Relative difference above which the zooms are said to contradict the affine."""
_UNIT_TO_MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_READ_ERRORS = (OSError, EOFError, zlib.error, ValueError, nb.filebasedimages.ImageFileError)


@dataclass(frozen=True, kw_only=True, eq=False)
class InputReport:
    """Say what the header of a file states, without reading its data."""

    path: Path
    """The file."""
    grid: Grid
    """The first three axes and the affine that counts."""
    n_volumes: int
    """Product of the axes after the third: 1 for a 3-D image."""
    dtype: str
    """Type on disk, as numpy names it."""
    affine_source: str
    """``sform``, ``qform`` or ``zooms``: where the affine was taken from."""
    warnings: tuple[str, ...]
    """Sentences for the user; empty when the header is in order."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three spatial axes."""
        return self.grid.shape

    @property
    def zooms(self) -> tuple[float, float, float]:
        """Spacings along the three axes after the affine that counts, mm."""
        first, second, third = (float(value) for value in self.grid.spacings)
        return first, second, third

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """(4, 4) voxel to world, RAS+, mm."""
        return self.grid.affine


def check_input(path: str | os.PathLike[str]) -> InputReport:
    """Check the header of an image file and report what it says.

    Parameters
    ----------
    path : path
        A NIfTI-1 or NIfTI-2 file, gzipped or not.

    Returns
    -------
    InputReport
        Facts and warnings.  4-D images are reported (``n_volumes``), not refused.

    Raises
    ------
    InputDataError
        If the file is absent, empty, an unfetched annex link, not NIfTI, has fewer
        than three axes or two slices, or holds RGB or complex values.
    """
    path = Path(path)
    return _report(path, _open(path))


def read_nifti(
    path: str | os.PathLike[str], dtype: npt.DTypeLike = np.float32
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Read one 3-D image, to the last byte of the file.

    Parameters
    ----------
    path : path
        A NIfTI file.
    dtype : dtype
        Type of the returned array.  A float type reads an image, which must not be
        constant; an integer type reads a mask or label map, whose values must fit.

    Returns
    -------
    data : (X, Y, Z) array
    affine : (4, 4) float64 array, mm

    Raises
    ------
    InputDataError
        For all that :func:`check_input` refuses, and for truncated or corrupt files,
        more than one volume, NaN or infinite values, and constant images.
    """
    path = Path(path)
    image = _open(path)
    report = _report(path, image)
    if report.n_volumes != 1:
        raise InputDataError(
            f"{path}: found {report.n_volumes} volumes (shape {image.shape}); expected one 3-D "
            "volume. Extract the volume to use."
        )
    for warning in report.warnings:
        LOGGER.warning("%s: %s", path, warning)
    try:
        _read_to_the_end(path)
        values = np.asanyarray(image.dataobj).reshape(report.shape)
    except _READ_ERRORS as error:
        raise InputDataError(
            f"{path}: the data end early or are corrupt ({error}); expected a whole file. "
            "Fetch or convert it again."
        ) from error
    return _converted(path, values, np.dtype(dtype)), report.affine


def write_nifti(
    path: str | os.PathLike[str],
    data: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    dtype: npt.DTypeLike | None = None,
) -> Path:
    """Write a NIfTI-1 file, whole or not at all.

    Both forms carry the affine with code 1 (scanner), units are mm, the slope is 1.
    The same content gives the same bytes.

    Parameters
    ----------
    path : path
        Ends with ``.nii`` or ``.nii.gz``; its folder is made.
    data : (X, Y, Z) real array
    affine : (4, 4) float64 array, mm
    dtype : dtype, optional
        Type on disk; by default that of `data`, with float64 and float16 written as
        float32, bool as uint8 and 64-bit integers as int32.  Integer types are rounded to.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputDataError
        If the name has another ending, or the values do not fit an integer type.
    """
    path = Path(path)
    ending = next((end for end in (".nii.gz", ".nii") if path.name.endswith(end)), None)
    if ending is None:
        raise InputDataError(f"{path}: expected a name that ends with .nii or .nii.gz.")
    values = _storable(path, data, None if dtype is None else np.dtype(dtype))
    image = nb.Nifti1Image(values, affine)
    image.header.set_data_dtype(values.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units(xyz="mm", t="sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}{ending}")
    try:
        image.to_filename(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _open(path: Path) -> Any:
    """Return the nibabel image of a file that is there and is NIfTI."""
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if "annex" in Path(target).parts:
            raise _not_fetched(path, f"a link to {target}, which is not there")
        raise InputDataError(f"{path}: a broken link to {target}; expected an image file.")
    if not path.is_file():
        raise InputDataError(f"{path}: no such file; expected a NIfTI image. Check the path.")
    with path.open("rb") as stream:
        start = stream.read(64)
    if not start:
        raise InputDataError(
            f"{path}: the file is empty (0 bytes); expected a NIfTI image. Fetch it again."
        )
    if start.startswith(b"/annex/objects/"):
        raise _not_fetched(path, "an annex pointer in place of the content")
    try:
        image = nb.load(path)
    except _READ_ERRORS as error:
        raise InputDataError(
            f"{path}: cannot be read as NIfTI ({error}); expected .nii or .nii.gz. "
            "Convert or fetch it again."
        ) from error
    if not isinstance(image, nb.Nifti1Pair):
        raise InputDataError(
            f"{path}: found a {type(image).__name__}; expected NIfTI (.nii, .nii.gz). Convert it."
        )
    return image


def _not_fetched(path: Path, found: str) -> InputDataError:
    return InputDataError(
        f"{path}: found {found}: the content has not been fetched. "
        f"Run `datalad get {path}` or `git annex get {path}`."
    )


def _report(path: Path, image: Any) -> InputReport:
    shape = tuple(int(size) for size in image.shape)
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "iuf":
        kind = "RGB" if dtype.fields is not None else "complex"
        raise InputDataError(
            f"{path}: found {kind} values (type {dtype}); expected real numbers. "
            "Give a magnitude image."
        )
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputDataError(
            f"{path}: found shape {shape}; expected a 3-D image with at least 2 slices along "
            "every axis. A single slice holds nothing to reconstruct from."
        )
    warnings: list[str] = []
    affine, source = _chosen_affine(path, image, warnings)
    return InputReport(
        path=path,
        grid=Grid((shape[0], shape[1], shape[2]), affine),
        n_volumes=int(np.prod(shape[3:], dtype=int)),
        dtype=str(dtype),
        affine_source=source,
        warnings=tuple(warnings),
    )


def _chosen_affine(
    path: Path, image: Any, warnings: list[str]
) -> tuple[npt.NDArray[np.float64], str]:
    """Pick sform, else qform, else zooms; append what is odd to `warnings`."""
    header = image.header
    zooms = _raw_zooms(path)
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    source = "sform" if sform is not None else "qform" if qform is not None else "zooms"
    if source != "sform" and not (np.isfinite(zooms).all() and min(zooms) > 0):
        raise InputDataError(
            f"{path}: found voxel sizes {tuple(zooms)} mm and no sform; expected positive "
            "numbers. Mend the header."
        )
    affine = np.array(image.affine, dtype=np.float64)
    unit = header.get_xyzt_units()[0]
    if _UNIT_TO_MM[unit] != 1.0:
        affine[:3] *= _UNIT_TO_MM[unit]
        warnings.append(f"The header's unit is {unit}; lengths were converted to mm.")
    if source == "zooms":
        warnings.append(
            "The header has neither qform nor sform (both codes 0): the orientation is unknown; "
            "the axes are taken as x to the left, y to the front, z up, with the header's zooms."
        )
    grid = Grid((image.shape[0], image.shape[1], image.shape[2]), affine)
    if sform is not None and qform is not None:
        other = Grid(grid.shape, qform * np.array([[_UNIT_TO_MM[unit]]] * 3 + [[1.0]]))
        distance = grid.distance_mm(other)
        if distance > FORM_TOLERANCE_MM:
            warnings.append(
                f"qform and sform disagree by up to {distance:.2f} mm; the sform is used."
            )
    zooms_mm = np.abs(zooms) * _UNIT_TO_MM[unit]
    if not np.allclose(zooms_mm, grid.spacings, rtol=ZOOM_TOLERANCE, atol=0):
        warnings.append(
            f"The header's zooms {_listed(zooms_mm)} mm differ from the affine's spacings "
            f"{_listed(grid.spacings)} mm; those of the affine are used."
        )
    return affine, source


def _raw_zooms(path: Path) -> npt.NDArray[np.float64]:
    """Read the zooms as stored: nibabel mends zero and negative ones when it loads."""
    with nb.openers.ImageOpener(str(path)) as stream:
        start = stream.read(540)
    little = int.from_bytes(start[:4], "little")
    order = "<" if little in (348, 540) else ">"
    is_second = 540 in (little, int.from_bytes(start[:4], "big"))
    # NIfTI-1 holds pixdim as float32 at byte 76, NIfTI-2 as float64 at byte 104.
    kind, offset = (f"{order}f8", 104) if is_second else (f"{order}f4", 76)
    return np.frombuffer(start, dtype=kind, count=4, offset=offset)[1:].astype(np.float64)


def _listed(values: npt.NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _read_to_the_end(path: Path) -> None:
    """Decompress the whole file: only the end of a gzip stream holds its checksum."""
    if path.suffix != ".gz":
        return
    with gzip.open(path, "rb") as stream:
        while stream.read(1 << 22):
            pass


def _converted(path: Path, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Check the values and convert them to the asked type."""
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InputDataError(
            f"{path}: found {bad} of {values.size} voxels NaN or infinite; expected finite "
            "numbers. Mend or exclude the image."
        )
    if dtype.kind in "iub":
        return _fitted(path, values, dtype)
    if values.min() == values.max():
        raise InputDataError(
            f"{path}: found the same value ({values.flat[0]:g}) in every voxel; expected an "
            "image. Exclude or replace the file."
        )
    return np.ascontiguousarray(values, dtype=dtype)


def _storable(path: Path, data: npt.NDArray[Any], dtype: np.dtype[Any] | None) -> npt.NDArray[Any]:
    """Return the values in a type that every NIfTI reader knows."""
    if dtype is None:
        dtype = {"b": np.dtype(np.uint8), "f": np.dtype(np.float32)}.get(
            data.dtype.kind, data.dtype
        )
    if dtype.kind in "iu" and dtype.itemsize == 8:
        dtype = np.dtype(np.int32)
    return data.astype(dtype) if dtype.kind == "f" else _fitted(path, data, dtype)


def _fitted(path: Path, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round to an integer type that must hold all values."""
    lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    rounded = np.rint(values) if values.dtype.kind == "f" else values
    if rounded.size and (rounded.min() < lowest or rounded.max() > highest):
        raise InputDataError(
            f"{path}: found values from {rounded.min():g} to {rounded.max():g}; expected "
            f"{lowest} to {highest} to fit {dtype}. Choose a wider type."
        )
    return np.ascontiguousarray(rounded, dtype=dtype)
