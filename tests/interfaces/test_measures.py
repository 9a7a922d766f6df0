from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_sr.imaging import Acquisition, Volume, lay_out_grid, resample
from bids_sr.interfaces.measures import MeasureImage


def test_what_is_measured_is_named(thick: Volume, thick_file: Path, tmp_path: Path) -> None:
    acquisition = Acquisition(spacing=6.0, thickness=5.0, slice_axis=2)
    result = resample(thick, lay_out_grid(thick, slice_axis=2, output_resolution=2.0))
    masks = {
        name: volume.with_data((volume.data > 0.2 * volume.data.max()).astype(np.uint8)).save(
            tmp_path / f"{name}.nii.gz"
        )
        for name, volume in (("brain_mask", thick), ("result_mask", result))
    }
    done = MeasureImage(
        acquired_file=thick_file,
        result_file=result.save(tmp_path / "sr.nii.gz"),
        acquisition=acquisition,
        uncertainty=result.with_data(0.05 * result.data).save(tmp_path / "u.nii.gz"),
        **masks,
    ).run(cwd=tmp_path)
    record = done.outputs.record
    assert record.keys() >= {"SharpnessRatio", "ClippedPercent", "Cnr", "UncertaintyPercent"}
    assert 0 <= record["SharpnessRatio"] < 0.5  # interpolated
    assert "Warning" not in record


def test_without_a_mask_nothing_is_said_of_a_brain(
    thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    done = MeasureImage(
        acquired_file=thick_file,
        result_file=thick_file,
        acquisition=Acquisition(spacing=6.0, thickness=5.0, slice_axis=2),
    ).run(cwd=tmp_path)
    assert "ClippedPercent" in done.outputs.record
    assert not {"Cnr", "BrainCutPercent", "BothEdgesPercent"} & done.outputs.record.keys()


def test_an_image_that_cannot_be_measured_keeps_its_result(
    thick_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "sr.nii.gz"
    broken.write_bytes(thick_file.read_bytes()[:1000])
    done = MeasureImage(
        acquired_file=thick_file,
        result_file=broken,
        acquisition=Acquisition(spacing=6.0, thickness=5.0, slice_axis=2),
    ).run(cwd=tmp_path)
    assert done.outputs.record["Status"] == "failed"
    assert "the verdict lacks some checks" in done.outputs.record["Warning"]
