"""Figures of a fused volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.reports.assemble import figure_html
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
            FusedStack(image="a.nii.gz", used=True, slice_weights=weights, residual_percent=2.0),
            FusedStack(image="b.nii.gz", used=False, reason="it does not fit"),
        )
        record = FusionRecord(status="done", stacks=stacks)
        return plot_slice_weights(record, tmp_path / "weights.svg").read_text()

    assert drawn((1.0, 0.2, 1.0)).count(f"fill: {ACCENT}") == 1
    assert drawn((1.0, 1.0, 1.0)).count(f"fill: {ACCENT}") == 0
