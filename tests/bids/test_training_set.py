from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bids_sr.bids.sidecar import AcquisitionOverrides
from bids_sr.bids.training_set import list_files, read_acquisitions
from bids_sr.exceptions import NoInputError
from bids_sr.imaging import Volume

ENDINGS = (".nii", ".nii.gz")


@pytest.fixture
def dataset(empty_dataset: Path, write_image: Callable[..., Path]) -> Path:
    for name in ("sub-01_T1w", "sub-02_T2w"):
        write_image(empty_dataset, name)
    return empty_dataset


@pytest.fixture
def fine(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    data = random.random((24, 26, 28)).astype(np.float32)
    Volume(data, np.eye(4)).save(tmp_path / "fine" / "sub-a_T1w.nii.gz")
    return tmp_path / "fine"


def test_files_of_a_folder_and_of_a_dataset(dataset: Path, fine: Path, tmp_path: Path) -> None:
    (fine / ".hidden.nii.gz").touch()
    (fine / "notes.txt").touch()
    assert [path.name for path in list_files([fine], ENDINGS)] == ["sub-a_T1w.nii.gz"]
    listed = list_files([dataset], ENDINGS)
    assert listed
    assert all("derivatives" not in path.parts for path in listed)
    assert {path.name.split("_")[-1] for path in listed} >= {"T1w.nii.gz"}
    (single,) = list_files([dataset], ENDINGS, suffixes=["T1w"], exclude=["*sub-02*"])[:1]
    assert single.name == "sub-01_T1w.nii.gz"
    hearts = tmp_path / "hearts" / "sub-01" / "cmr" / "sub-01_cine.nii.gz"
    hearts.parent.mkdir(parents=True)
    hearts.touch()
    (tmp_path / "hearts" / "dataset_description.json").write_text("{}")
    (tmp_path / "hearts" / ".bidsignore").write_text("**/cmr\n")
    assert list_files([tmp_path / "hearts"], ENDINGS) == [hearts]
    both = list_files([fine, fine / "sub-a_T1w.nii.gz"], ENDINGS)
    assert len(both) == 1
    with pytest.raises(NoInputError, match="does not exist"):
        list_files([tmp_path / "none"], ENDINGS)


def test_acquisitions_come_from_sidecars(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = dataset / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    acquisitions = read_acquisitions([image], [dataset], AcquisitionOverrides())
    assert (acquisitions[image].spacing, acquisitions[image].thickness) == pytest.approx(
        (6.0, 5.0)
    )
    alone = tmp_path / "alone.nii.gz"
    alone.write_bytes(image.read_bytes())
    (tmp_path / "alone.json").write_text('{"SliceThickness": 4.0}')
    assert read_acquisitions([alone], [], AcquisitionOverrides())[alone].thickness == 4.0
    (tmp_path / "alone.json").write_text("{")
    assert read_acquisitions([alone], [], AcquisitionOverrides()) == {}
    assert "expected a JSON object" in caplog.text
