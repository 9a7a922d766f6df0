from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import check_input
from bids_sr.imaging.dicom import holds_dicom, is_dicom

DICOM = bytes(128) + b"DICM" + bytes(40)


@pytest.mark.parametrize("name", ["scan.dcm", "IM0001", "scan.nii.gz"])
def test_a_dicom_file_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(DICOM)
    assert is_dicom(path)
    with pytest.raises(InputDataError, match=r"a DICOM file; expected a NIfTI.*dcm2niix -b y"):
        check_input(path)


def test_a_folder_of_dicom_files_is_recognised_below_the_top(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "notes.txt").write_text("x" * 200)
    assert not holds_dicom(tmp_path)
    (tmp_path / "a" / "b" / "IM1").write_bytes(DICOM)
    assert holds_dicom(tmp_path)
    with pytest.raises(InputDataError, match="a folder of DICOM files"):
        check_input(tmp_path)


def test_other_files_are_not_dicom(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"DICM")
    assert not is_dicom(short)
    assert not is_dicom(tmp_path / "absent")
