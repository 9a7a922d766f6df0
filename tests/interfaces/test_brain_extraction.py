from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume
from bids_sr.interfaces.brain_extraction import ExtractBrain, MaskToGrid, choose_mask_engine


def test_an_existing_mask_is_taken(thick: Volume, thick_file: Path, tmp_path: Path) -> None:
    given = thick.with_data((thick.data > 0).astype(np.uint8)).save(tmp_path / "mask.nii.gz")
    done = ExtractBrain(in_file=thick_file, engine="existing", existing_mask=given).run(
        cwd=tmp_path
    )
    mask = Volume.load(done.outputs.out_mask, dtype=np.uint8)
    np.testing.assert_array_equal(mask.data, thick.data > 0)
    expected_ml = np.count_nonzero(thick.data > 0) * 2 * 2 * 6 / 1000
    assert done.outputs.record["VolumeMl"] == pytest.approx(expected_ml, abs=0.1)
    assert done.outputs.record["Source"] == str(given)


def test_an_existing_mask_on_another_grid_is_refused(
    thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    shifted = thick.affine.copy()
    shifted[0, 3] += 1
    other = Volume((thick.data > 0).astype(np.uint8), shifted).save(tmp_path / "mask.nii.gz")
    with pytest.raises(InputDataError, match="grid is not that of the"):
        ExtractBrain(in_file=thick_file, engine="existing", existing_mask=other).run(cwd=tmp_path)


def test_no_mask_is_none_and_flows_on(thick_file: Path, tmp_path: Path) -> None:
    done = ExtractBrain(in_file=thick_file, engine="none").run(cwd=tmp_path)
    assert done.outputs.out_mask is None
    moved = MaskToGrid(in_mask=None, reference_file=thick_file).run(cwd=tmp_path)
    assert moved.outputs.out_mask is None


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


def test_the_engine_is_chosen_with_a_reason(tmp_path: Path) -> None:
    engine, reason = choose_mask_engine("auto", tmp_path)
    assert engine == "template"
    assert "HD-BET" in reason
    assert choose_mask_engine("none", None)[0] == "none"
