from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.interfaces.preprocessing import (
    CheckInput,
    CorrectBias,
    CorrectSliceGain,
    Denoise,
    Unchanged,
)
from bids_sr.sr.slices import slice_gain


def test_check_writes_one_unambiguous_header(thick: Volume, tmp_path: Path) -> None:
    image = nb.Nifti1Image((1000 * thick.data).astype(np.int16), thick.affine)
    image.set_qform(np.diag([9.0, 9.0, 9.0, 1.0]), code=1)
    nb.save(image, tmp_path / "in.nii.gz")
    done = CheckInput(in_file=tmp_path / "in.nii.gz").run(cwd=tmp_path)
    out = nb.load(done.outputs.out_file)
    assert out.get_data_dtype() == np.float32
    np.testing.assert_allclose(out.get_qform(), thick.affine, atol=1e-4)
    np.testing.assert_allclose(out.get_sform(), thick.affine, atol=1e-4)
    assert done.outputs.record["InputDataType"] == "int16"
    assert done.outputs.record["Shape"] == list(thick.shape)


def test_check_mends_the_slice_spacing(thick: Volume, thick_file: Path, tmp_path: Path) -> None:
    check = CheckInput(in_file=thick_file, slice_axis=2, slice_spacing=7.5)
    out = Volume.load(check.run(cwd=tmp_path).outputs.out_file)
    np.testing.assert_allclose(out.spacings, [2, 2, 7.5], atol=1e-5)
    np.testing.assert_array_equal(out.data, thick.data)
    np.testing.assert_allclose(out.affine[:3, 3], thick.affine[:3, 3])


def test_check_refuses_what_is_not_finite(thick: Volume, tmp_path: Path) -> None:
    data = thick.data.copy()
    data[3, 4, 5] = np.nan
    Volume(data, thick.affine).save(tmp_path / "nan.nii.gz")
    with pytest.raises(InputDataError, match=r"nan\.nii\.gz"):
        CheckInput(in_file=tmp_path / "nan.nii.gz").run(cwd=tmp_path)


def test_a_step_that_is_not_wanted_hands_the_image_on(thick_file: Path, tmp_path: Path) -> None:
    done = Unchanged(in_file=thick_file).run(cwd=tmp_path)
    assert done.outputs.out_file == str(thick_file)
    assert done.outputs.record == {"Method": "none", "Seconds": 0.0}


@pytest.mark.engine
@pytest.mark.parametrize("interface", [Denoise, CorrectBias])
def test_engines_keep_the_grid_and_say_what_they_did(
    interface: type, thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    done = interface(in_file=thick_file).run(cwd=tmp_path)
    out = Volume.load(done.outputs.out_file)
    assert out.same_grid(thick)
    assert not np.array_equal(out.data, thick.data)
    assert done.outputs.record["Method"] != "none"
    assert done.outputs.record["Seconds"] > 0


@pytest.mark.engine
def test_auto_keeps_an_image_that_has_no_bias_field(
    thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    done = CorrectBias(in_file=thick_file, anat_biascorrect="auto").run(cwd=tmp_path)
    flat = done.outputs.record["FieldRange"]
    applied = done.outputs.record["Applied"]
    assert applied == (flat[1] / flat[0] > 1.1)
    assert applied == (done.outputs.out_file != str(thick_file))

    ramp = np.linspace(0.5, 1.5, thick.shape[0], dtype=np.float32)[:, None, None]
    biased = thick.with_data(thick.data * ramp).save(tmp_path / "biased.nii.gz")
    done = CorrectBias(in_file=biased, anat_biascorrect="auto").run(cwd=tmp_path)
    assert done.outputs.record["Applied"]


ACQUISITION = Acquisition(spacing=6.0, thickness=5.0, slice_axis=2)


def test_slices_without_banding_stay_the_file_they_are(thick_file: Path, tmp_path: Path) -> None:
    done = CorrectSliceGain(in_file=thick_file, acquisition=ACQUISITION).run(cwd=tmp_path)
    assert done.outputs.out_file == str(thick_file)
    assert done.outputs.record["Applied"] is False
    assert done.outputs.record["Reason"] == "no banding"


def test_banded_slices_are_brought_to_one_brightness(thick: Volume, tmp_path: Path) -> None:
    gains = 1 + 0.03 * (-1.0) ** np.arange(thick.shape[2])
    striped = slice_gain.banded(thick, gains, 2)
    path = striped.save(tmp_path / "banded.nii.gz")
    done = CorrectSliceGain(in_file=path, acquisition=ACQUISITION).run(cwd=tmp_path)
    corrected, record = Volume.load(done.outputs.out_file), done.outputs.record
    assert corrected.same_grid(thick)
    left, before = (np.abs(image.data - thick.data).mean() for image in (corrected, striped))
    assert left < 0.2 * before
    assert record["Applied"] is True
    assert record["AfterPercent"] < record["BeforePercent"]
    assert len(record["Gains"]) == thick.shape[2]


def test_the_image_goes_on_if_its_slices_cannot_be_compared(
    thick_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("singular")

    monkeypatch.setattr(slice_gain, "correct_slice_gain", fail)
    done = CorrectSliceGain(in_file=thick_file, acquisition=ACQUISITION).run(cwd=tmp_path)
    assert done.outputs.out_file == str(thick_file)
    assert done.outputs.record["Status"] == "failed"
    assert "the brightness of the slices was not corrected: " in done.outputs.record["Warning"]
