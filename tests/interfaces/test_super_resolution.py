from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition, Series, SliceProfile, Volume, resample
from bids_sr.interfaces.super_resolution import (
    EstimateProfile,
    LearnFromImages,
    SuperResolve,
    chosen_method,
)

ACQUISITION = Acquisition(spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=2)


def test_interpolation_goes_to_the_asked_grid(
    thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    done = SuperResolve(
        in_file=thick_file, acquisition=ACQUISITION, sr_method="bspline", output_resolution=2.0
    ).run(cwd=tmp_path)
    out = Volume.load(done.outputs.out_file)
    np.testing.assert_allclose(out.fov, thick.fov, atol=0.01)
    np.testing.assert_allclose(out.spacings, [2, 2, 2], atol=1e-5)
    np.testing.assert_allclose(
        out.data, np.maximum(resample(thick, out.grid).data, 0), atol=1e-3 * thick.data.max()
    )
    record = done.outputs.record
    assert record.output.shape == out.shape
    assert 0 < record.output.residual_percent < 20
    slices = (record.slices.thickness, record.slices.gap, record.slices.profile)
    assert slices == (5.0, 1.0, "gaussian")
    assert done.outputs.curve.points == ()
    assert Path(done.outputs.out_profile).read_text().startswith("position_mm")


def test_none_keeps_the_image(thick: Volume, thick_file: Path, tmp_path: Path) -> None:
    done = SuperResolve(in_file=thick_file, acquisition=ACQUISITION, sr_method="none").run(
        cwd=tmp_path
    )
    out = Volume.load(done.outputs.out_file)
    np.testing.assert_array_equal(out.data, thick.data)
    np.testing.assert_array_equal(out.affine, thick.affine)


def test_a_learner_hands_on_its_curve(thick_file: Path, tmp_path: Path) -> None:
    done = SuperResolve(
        in_file=thick_file,
        acquisition=ACQUISITION,
        sr_method="self",
        output_resolution=2.0,
        parameters={"steps": 5, "seed": 3, "device": "cpu"},
    ).run(cwd=tmp_path)
    assert done.outputs.curve.points[-1].step == 5
    assert done.outputs.record.details["Seed"] == 3


def test_a_fallback_is_a_warning(thick: Volume, tmp_path: Path) -> None:
    few = Volume(thick.data[50:58, 50:58, 12:16], thick.affine).save(tmp_path / "few.nii.gz")
    done = SuperResolve(
        in_file=few,
        acquisition=ACQUISITION,
        sr_method="self",
        output_resolution=2.0,
        parameters={"steps": 1},
    ).run(cwd=tmp_path)
    assert done.outputs.record.fallback == "bspline"
    (warning,) = done.outputs.record.warnings
    assert warning.startswith("interpolated instead of super-resolved: ")


def test_the_residual_of_the_truth_is_zero(
    mni152_2mm: Volume, thick: Volume, tmp_path: Path
) -> None:
    from bids_sr.sr import data_consistency_residual

    assert data_consistency_residual(mni152_2mm, thick, ACQUISITION) == pytest.approx(0, abs=1e-3)


def test_what_was_learnt_and_how_sure_it_is_are_handed_on(
    thick_file: Path, tmp_path: Path
) -> None:
    small = {"steps": 80, "channels": 8, "blocks": 2, "device": "cpu"}
    done = SuperResolve(
        in_file=thick_file,
        acquisition=ACQUISITION,
        sr_method="self",
        output_resolution=2.0,
        parameters=small,
        save_model=True,
    ).run(cwd=tmp_path)
    assert Path(done.outputs.out_model).name == "model.safetensors"
    spread = Volume.load(done.outputs.out_uncertainty)
    assert spread.same_grid(Volume.load(done.outputs.out_file))
    assert spread.data.min() >= 0
    parameters, files = chosen_method("self", {"reuse": done.outputs.out_model, "width": 3})
    assert parameters == {"reuse": done.outputs.out_model}
    assert files == (Path(done.outputs.out_model),)
    with pytest.raises(WeightsError, match="Found no file"):
        chosen_method("self", {"reuse": str(tmp_path / "none.safetensors")})


def test_a_series_stays_one(thick: Volume, tmp_path: Path) -> None:
    small = Volume(np.ascontiguousarray(thick.data[40:60, 40:60]), thick.affine)
    cine = Series.of([small, small.with_data(2 * small.data)], 0.1)
    done = SuperResolve(
        in_file=cine.save(tmp_path / "cine.nii.gz"),
        acquisition=ACQUISITION,
        sr_method="linear",
        output_resolution=2.0,
    ).run(cwd=tmp_path)
    series = Series.load(done.outputs.out_file)
    assert len(series) == 2
    np.testing.assert_allclose(series.data[..., 1], 2 * series.data[..., 0], rtol=1e-5, atol=1e-3)
    assert done.outputs.record.details["Frames"] == 2
    assert done.outputs.record.output.shape == series.data.shape
    assert done.outputs.out_uncertainty is None


def test_images_together_teach_a_model(thick: Volume, tmp_path: Path) -> None:
    files = []
    for number in range(2):
        part = thick.data[30 + number : 62 + number, 30:62]
        image = Volume(np.ascontiguousarray(part), thick.affine)
        files.append(str(image.save(tmp_path / f"{number}.nii.gz")))
    (tmp_path / "broken.nii.gz").write_text("no image")
    done = LearnFromImages(
        in_files=[*files, str(tmp_path / "broken.nii.gz")],
        acquisitions=[ACQUISITION, replace(ACQUISITION, assumed=("thickness",)), ACQUISITION],
        estimates_profile=True,
        recipe="autoencoder",
        parameters={"steps": 2, "width": 4, "device": "cpu", "spacing": 1.0},
    ).run(cwd=tmp_path)
    used = SuperResolve(
        in_file=files[0],
        acquisition=ACQUISITION,
        sr_method="latent",
        output_resolution=2.0,
        output_grid="slice",
        parameters={"adapt": "none", "device": "cpu"},
        in_model=done.outputs.out_weights,
    ).run(cwd=tmp_path)
    assert used.outputs.record.model == "weights.safetensors"
    assert len(used.outputs.record.details["ModelSHA256"]) == 64


def test_the_estimated_profile_is_used_and_recorded(thick_file: Path, tmp_path: Path) -> None:
    unknown = replace(ACQUISITION, thickness=6.0, assumed=("thickness",))
    estimated = EstimateProfile(in_file=thick_file, acquisition=unknown).run(cwd=tmp_path)
    record = estimated.outputs.record
    assert estimated.outputs.acquisition.thickness != 6.0
    done = SuperResolve(
        in_file=thick_file,
        acquisition=estimated.outputs.acquisition,
        profile_record=record,
        sr_method="linear",
        output_resolution=2.0,
    ).run(cwd=tmp_path)
    method_record = done.outputs.record
    assert method_record.details["SliceProfileEstimate"] == record
    assert method_record.profile_estimate.fwhm == record["SliceProfileFWHM"]
    assert method_record.slices.thickness == record["Used"]["SliceThickness"]


def test_no_warning_takes_the_place_of_another(thick_file: Path, tmp_path: Path) -> None:
    """Of the estimate, of the adaptation, and of what could not be measured."""
    done = SuperResolve(
        in_file=thick_file,
        acquisition=ACQUISITION,
        profile_record={"Warning": "the image suggests 4 mm"},
        sr_method="finetuned",
        output_resolution=2.0,
        parameters={"adapt": "image", "steps": 1, "learning_rate": 1e-12, "device": "cpu"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_sr.sr.data_consistency_residual", lambda *_: 1 / 0)
        record = done.run(cwd=tmp_path).outputs.record
    assert record.warnings == (
        "the image suggests 4 mm",
        "not adapted to the image: no gain on the slices held out",
        "the data consistency was not measured: that failed, see the log",
    )
    assert record.to_dict()["Warning"] == "; ".join(record.warnings)


HASH = """
import sys
from bids_sr.imaging import Acquisition
from bids_sr.interfaces.super_resolution import EstimateProfile
acquisition = Acquisition(spacing=6.0, profile=sys.argv[1], assumed=("thickness",))
print(EstimateProfile(acquisition=acquisition).inputs.get_hashval()[1])
"""


def test_a_node_is_known_again_by_its_acquisition_in_another_process(tmp_path: Path) -> None:
    """A profile of 3000 samples is known by all of them: an array's text leaves most out."""
    positions = np.linspace(-3, 3, 3000)
    weights = np.cos(positions / 2)

    def hash_of(name: str) -> str:
        profile = SliceProfile(positions=positions, weights=weights).save(tmp_path / name)
        command = [sys.executable, "-c", HASH, str(profile)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    before = hash_of("table.tsv")
    assert hash_of("table.tsv") == before
    weights[1000] *= 0.999
    assert hash_of("table.tsv") != before
