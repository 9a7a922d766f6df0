from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_sr.imaging import Acquisition, Volume
from bids_sr.interfaces.reportlets import (
    BeforeAfterFigure,
    LearningCurveFigure,
    MaskFigure,
    SliceProfileFigure,
    UncertaintyFigure,
)
from bids_sr.records.learning_curve import GAIN_OVER_LINEAR, NO_CURVE, CurvePoint, LearningCurve
from bids_sr.records.method_record import MethodRecord


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
                before_file=thick_file, after_file=after, record=MethodRecord(method="self")
            ),
            SliceProfileFigure(acquisition=acquisition),
            LearningCurveFigure(curve=curve),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        out_file = figure.run(cwd=folder).outputs.out_file
        assert "<svg" in Path(out_file).read_text()[:2000]


def test_nothing_to_draw_is_none(thick_file: Path, tmp_path: Path) -> None:
    assert MaskFigure(in_file=thick_file, in_mask=None).run(cwd=tmp_path).outputs.out_file is None
    assert LearningCurveFigure(curve=NO_CURVE).run(cwd=tmp_path).outputs.out_file is None


def test_uncertainty_is_drawn_where_it_is_known(thick: Volume, tmp_path: Path) -> None:
    image = thick.save(tmp_path / "sr.nii.gz")
    spread = thick.with_data(0.1 * thick.data).save(tmp_path / "uncertainty.nii.gz")
    done = UncertaintyFigure(in_file=image, in_uncertainty=spread).run(cwd=tmp_path)
    text = Path(done.outputs.out_file).read_text()
    assert "Expected standard deviation" in text
    assert "% of the grey scale" in text
    done = UncertaintyFigure(in_file=image, in_uncertainty=None).run(cwd=tmp_path)
    assert done.outputs.out_file is None
