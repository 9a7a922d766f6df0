from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume
from bids_sr.interfaces.reportlets import (
    BeforeAfterFigure,
    LearningCurveFigure,
    MaskFigure,
    SliceGainFigure,
    SliceProfileFigure,
    SlicesFigure,
    UncertaintyFigure,
)
from bids_sr.records.learning_curve import GAIN_OVER_LINEAR, NO_CURVE, CurvePoint, LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.slice_faults import MOTION, SliceFault, SliceRecord
from bids_sr.records.uncertainty import UncertaintyRecord


def test_figures_are_drawn(
    thick: Volume, thick_file: Path, mni152_2mm: Volume, tmp_path: Path
) -> None:
    mask = thick.with_data((thick.data > 0).astype(np.uint8)).save(tmp_path / "mask.nii.gz")
    after = mni152_2mm.save(tmp_path / "after.nii.gz")
    acquisition = Acquisition(spacing=6.0, thickness=5.0, profile="rect", slice_axis=2)
    points = tuple(
        CurvePoint(step=step, seconds=step / 10, loss=1 / step, validation=0.1 * step)
        for step in range(1, 9)
    )
    curve = LearningCurve(points=points, validation=GAIN_OVER_LINEAR)
    for number, figure in enumerate(
        [
            MaskFigure(in_file=thick_file, in_mask=mask),
            BeforeAfterFigure(
                acquired_file=thick_file,
                before_file=thick_file,
                after_file=after,
                record=MethodRecord(method="self"),
            ),
            SliceProfileFigure(acquisition=acquisition, record=MethodRecord()),
            LearningCurveFigure(curve=curve),
            SliceGainFigure(gain_record={"Applied": True, "Gains": [0.98, 1.02, 0.98, 1.02]}),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        out_file = figure.run(cwd=folder).outputs.out_file
        assert "<svg" in Path(out_file).read_text()[:2000]


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (MethodRecord(method="self"), ["Acquired", "Interpolated", "Super-resolved"]),
        (MethodRecord(method="bspline"), ["Acquired", "Interpolated"]),
        (MethodRecord(method="none"), ["Acquired", "Result"]),
    ],
)
def test_the_figure_of_the_result_names_what_it_shows(
    thick_file: Path, mni152_2mm: Volume, tmp_path: Path, record: MethodRecord, names: list[str]
) -> None:
    figure = BeforeAfterFigure(
        acquired_file=thick_file,
        before_file=thick_file,
        after_file=mni152_2mm.save(tmp_path / "after.nii.gz"),
        record=record,
    )
    text = Path(figure.run(cwd=tmp_path).outputs.out_file).read_text()
    assert re.findall(r'<g class="layer[ shown]*" aria-label="([^"]+)"', text) == names
    assert text.count('class="layer shown"') == 1
    assert f'class="layer shown" aria-label="{names[-1]}"' in text


def test_nothing_to_draw_is_none(thick_file: Path, tmp_path: Path) -> None:
    assert MaskFigure(in_file=thick_file, in_mask=None).run(cwd=tmp_path).outputs.out_file is None
    assert LearningCurveFigure(curve=NO_CURVE).run(cwd=tmp_path).outputs.out_file is None
    kept = {"Applied": False, "Reason": "no banding"}
    assert SliceGainFigure(gain_record=kept).run(cwd=tmp_path).outputs.out_file is None


def test_uncertainty_is_drawn_where_it_is_known(thick: Volume, tmp_path: Path) -> None:
    image = thick.save(tmp_path / "sr.nii.gz")
    spread = thick.with_data(0.1 * thick.data).save(tmp_path / "uncertainty.nii.gz")
    done = UncertaintyFigure(in_file=image, in_uncertainty=spread).run(cwd=tmp_path)
    text = Path(done.outputs.out_file).read_text()
    assert "Expected standard deviation" in text
    assert "% of the grey scale" in text
    done = UncertaintyFigure(in_file=image, in_uncertainty=None).run(cwd=tmp_path)
    assert done.outputs.out_file is None


def test_an_interval_is_drawn_with_the_share_that_may_be_far_off(
    thick: Volume, tmp_path: Path
) -> None:
    image = thick.save(tmp_path / "sr.nii.gz")
    inside = np.zeros(thick.shape, np.uint8)
    inside[thick.data > np.percentile(thick.data, 50)] = 1
    mask = thick.with_data(inside).save(tmp_path / "mask.nii.gz")
    places = np.argwhere(inside)
    spread = np.zeros(thick.shape, np.float32)
    wide = places[: len(places) // 4]
    spread[tuple(wide.T)] = np.ptp(thick.data)
    uncertainty = thick.with_data(spread).save(tmp_path / "uncertainty.nii.gz")
    meaning = UncertaintyRecord(calibrated=True, model="model")
    record = MethodRecord().with_details(Uncertainty=meaning.to_dict())
    done = UncertaintyFigure(
        in_file=image, in_uncertainty=uncertainty, in_mask=mask, record=record
    ).run(cwd=tmp_path)
    text = Path(done.outputs.out_file).read_text()
    assert "Outlined: may be off by over 10 % of the range" in text
    assert ">25 % of the brain" in text
    assert "holds 90 % of the true values" in text


def test_slices_are_drawn_only_where_one_is_at_fault(tmp_path: Path) -> None:
    fault = SliceFault(slice_number=1, what=MOTION, size=2.0, weight=0.0)
    sound = SliceRecord(differences=(1.0, 1.1, 0.9))
    spoilt = SliceRecord(faults=(fault,), differences=(1.0, 3.0, 1.1))
    results = []
    for number, record in enumerate((sound, spoilt)):
        folder = tmp_path / str(number)
        folder.mkdir()
        figure = SlicesFigure(record=MethodRecord(method="self", slice_record=record))
        results.append(figure.run(cwd=folder).outputs.out_file)
    assert results[0] is None
    assert Path(results[1]).is_file()
