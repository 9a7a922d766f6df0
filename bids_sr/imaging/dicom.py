"""DICOM is recognised here, only to say how to convert it."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from bids_sr.exceptions import InputDataError
from bids_sr.files import open_regular

CONVERT = "Convert it first: mkdir NIFTI && dcm2niix -b y -z y -o NIFTI DICOM_FOLDER"
"""What to do about DICOM files."""
_MARK, _PREAMBLE = b"DICM", 128  # DICOM PS3.10: 128 bytes of anything, then the mark
_MOST_FILES = 100


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM, by its name or its first bytes; False if unreadable."""
    if path.suffix.lower() == ".dcm":
        return True
    with contextlib.suppress(OSError, InputDataError), open_regular(path) as stream:
        return stream.read(_PREAMBLE + len(_MARK))[_PREAMBLE:] == _MARK
    return False


def holds_dicom(folder: Path) -> bool:
    """Tell whether one of the first hundred files in or below a folder is DICOM."""
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in sorted(names))
    return any(map(is_dicom, itertools.islice(files, _MOST_FILES)))


def refuse_dicom(path: Path) -> None:
    """Refuse a DICOM file, or a folder of them, where a NIfTI image is expected.

    Raises
    ------
    InputDataError
        With the command that converts it.
    """
    if path.is_dir() and holds_dicom(path):
        kind = "a folder of DICOM files"
    elif path.is_file() and is_dicom(path):
        kind = "a DICOM file"
    else:
        return
    raise InputDataError(f"{path}: {kind}; expected a NIfTI image (.nii, .nii.gz). {CONVERT}")
