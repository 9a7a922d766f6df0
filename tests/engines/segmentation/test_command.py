"""Programs: their command lines, and how what they leave is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest

from bids_sr.engines.segmentation import check_segmentations, make_segmentation
from bids_sr.engines.segmentation.command import freesurfer_table, read_labels
from bids_sr.exceptions import EngineError, MissingToolError
from bids_sr.imaging import Volume

TABLE = """# No. Label Name:  R  G  B  A
0   Unknown                 0   0   0   0
2   Left-Cerebral-White-Matter  245 245 245 0
77  WM-hypointensities      200  70 255 0   # a comment
"""


@pytest.fixture
def freesurfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a FreeSurfer with programs that do nothing, its table and a licence."""
    home = tmp_path / "freesurfer"
    (home / "bin").mkdir(parents=True)
    for name in ("mri_synthseg", "mri_WMHsynthseg", "run_samseg"):
        program = home / "bin" / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    (home / "FreeSurferColorLUT.txt").write_text(TABLE)
    (home / "license.txt").write_text("somebody\n")
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setenv("FREESURFER_HOME", str(home))
    monkeypatch.delenv("FS_LICENSE", raising=False)
    return home


@pytest.mark.usefixtures("freesurfer")
@pytest.mark.parametrize(
    ("name", "device", "words"),
    [
        ("synthseg", "cpu", "mri_synthseg --i in.nii.gz --o out/synthseg.nii.gz "
         "--vol out/volumes.csv --threads 4 --cpu"),
        ("synthseg", "cuda:1", "mri_synthseg --i in.nii.gz --o out/synthseg.nii.gz "
         "--vol out/volumes.csv --threads 4"),
        ("wmh-synthseg", "cpu", "mri_WMHsynthseg --i in.nii.gz --o out/wmh.nii.gz --csv_vols "
         "out/volumes.csv --device cpu --threads 4 --save_lesion_probabilities --crop"),
        ("samseg", "cpu", "run_samseg --input in.nii.gz --output out --threads 4"),
        ("lst-ai", "cpu", "lst --t1 t1.nii.gz --flair in.nii.gz --output out --temp out/temp "
         "--device cpu --threads 4"),
        ("lst-ai", "cuda:1", "lst --t1 t1.nii.gz --flair in.nii.gz --output out --temp out/temp "
         "--device 1 --threads 4"),
    ],
)  # fmt: skip
def test_command_lines(name: str, device: str, words: str) -> None:
    tool: Any = make_segmentation(name, threads=4, device=device)
    assert tool.argv(Path("in.nii.gz"), Path("out"), Path("t1.nii.gz")) == words.split()


def test_what_freesurfer_needs_is_told(freesurfer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_segmentations(["synthseg", "wmh-synthseg", "samseg"])
    (freesurfer / "license.txt").rename(freesurfer / "elsewhere.txt")
    with pytest.raises(MissingToolError, match=r"no licence of FreeSurfer .*registration.html"):
        check_segmentations(["synthseg"])
    monkeypatch.setenv("FS_LICENSE", str(freesurfer / "elsewhere.txt"))
    check_segmentations(["synthseg"])
    monkeypatch.setenv("FREESURFER_HOME", str(freesurfer / "bin"))
    with pytest.raises(MissingToolError, match=r"expected the folder of FreeSurfer"):
        check_segmentations(["synthseg"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match=r"no program mri_synthseg .*SetUpFreeSurfer"):
        check_segmentations(["synthseg"])


def test_the_table_of_freesurfer(freesurfer: Path) -> None:
    table = freesurfer_table(freesurfer / "FreeSurferColorLUT.txt")
    assert sorted(table) == [2, 77]
    assert table[77].name == "WM-hypointensities"
    assert table[77].colour == "#c846ff"


@pytest.mark.usefixtures("freesurfer")
def test_labels_on_another_grid_keep_their_place_and_value(tmp_path: Path) -> None:
    image = Volume(np.zeros((20, 20, 20), np.float32), np.diag([1.5, 1.5, 1.5, 1]))
    fine = np.zeros((36, 36, 36), np.int32)
    fine[10:20, 4:30, 12:20] = 77
    affine = np.diag([0.9, 0.9, 0.9, 1])
    nb.save(nb.MGHImage(fine, affine), tmp_path / "seg.mgz")
    tool: Any = make_segmentation("samseg")
    segmentation = tool.read(image, tmp_path)
    assert segmentation.labels.same_grid(image)
    assert set(np.unique(segmentation.labels.data)) == {0, 77}
    where = np.argwhere(segmentation.labels.data == 77) * 1.5
    expected = np.argwhere(fine == 77) * 0.9
    np.testing.assert_allclose(where.mean(0), expected.mean(0), atol=0.5)
    assert [label.name for label in segmentation.table] == ["WM-hypointensities"]
    volume_ml = segmentation.volumes()[0]["volume_ml"]
    assert volume_ml == pytest.approx(np.count_nonzero(fine) * 0.9**3 / 1000, rel=0.15)


@pytest.mark.usefixtures("freesurfer")
def test_lesions_of_wmh_synthseg(tmp_path: Path) -> None:
    image = Volume(np.zeros((8, 8, 8), np.float32), np.eye(4))
    labels = np.full((8, 8, 8), 2, np.int32)
    labels[2:4, 2:4, 2:4] = 77
    share = np.where(labels == 77, 0.8, 0.1).astype(np.float32)
    nb.save(nb.Nifti1Image(labels, image.affine), tmp_path / "wmh.nii.gz")
    nb.save(nb.Nifti1Image(share, image.affine), tmp_path / "wmh.lesion_probs.nii.gz")
    tool: Any = make_segmentation("wmh-synthseg")
    segmentation = tool.read(image, tmp_path)
    assert segmentation.masks["lesion"].data.sum() == 8
    np.testing.assert_allclose(segmentation.maps["lesion"].data, share)


def test_a_brain_without_lesions_is_an_answer_of_lst_ai(tmp_path: Path) -> None:
    image = Volume(np.zeros((8, 8, 8), np.float32), np.eye(4))
    tool: Any = make_segmentation("lst-ai")
    with pytest.raises(EngineError, match="did not write space-flair_desc-annotated"):
        tool.read(image, tmp_path)
    path = tmp_path / "space-flair_desc-annotated_seg-lst.nii.gz"
    nb.save(nb.Nifti1Image(np.zeros((8, 8, 8), np.int16), image.affine), path)
    assert tool.read(image, tmp_path).masks["lesion"].data.sum() == 0


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    image = Volume(np.zeros((8, 8, 8), np.float32), np.eye(4))
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(EngineError, match="cannot be read"):
        read_labels(tmp_path / "broken.nii.gz", image)
    nb.save(nb.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)), tmp_path / "empty.nii.gz")
    with pytest.raises(EngineError, match="has only background"):
        read_labels(tmp_path / "empty.nii.gz", image)
