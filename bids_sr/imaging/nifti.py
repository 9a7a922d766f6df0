"""NIfTI files: the data to the last byte, and whole files back.

:mod:`.header` reads the header; the caller knows what the image is for.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.files import write_atomic
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.header import (
    MOST_UNPACKED,
    READ_ERRORS,
    InputReport,
    describe,
    open_image,
    spatial_shape,
)
from bids_sr.imaging.position import check_sizes

LOGGER = logging.getLogger(__name__)
_MOST_TIMES = 16
"""A stream may be this many times longer than its header states, for example by more frames."""
_LARGEST = 1e18
"""Intensity; float32 holds its square."""
_SECONDS = {"msec": 1e-3, "usec": 1e-6}  # names of nibabel; all else is taken for seconds


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
        If :func:`.check_input` refuses the file, and for truncated or corrupt files,
        more than one volume, NaN or infinite values, and constant images.
    """
    path, dtype = Path(path), np.dtype(dtype)
    image = open_image(path)
    report = describe(path, image)
    _check_single(path, image, report.n_volumes)
    values = _read(image, report, dtype)
    return _checked(path, values.reshape(report.shape), dtype), report.affine


def values_of(
    image: nb.spatialimages.SpatialImage,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return values and affine of a nibabel image, which passes the checks of a file.

    Parameters
    ----------
    image : nibabel image
        Of a file or made in memory.

    Returns
    -------
    data : (X, Y, Z) float32 array
    affine : (4, 4) float64 array, mm

    Raises
    ------
    InputDataError
        As :func:`read_nifti`.
    """
    path = Path(image.get_filename() or "image in memory")
    try:
        if path.is_file() and nb.is_proxy(image.dataobj) and isinstance(image, nb.Nifti1Pair):
            report = describe(path, image)
            shape, count, affine = report.shape, report.n_volumes, report.affine
        else:  # another format, or in memory: nibabel knows its affine
            shape, count = spatial_shape(path, image), math.prod(image.shape[3:])
            affine = np.asarray(image.affine, np.float64)
            check_sizes(path, Grid(shape, affine), "mm")
        _check_single(path, image, count)
        with np.errstate(over="ignore"):  # what is too large for the type is found below
            values = np.asarray(image.dataobj, dtype=np.float32)
    except READ_ERRORS as error:
        words = " ".join(f"{error}".split())
        raise InputDataError(
            f"{path}: the voxels of the image cannot be read ({words}); expected a whole file "
            "that stays where it was when nibabel opened it. Load the image again."
        ) from error
    return _checked(path, values.reshape(shape), np.dtype(np.float32)), affine


def read_series(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], float]:
    """Read an image of three or four axes, to the last byte of the file.

    Parameters
    ----------
    path : path
        A NIfTI file.

    Returns
    -------
    data : (X, Y, Z, T) float32 array
        T is 1 for a 3-D image.
    affine : (4, 4) float64 array, mm
    frame_spacing : float, s
        Time between frames; 0 where the header does not state it.

    Raises
    ------
    InputDataError
        As :func:`read_nifti`, and for more than four axes.
    """
    path = Path(path)
    image = open_image(path)
    report = describe(path, image)
    shape = (*report.shape, report.n_volumes)
    if image.shape[4:] and max(image.shape[4:]) > 1:
        raise InputDataError(
            f"{path}: found an image of shape {image.shape}; expected three axes and time. "
            "Extract the series to use."
        )
    values = _read(image, report, np.dtype(np.float32))
    data = _checked(path, values.reshape(shape), np.dtype(np.float32))
    zooms = image.header.get_zooms()
    stated = float(zooms[3]) if len(zooms) > 3 else 0.0
    seconds = stated * _SECONDS.get(image.header.get_xyzt_units()[1], 1.0)
    return data, report.affine, seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def write_nifti(
    path: str | os.PathLike[str],
    data: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    dtype: npt.DTypeLike | None = None,
    *,
    frame_spacing: float = 0.0,
) -> Path:
    """Write a NIfTI-1 file, whole or not at all.

    Both forms carry the affine with code 1 (scanner), units are mm, the slope is 1.
    The same content gives the same bytes.

    Parameters
    ----------
    path : path
        Ends with ``.nii`` or ``.nii.gz``; its folder is made.
    data : (X, Y, Z) or (X, Y, Z, T) real array
    affine : (4, 4) float64 array, mm
    dtype : dtype, optional
        Type on disk; by default that of `data`, with float64 and float16 written as
        float32, bool as uint8 and 64-bit integers as int32.  Integer types are rounded to.
    frame_spacing : float, s
        Time between the frames of a 4-D image.

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
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputDataError(
            f"{path}: expected a name that ends with .nii or .nii.gz. Rename the output."
        )
    kind = _storable(data.dtype if dtype is None else np.dtype(dtype))
    values = data.astype(kind) if kind.kind == "f" else _fitted(path, data, kind)
    image = nifti_image(values, affine)
    if data.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], frame_spacing))
    return write_atomic(path, image.to_filename)


def nifti_image(data: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> nb.Nifti1Image:
    """Return an image whose two forms carry the affine with code 1; units are mm and s."""
    image = nb.Nifti1Image(data, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units(xyz="mm", t="sec")
    return image


def _check_single(path: Path, image: Any, count: int) -> None:
    if count != 1:
        raise InputDataError(
            f"{path}: found {count} volumes (shape {image.shape}); expected one 3-D volume. "
            "Extract the volume to use."
        )


def _read(image: Any, report: InputReport, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Read the values of an image that :func:`.describe` has passed, and repeat its warnings."""
    for warning in report.warnings:
        LOGGER.warning("%s: %s", report.path, warning)
    try:
        _check_length(image)
        with np.errstate(over="ignore"):  # what is too large for the type is found below
            return np.asarray(image.dataobj, dtype=dtype if dtype.kind == "f" else None)
    except READ_ERRORS as error:
        raise InputDataError(
            f"{report.path}: the data end early or are corrupt ({error}); expected a whole file. "
            "Fetch or convert it again."
        ) from error


def _check_length(image: Any) -> None:
    """Refuse a file shorter than its header says, before memory is asked for (EOFError).

    Decompresses to the end, where a gzip stream holds its checksum.  A stream that unpacks to
    many times the size in the header is refused (ValueError).
    """
    path, data = Path(image.file_map["image"].filename), image.dataobj
    length = path.stat().st_size
    promised = data.offset + data.dtype.itemsize * math.prod(data.shape)
    most = _MOST_TIMES * promised + MOST_UNPACKED
    if path.suffix == ".gz":
        length = 0
        with gzip.open(path, "rb") as stream:
            while chunk := stream.read(1 << 22):
                length += len(chunk)
                if length > most:
                    raise ValueError(f"more than {most} bytes where {promised} are promised")
    if length < promised:
        raise EOFError(f"{length} bytes where the header promises {promised}")


def _checked(path: Path, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Check the values and convert them to the requested type."""
    n_invalid = int(np.count_nonzero(~np.isfinite(values)))
    if n_invalid:
        raise InputDataError(
            f"{path}: found {n_invalid} of {values.size} voxels NaN or infinite; expected finite "
            "numbers. Repair or exclude the image."
        )
    if dtype.kind != "f":
        return _fitted(path, values, dtype)
    lowest, highest = float(values.min()), float(values.max())
    if max(-lowest, highest) > _LARGEST:
        raise InputDataError(
            f"{path}: found values from {lowest:g} to {highest:g}; expected intensities of at "
            f"most {_LARGEST:g}, above which sums and squares overflow. Scale or repair the image."
        )
    if lowest == highest:
        raise InputDataError(
            f"{path}: found the same value ({values.flat[0]:g}) in every voxel; expected an "
            "image. Exclude or replace the file."
        )
    return np.ascontiguousarray(values, dtype=dtype)


def _storable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the nearest type that every NIfTI reader knows."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.int32) if dtype.itemsize == 8 else dtype


def _fitted(path: Path, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round to an integer type that must hold all values."""
    lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    rounded = np.rint(values) if values.dtype.kind == "f" else values
    if rounded.min() < lowest or rounded.max() > highest:
        raise InputDataError(
            f"{path}: found values from {rounded.min():g} to {rounded.max():g}; expected "
            f"{lowest} to {highest} to fit {dtype}. Choose a wider type."
        )
    return np.ascontiguousarray(rounded, dtype=dtype)
