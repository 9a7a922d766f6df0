from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume
from bids_sr.imaging.degrade import degrade
from bids_sr.interfaces.segmentation_on_slices import SegmentationOnSlices

ACQUISITION = Acquisition(thickness=4.0, spacing=4.0, slice_axis=2)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    data = np.full((20, 20, 24), 100, np.float32)
    labels = np.zeros(data.shape, np.uint8)
    labels[6:14, 6:14, 8:16] = 1
    data[labels > 0] = 200
    sr = Volume(data, np.eye(4))
    mask = sr.with_data(labels)
    (tmp_path / "volumes.tsv").write_text(
        "index\tname\tvoxels\tvolume_ml\n1\tlesion\t512\t0.512\n2\tother\t0\t0.0\n"
    )
    return {
        "in_files": {
            "labels": str(mask.save(tmp_path / "labels.nii.gz")),
            "mask-lesion": str(mask.save(tmp_path / "mask.nii.gz")),
            "volumes": str(tmp_path / "volumes.tsv"),
        },
        "segmentation": {"Tool": "wmh", "Status": "done", "Seconds": 5.0},
        "sr_file": str(sr.save(tmp_path / "sr.nii.gz")),
        "slices_file": str(degrade(sr, ACQUISITION).save(tmp_path / "slices.nii.gz")),
        "acquisition": ACQUISITION,
    }


def test_labels_masks_volumes_and_lesions_come_back(inputs: dict[str, Any]) -> None:
    outputs = SegmentationOnSlices(**inputs).run().outputs
    files = outputs.out_files
    assert inputs["in_files"].items() <= files.items()
    labels = Volume.load(files["slices_labels"])
    assert labels.shape == (20, 20, 6)
    assert np.count_nonzero(labels.data) == 8 * 8 * 2
    assert Volume.load(files["slices_mask-lesion"]).data.sum() == 8 * 8 * 2
    header, first, second = Path(files["slices_volumes"]).read_text().splitlines()
    assert header.split("\t")[-1] == "super_resolved_volume_ml"
    assert first.split("\t") == ["1", "lesion", "128", "0.512", "0.512"]
    assert second.split("\t") == ["2", "other", "0", "0.0", "0.0"]
    assert "measurement" in Path(files["lesions"]).read_text()
    record = outputs.record
    assert record["VolumesOnSlicesMl"] == {"lesion": 0.512, "other": 0.0}
    assert (record["Lesions"], record["LesionsSeenInSlices"]) == (1, 1)
    assert (record["Tool"], record["Status"]) == ("wmh", "done")
    assert record["Seconds"] >= 5.0


def test_no_lesion_gives_an_empty_table(inputs: dict[str, Any]) -> None:
    labels = Volume.load(inputs["in_files"]["labels"], dtype=np.uint8)
    for name in ("labels", "mask-lesion"):
        labels.with_data(labels.data * 0).save(inputs["in_files"][name])
    outputs = SegmentationOnSlices(**inputs).run().outputs
    assert outputs.record["Lesions"] == 0
    assert len(Path(outputs.out_files["lesions"]).read_text().splitlines()) == 1


@pytest.mark.parametrize("lacking", ["slices", "labels", "same grid"])
def test_without_anything_to_bring_back_the_results_stay(
    inputs: dict[str, Any], lacking: str
) -> None:
    if lacking == "slices":
        inputs |= {"slices_file": None, "acquisition": None}
    elif lacking == "labels":
        inputs["in_files"] = {}
    else:
        inputs["slices_file"] = inputs["sr_file"]
    outputs = SegmentationOnSlices(**inputs).run().outputs
    assert outputs.out_files == inputs["in_files"]
    assert outputs.record["Status"] == "done"


def test_a_failure_costs_no_segmentation(inputs: dict[str, Any], tmp_path: Path) -> None:
    far = np.diag([1.0, 1.0, 4.0, 1.0])
    far[2, 3] = 500
    data = np.arange(2400, dtype=np.float32).reshape(20, 20, 6)
    slices = Volume(data, far).save(tmp_path / "far.nii.gz")
    outputs = SegmentationOnSlices(**inputs | {"slices_file": str(slices)}).run().outputs
    assert outputs.out_files == inputs["in_files"]
    assert outputs.record["Status"] == "done"
    assert "not brought onto the acquired slices: Found slice" in outputs.record["Warning"]
