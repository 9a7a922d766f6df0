"""Header of an image: shape, type and position, read defensively.

Handles the traps of real files: unfetched annex links, truncated headers, unusual types.
Where the image lies is read by :mod:`.position`.  Does not read the data.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from bids_sr.exceptions import InputDataError
from bids_sr.files import open_regular
from bids_sr.imaging.dicom import refuse_dicom
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.position import opened, placed

_MAX_HEADER = 64 << 20
"""Maximum bytes of a header and its extensions; some converters keep all of DICOM there."""
MOST_UNPACKED = 1 << 30
"""Maximum bytes of a gzip stream that are unpacked beyond the size in the header."""
READ_ERRORS = (
    OSError,
    EOFError,
    OverflowError,  # an infinite offset
    zlib.error,
    ValueError,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
"""Exceptions of nibabel and gzip for truncated or foreign files."""
_SECOND = (540).to_bytes(4, "little")  # how a NIfTI-2 header begins


@dataclass(frozen=True, kw_only=True, eq=False)
class InputReport:
    """Facts in the header of a file, without its data.

    Attributes
    ----------
    path : Path
        The file.
    grid : Grid
        The first three axes and the affine in use.
    n_volumes : int
        Product of the axes after the third: 1 for a 3-D image.
    dtype : str
        Type on disk, as numpy names it.
    affine_source : str
        ``sform``, ``qform`` or ``zooms``: where the affine was taken from.
    warnings : tuple[str, ...]
        Sentences for the user; empty when the header is in order.
    """

    path: Path
    grid: Grid
    n_volumes: int
    dtype: str
    affine_source: str
    warnings: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three spatial axes."""
        return self.grid.shape

    @property
    def zooms(self) -> tuple[float, float, float]:
        """Spacings along the three axes by the affine in use, mm."""
        first, second, third = (float(value) for value in self.grid.spacings)
        return first, second, third

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """(4, 4) voxel to world, RAS+, mm."""
        return self.grid.affine

    @property
    def slice_axis(self) -> int:
        """Array axis of the largest spacing; of nearly equal ones (1 %) the last."""
        return self.grid.slice_axis

    @property
    def anisotropy(self) -> float:
        """Largest divided by smallest spacing."""
        return self.grid.anisotropy


def check_input(path: str | os.PathLike[str]) -> InputReport:
    """Check the header of an image file and report its facts.

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
        than three axes or two slices, holds RGB or complex values, or has no usable
        affine.

    Notes
    -----
    The sform is used if its code is above 0, else the qform, else the zooms alone,
    as in the NIfTI standard and nibabel.  A warning is given if qform and sform
    disagree, if both are missing, and if the zooms contradict the affine.
    """
    path = Path(path)
    refuse_dicom(path)
    try:
        _check_present(path)
        return describe(path, _header_alone(path) or open_image(path))
    except OSError as error:
        raise InputDataError(
            f"{path}: cannot be read ({error.strerror or error}); expected a readable "
            "file. Check its permissions and the disk."
        ) from error


def open_image(path: Path) -> Any:
    """Return the nibabel image of a file that is there and is NIfTI, data not yet read.

    Raises
    ------
    InputDataError
        If there is no such file, or it is something else.
    """
    try:
        _check_present(path)
        # A memory map would change under us when the file is replaced.
        image = nb.load(path, mmap=False)
    except READ_ERRORS as error:
        raise InputDataError(
            f"{path}: cannot be read as NIfTI ({_gzip_fault(path) or error}); expected .nii or "
            ".nii.gz. Fetch or convert it again."
        ) from error
    if not isinstance(image, nb.Nifti1Pair):
        raise InputDataError(
            f"{path}: found a {type(image).__name__}; expected NIfTI (.nii, .nii.gz). Convert it."
        )
    return image


def _header_alone(path: Path) -> Any | None:
    """Return an image whose data cannot be read, from the first bytes of its file.

    nibabel with indexed_gzip unpacks 4 MB each of the three times it opens a file for its
    header: 38 ms of CPU time for a clinical scan; reading the first bytes takes 1 ms.  None
    for an unusual file, so that nibabel reports the problem.
    """
    try:
        with opened(path) as stream:
            length = int.from_bytes(stream.read(4), "little")
            kind = {348: nb.Nifti1Image, 540: nb.Nifti2Image}.get(length)
            if kind is None or path.suffix not in (".gz", ".nii"):
                return None
            stream.seek(0)
            holder = nb.FileHolder(filename=str(path), fileobj=stream)
            return kind.from_file_map({"image": holder})
    except READ_ERRORS:
        return None


def _gzip_fault(path: Path) -> Exception | None:
    """Find what is wrong with a gzip stream: nibabel with indexed_gzip does not report it."""
    if path.suffix != ".gz":
        return None
    try:
        with gzip.open(path, "rb") as stream:
            while stream.tell() < MOST_UNPACKED and stream.read(1 << 22):
                pass
    except READ_ERRORS as fault:
        return fault
    return None


def describe(path: Path, image: Any) -> InputReport:
    """Return the facts in the header of an open image; refuses as :func:`check_input`."""
    shape = spatial_shape(path, image)
    _check_offset(path, image)
    warnings: list[str] = []
    with np.errstate(over="ignore", invalid="ignore"):  # refused by their result
        grid, source = placed(path, image, shape, warnings)
    return InputReport(
        path=path,
        grid=grid,
        n_volumes=int(np.prod(image.shape[3:], dtype=int)),
        dtype=str(image.get_data_dtype()),
        affine_source=source,
        warnings=tuple(warnings),
    )


def spatial_shape(path: Path, image: Any) -> tuple[int, int, int]:
    """Return the first three axes of a nibabel image of real numbers (InputDataError)."""
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        kind = "complex" if dtype.kind == "c" else "RGB"
        raise InputDataError(
            f"{path}: found {kind} values (type {dtype}); expected real numbers. "
            "Give a magnitude image."
        )
    shape = tuple(int(size) for size in image.shape)
    if 0 in shape:
        raise InputDataError(
            f"{path}: found shape {shape}, which holds no voxel; expected an image. Convert it "
            "again."
        )
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputDataError(
            f"{path}: found shape {shape}; expected a 3-D image with at least 2 slices along "
            "every axis. A single slice cannot be reconstructed."
        )
    return shape[0], shape[1], shape[2]


def _check_offset(path: Path, image: Any) -> None:
    """Refuse data that would begin within the header: nibabel accepts 0 as an offset."""
    first = 0
    if "header" not in image.file_map:  # one file: header and data
        first = image.header.single_vox_offset
    offset = image.dataobj.offset
    if offset < first:
        raise InputDataError(
            f"{path}: found vox_offset {offset}, which is inside the header; expected {first} "
            "or more. Convert the image again."
        )


def _check_present(path: Path) -> None:
    """Refuse a missing file or a placeholder; the message names the command that fetches it."""
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        if "annex" not in target.parts:
            raise InputDataError(f"{path}: a broken link to {target}; expected an image file.")
        raise _not_fetched(path, f"a link to {target}, which is not there")
    try:
        with open_regular(path) as stream:
            start = stream.read(64)
    except FileNotFoundError as error:
        raise InputDataError(
            f"{path}: no such file; expected a NIfTI image. Check the path."
        ) from error
    if not start:
        raise InputDataError(
            f"{path}: the file is empty (0 bytes); expected a NIfTI image. Fetch it again."
        )
    if start.startswith(b"/annex/objects/"):
        raise _not_fetched(path, "an annex pointer in place of the content")
    with contextlib.suppress(*READ_ERRORS):  # nibabel reports any other fault
        _check_extensions(path)


def _check_extensions(path: Path) -> None:
    """Refuse extensions above the maximum size; nibabel would unpack gigabytes."""
    header = path.with_name(re.sub(r"\.img(\.gz)?$", r".hdr\1", path.name))
    with open_regular(header), opened(header) as stream:
        first = stream.read(4)
        stream.seek(0)
        second = first in (_SECOND, _SECOND[::-1])
        if header.name.endswith((".nii", ".nii.gz")):
            kind: Any = nb.Nifti2Image if second else nb.Nifti1Image
        else:
            kind = nb.Nifti2Pair if second else nb.Nifti1Pair
        kind.header_class.from_fileobj(_BoundedStream(path, stream))


class _BoundedStream:
    """Gives a header reader no more bytes than a bound."""

    def __init__(self, path: Path, stream: Any) -> None:
        self._path = path
        self._stream = stream
        self._left = _MAX_HEADER

    def read(self, size: int) -> Any:
        """Read some bytes."""
        if not 0 <= size <= self._left:
            raise InputDataError(
                f"{self._path}: found a header extension of {size + 8} bytes; expected at most "
                f"{_MAX_HEADER} in all. Convert the image again."
            )
        self._left -= size
        return self._stream.read(size)

    def tell(self) -> int:
        """Return the place in the stream."""
        return int(self._stream.tell())


def _not_fetched(path: Path, content: str) -> InputDataError:
    return InputDataError(
        f"{path}: found {content}; expected the image itself, but its content has not been "
        f"fetched. Run `datalad get {path}` or `git annex get {path}`."
    )
