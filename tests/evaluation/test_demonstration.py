from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bids_sr.bids import validate_dataset
from bids_sr.evaluation.demonstration import (
    SUBJECTS,
    reference_path,
    score_subject,
    write_demonstration,
)
from bids_sr.exceptions import OutputError
from bids_sr.imaging import Volume, degrade


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demonstration(folder)
    return folder


def test_the_demonstration_is_valid_bids(demonstration: Path) -> None:
    result = validate_dataset(demonstration / "bids")
    assert result.note == ""
    assert result.errors == ()


def test_the_demonstration_has_thick_slices_of_the_reference(demonstration: Path) -> None:
    table = (demonstration / "bids" / "participants.tsv").read_text().splitlines()
    labels = [row["participant_id"] for row in csv.DictReader(table, delimiter="\t")]
    assert labels == ["sub-01", "sub-02"]
    for subject, axis, spacing in zip(SUBJECTS, (2, 0), (6.0, 4.4), strict=True):
        path = demonstration / "bids" / f"sub-{subject.label}" / "anat"
        thick = Volume.load(path / f"sub-{subject.label}_T1w.nii.gz")
        assert thick.slice_axis == axis
        assert thick.spacings[axis] == pytest.approx(spacing, abs=1e-4)
        reference = Volume.load(reference_path(demonstration, subject.label))
        clean = degrade(reference, subject.acquisition)
        noise = np.abs(thick.data - clean.data)[clean.data > 100].std()
        assert 0.002 < noise / np.percentile(clean.data, 99) < 0.02
        sidecar = json.loads((path / f"sub-{subject.label}_T1w.json").read_text())
        assert sidecar["SpacingBetweenSlices"] == spacing
        assert sidecar["SliceThickness"] < spacing


def test_the_demonstration_is_the_same_every_time(demonstration: Path, tmp_path: Path) -> None:
    write_demonstration(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        again = demonstration / path.relative_to(tmp_path)
        assert path.read_bytes() == again.read_bytes(), path


def test_the_demonstration_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(OutputError, match="is a file"):
        write_demonstration(tmp_path / "demo")


def test_score_puts_the_bias_field_back(demonstration: Path, tmp_path: Path) -> None:
    """The reference itself, seen through a field, must score as perfect."""
    label = "01"
    anat = tmp_path / f"sub-{label}" / "anat"
    reference = Volume.load(reference_path(demonstration, label))
    acquired = demonstration / "bids" / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
    before = Volume.load(acquired)

    def field(volume: Volume) -> np.ndarray:
        height = np.arange(volume.shape[2]) + 0.5
        gain = 1 + 0.4 * height * volume.spacings[2] / 160
        return np.broadcast_to(gain, volume.shape).astype(np.float32)

    stem = f"sub-{label}_space-orig_desc"
    before.save(anat / f"{stem}-denoised_T1w.nii.gz")
    before.with_data(before.data * field(before)).save(anat / f"{stem}-n4_T1w.nii.gz")
    seen = reference.with_data(reference.data * field(reference))
    seen.save(anat / f"sub-{label}_res-1mm_desc-sr_T1w.nii.gz")
    scores = score_subject(demonstration, tmp_path, label)
    assert 20 < scores.cubic[0] < 30
    assert scores.result[0] > 45
    assert scores.result[1] > 0.99
