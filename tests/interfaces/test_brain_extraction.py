from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.imaging import Volume
from bids_sr.interfaces.brain_extraction import ExtractBrain, MaskToGrid


def test_an_existing_mask_is_taken(thick: Volume, thick_file: Path, tmp_path: Path) -> None:
    mask_file = thick.with_data((thick.data > 0).astype(np.uint8)).save(tmp_path / "mask.nii.gz")
    done = ExtractBrain(in_file=thick_file, engine="existing", existing_mask=mask_file).run(
        cwd=tmp_path
    )
    mask = Volume.load(done.outputs.out_mask, dtype=np.uint8)
    np.testing.assert_array_equal(mask.data, thick.data > 0)
    expected_ml = np.count_nonzero(thick.data > 0) * 2 * 2 * 6 / 1000
    assert done.outputs.record["VolumeMl"] == pytest.approx(expected_ml, abs=0.1)
    assert done.outputs.record["Source"] == str(mask_file)


def test_an_existing_mask_on_another_grid_is_refused(
    thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    shifted = thick.affine.copy()
    shifted[0, 3] += 1
    other = Volume((thick.data > 0).astype(np.uint8), shifted).save(tmp_path / "mask.nii.gz")
    done = ExtractBrain(in_file=thick_file, engine="existing", existing_mask=other)
    outputs = done.run(cwd=tmp_path).outputs
    assert outputs.out_mask is None
    assert "grid is not that of the" in outputs.record["Warning"]
    assert outputs.record["Method"] == "existing"


def test_an_existing_mask_without_a_voxel_is_refused(
    thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    """Other tools would take it for the brain of the image."""
    empty = thick.with_data(np.zeros(thick.shape, np.uint8)).save(tmp_path / "mask.nii.gz")
    done = ExtractBrain(in_file=thick_file, engine="existing", existing_mask=empty)
    outputs = done.run(cwd=tmp_path).outputs
    assert outputs.out_mask is None
    assert f"{empty}: the brain mask is empty" in outputs.record["Warning"]


def test_no_mask_is_none_and_flows_on(thick_file: Path, tmp_path: Path) -> None:
    done = ExtractBrain(in_file=thick_file, engine="none").run(cwd=tmp_path)
    assert done.outputs.out_mask is None
    moved = MaskToGrid(in_mask=None, reference_file=thick_file).run(cwd=tmp_path)
    assert moved.outputs.out_mask is None


def test_a_stripped_image_needs_no_engine(thick: Volume, thick_file: Path, tmp_path: Path) -> None:
    """The thick head of these tests is degraded from a template without a skull."""
    empty = thick.data < 0.02 * thick.data.max()  # the degradation leaves a little outside
    acquired = thick.with_data(np.where(empty, 0, thick.data)).save(tmp_path / "acquired.nii.gz")
    node = {"in_file": thick_file, "acquired_file": acquired, "engine": "template"}
    done = ExtractBrain(**node, skull_strip_anat="auto").run(cwd=tmp_path).outputs
    mask = Volume.load(done.out_mask, dtype=np.uint8).data > 0
    assert done.skull_stripped is True
    assert mask[~empty].mean() > 0.99
    assert "without a skull" in done.record["Reason"]
    assert done.record["Method"].startswith("non-background voxels")
    assert done.record["VolumeMl"] == pytest.approx(mask.sum() * 24 / 1000, abs=0.1)
    marked = ExtractBrain(**node, skull_strip_anat="skip").run(cwd=tmp_path).outputs
    assert "marked as skull-stripped" in marked.record["Reason"]
    node["engine"] = "none"
    none = ExtractBrain(**node, skull_strip_anat="auto").run(cwd=tmp_path).outputs
    assert (none.out_mask, none.skull_stripped) == (None, True)


def test_what_cannot_be_stripped_is_refused(thick: Volume, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(1, 2, (120, 120, 40)).astype(np.float32)
    path = Volume(noise, thick.affine).save(tmp_path / "noise.nii.gz")
    done = ExtractBrain(
        in_file=path, acquired_file=path, engine="template", skull_strip_anat="skip"
    ).run(cwd=tmp_path)
    assert (done.outputs.out_mask, done.outputs.skull_stripped) == (None, None)
    assert "marked as skull-stripped" in done.outputs.record["Warning"]


@pytest.mark.engine
def test_a_refusal_is_a_warning_and_no_mask(thick: Volume, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(1, 2, thick.shape).astype(np.float32)
    path = thick.with_data(noise).save(tmp_path / "noise.nii.gz")
    done = ExtractBrain(in_file=path, engine="template").run(cwd=tmp_path)
    assert done.outputs.out_mask is None
    assert "no brain mask" in done.outputs.record["Warning"]


def test_a_mask_moves_to_another_grid(
    thick: Volume, mni152_2mm: Volume, thick_file: Path, tmp_path: Path
) -> None:
    mask = thick.with_data((thick.data > 0).astype(np.uint8)).save(tmp_path / "mask.nii.gz")
    reference = mni152_2mm.save(tmp_path / "reference.nii.gz")
    done = MaskToGrid(in_mask=mask, reference_file=reference).run(cwd=tmp_path)
    moved = Volume.load(done.outputs.out_mask, dtype=np.uint8)
    assert moved.same_grid(mni152_2mm)
    ratio = np.count_nonzero(moved.data) / (3 * np.count_nonzero(thick.data > 0))
    assert ratio == pytest.approx(1, abs=0.03)
    assert set(np.unique(moved.data)) == {0, 1}


def test_what_is_asked_of_hd_bet_reaches_it(
    thick: Volume, thick_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {}

    def brain_mask(volume: Volume, **options: Any) -> tuple[Volume, dict[str, Any]]:
        settings.update(options)
        return volume.with_data((volume.data > 0).astype(np.uint8)), {"TTA": options["hdbet_tta"]}

    monkeypatch.setattr("bids_sr.engines.hd_bet.brain_mask", brain_mask)
    node = ExtractBrain(in_file=thick_file, engine="hdbet", device="cpu", num_threads=2)
    node.inputs.trait_set(weights_dir=str(tmp_path), hdbet_tta=True, allow_unverified_weights=True)
    assert node.run(cwd=tmp_path).outputs.record["TTA"] is True
    assert settings == {
        "weights_dir": tmp_path,
        "device": "cpu",
        "threads": 2,
        "hdbet_tta": True,
        "allow_unverified_weights": True,
    }
