"""Figures of a fused volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Volume
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.reports.assemble import figure_html
from bids_sr.reports.fusion import group_rows
from bids_sr.reports.stack_figures import ACCENT, plot_layers, plot_slice_weights


@pytest.fixture
def volume() -> Volume:
    data = np.random.default_rng(0).uniform(0, 100, (30, 32, 28)).astype(np.float32)
    return Volume(data, np.diag([1.0, 1.0, 1.0, 1.0]))


def test_layers_lie_one_over_the_other(volume: Volume, tmp_path: Path) -> None:
    layers = [("A: first & frame", volume), ("Mean", volume.with_data(volume.data / 2))]
    path = plot_layers(volume, layers, tmp_path / "layers.svg")
    text = path.read_text()
    assert path.stat().st_size < 600_000
    assert text.index("A: first &amp; frame") < text.index(">Mean<") < text.index(">Fused<")
    assert text.count('<g class="layer') == 3
    in_page = str(figure_html("fused", path))  # in line, without what it does by itself
    assert in_page.startswith("<svg ")
    assert "onclick" not in in_page
    assert in_page.count('class="layer shown"') == 1


def test_what_is_not_ours_does_not_go_in_line(volume: Volume, tmp_path: Path) -> None:
    path = plot_layers(volume, [], tmp_path / "layers.svg")
    path.write_text(path.read_text().replace("layer shown", "layer evil"))
    assert str(figure_html("fused", path)).startswith("<img ")


def test_layers_of_another_grid_are_refused(volume: Volume, tmp_path: Path) -> None:
    other = Volume(volume.data[1:], volume.affine)
    with pytest.raises(InputDataError, match="B: other"):
        plot_layers(volume, [("B: other", other)], tmp_path / "layers.svg")


def test_a_slice_that_counts_less_stands_out(tmp_path: Path) -> None:
    def drawn(weights: tuple[float, ...]) -> str:
        stacks = (
            FusedStack(
                image="a.nii.gz",
                used=True,
                slice_weights=weights,
                odd_slices=tuple((n, "moved") for n, weight in enumerate(weights) if weight < 1),
                residual_percent=2.0,
            ),
            FusedStack(image="b.nii.gz", used=False, reason="it does not fit"),
        )
        record = FusionRecord(status="done", stacks=stacks)
        return plot_slice_weights(record, tmp_path / "weights.svg").read_text()

    assert drawn((1.0, 0.2, 1.0)).count(f"fill: {ACCENT}") == 1
    assert drawn((1.0, 1.0, 1.0)).count(f"fill: {ACCENT}") == 0


def test_the_page_of_a_group_sums_up_what_was_fused(tmp_path: Path) -> None:
    stacks = (
        FusedStack(image="a.nii.gz", used=True, residual_percent=2.0, slice_weights=(1.0,)),
        FusedStack(
            image="b.nii.gz",
            used=True,
            shift_mm=1.234,
            rotation_degrees=2.0,
            residual_percent=3.0,
            odd_slices=((4, "it has lost signal"),),
        ),
        FusedStack(image="c.nii.gz", reason="it does not fit"),
    )
    product = "sub-01_desc-fused_T2w"
    record = FusionRecord(status="done", product=product, stacks=stacks)
    path = tmp_path / "sub-01" / "anat" / "sub-01_desc-fused_qc.json"
    write_json_atomic(path, record.to_dict())
    (row,) = group_rows(tmp_path, ["sub-01", "sub-02"], "T2w")
    assert row["address"] == "sub-01.html#fused-sub-01-desc-fused-T2w"
    assert (row["stacks"], row["shift"], row["residual"]) == ("2 of 3", "1.2 mm", "3 %")
    assert row["slices"] == "1"
    assert group_rows(tmp_path, ["sub-01"], "T1w") == []
