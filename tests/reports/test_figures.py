"""Figures: self-contained, true to scale, refusing what does not fit together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.learning_curve import (
    GAIN_OVER_CUBIC,
    GAIN_OVER_LINEAR,
    MINUS_CONTENT_LOSS,
    NO_CURVE,
    CurvePoint,
    LearningCurve,
    Validation,
)
from bids_sr.reports import figures

from .conftest import learning_curve


def noisy(shape: tuple[int, int, int] = (120, 140, 24)) -> Volume:
    """Make a volume that compresses badly, 1 x 1 x 5 mm."""
    data = np.random.default_rng(0).random(shape, dtype=np.float32) * 100
    return Volume(data=data, affine=np.diag([1.0, 1.0, 5.0, 1.0]))


def ball_mask(volume: Volume) -> Volume:
    """Make a ball in the middle of a volume's grid."""
    places = np.indices(volume.shape) * volume.spacings[:, None, None, None]
    middle = (np.asarray(volume.shape) - 1) * volume.spacings / 2
    distance = np.linalg.norm(places - middle[:, None, None, None], axis=0)
    return volume.with_data((distance < 45).astype(np.uint8))


def assert_self_contained(path: Path) -> None:
    """Check that an SVG is whole, small, and refers to nothing outside of itself."""
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert path.stat().st_size < 600_000
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.endswith(("href", "src")):
                assert value.startswith(("data:", "#"))
    assert "url(http" not in text
    assert "<script" not in text


@pytest.fixture(scope="module")
def drawn(finished_run: Path) -> Path:
    return finished_run / "sub-01" / "figures"


@pytest.mark.parametrize("name", ["mask", "sr", "sliceprofile", "learningcurve"])
def test_figures_are_self_contained(drawn: Path, name: str) -> None:
    assert_self_contained(drawn / f"sub-01_ses-01_desc-{name}_FLAIR.svg")


def test_figures_of_large_noisy_volumes_stay_small(tmp_path: Path) -> None:
    volume = noisy((300, 300, 40))
    assert_self_contained(figures.plot_mask(volume, ball_mask(volume), tmp_path / "mask.svg"))
    assert_self_contained(figures.plot_before_after(volume, volume, tmp_path / "sr.svg"))


def test_no_leftovers_beside_a_figure(tmp_path: Path) -> None:
    volume = noisy((30, 30, 8))
    figures.plot_before_after(volume, volume, tmp_path / "new" / "sr.svg")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sr.svg"]


def test_the_drawing_does_not_depend_on_the_storage_order(tmp_path: Path) -> None:
    volume = noisy((50, 60, 12))
    mask = ball_mask(volume)
    flipped = [
        Volume(data=v.data[::-1].transpose(2, 0, 1), affine=v.affine @ permutation(v.shape[0]))
        for v in (volume, mask)
    ]
    figure = figures.plot_mask(volume, mask, tmp_path / "one.svg")
    flipped_figure = figures.plot_mask(*flipped, tmp_path / "other.svg")
    assert figure.read_text() == flipped_figure.read_text()


def permutation(size: int) -> np.ndarray:
    """Map the indices of ``data[::-1].transpose(2, 0, 1)`` to those of ``data``."""
    matrix = np.zeros((4, 4))
    matrix[0, 1], matrix[1, 2], matrix[2, 0], matrix[3, 3] = -1, 1, 1, 1
    matrix[0, 3] = size - 1
    return matrix


def test_mask_has_an_outline_in_three_planes(tmp_path: Path) -> None:
    volume = noisy((60, 60, 12))
    text = figures.plot_mask(volume, ball_mask(volume), tmp_path / "m.svg").read_text()
    assert text.count(' d="M') >= 9
    assert "image-rendering:pixelated" in text


def test_an_empty_mask_is_said(tmp_path: Path) -> None:
    volume = noisy((40, 40, 10))
    empty = volume.with_data(np.zeros(volume.shape, np.uint8))
    text = figures.plot_mask(volume, empty, tmp_path / "m.svg").read_text()
    assert "The mask is empty." in text
    assert ' d="M' not in re.sub(r"<path d=\"M[^>]*stroke=\"#c3cbd4\"", "", text)


def test_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    volume = noisy((40, 40, 10))
    shifted = volume.affine.copy()
    shifted[0, 3] += 3
    with pytest.raises(InputDataError, match=r"mask has the grid .* expected that of the image"):
        figures.plot_mask(volume, Volume(data=volume.data, affine=shifted), tmp_path / "m.svg")


def test_images_on_different_grids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="resample it first"):
        figures.plot_before_after(noisy((40, 40, 10)), noisy((40, 40, 11)), tmp_path / "s.svg")


def test_both_images_have_the_grey_scale_of_the_first(tmp_path: Path) -> None:
    before = noisy((40, 40, 10))
    after = before.with_data(before.data * 50)
    text = figures.plot_before_after(before, after, tmp_path / "s.svg").read_text()
    assert len(set(re.findall(r"Grey scale of both: ([^<]+)", text))) == 1
    layers = {
        name: re.findall(r'href="([^"]+)"', part)
        for name, part in re.findall(r'<g class="(after|before)">(.*?)(?=<g class=|$)', text, re.S)
    }
    assert len(layers["before"]) == len(layers["after"]) > 9
    assert layers["before"][0] != layers["after"][0]


def test_flip_works_by_pointer_click_and_key(tmp_path: Path) -> None:
    volume = noisy((30, 30, 8))
    text = figures.plot_before_after(
        volume, volume, tmp_path / "s.svg", labels=("A <1>", "B & 2")
    ).read_text()
    for piece in (":hover .before", "onclick=", "onkeydown=", 'tabindex="0"', "A &lt;1&gt;"):
        assert piece in text
    ElementTree.fromstring(text)


@pytest.mark.parametrize("profile", ["gaussian", "rect", "slr"])
@pytest.mark.parametrize("thickness", [5.0, 6.0, 8.0])
def test_slice_profiles_are_drawn_for_gap_and_overlap(
    tmp_path: Path, profile: str, thickness: float
) -> None:
    acquisition = Acquisition(spacing=6.0, thickness=thickness, profile=profile)
    path = figures.plot_slice_profile(acquisition.slice_profile, acquisition, tmp_path / "p.svg")
    assert_self_contained(path)


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    first = figures.plot_learning_curve(learning_curve(), tmp_path / "1.svg").read_bytes()
    assert figures.plot_learning_curve(learning_curve(), tmp_path / "2.svg").read_bytes() == first


def test_learning_curve_without_validation_is_drawn(tmp_path: Path) -> None:
    curve = LearningCurve(points=(CurvePoint(step=10, seconds=1.0, loss=0.0),))
    assert_self_contained(figures.plot_learning_curve(curve, tmp_path / "c.svg"))


def test_learning_curve_without_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="has no point"):
        figures.plot_learning_curve(NO_CURVE, tmp_path / "c.svg")


@pytest.mark.parametrize(
    ("validation", "axis", "title"),
    [
        (GAIN_OVER_CUBIC, "gain over cubic interpolation (dB)", "gain over cubic interpolation +"),
        (GAIN_OVER_LINEAR, "gain over linear interpolation (dB)", "over linear interpolation +"),
        (MINUS_CONTENT_LOSS, "minus the content loss", "minus the content loss +1.35, held out"),
    ],
)
def test_learning_curve_says_what_was_validated(
    monkeypatch: pytest.MonkeyPatch, validation: Validation, axis: str, title: str
) -> None:
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: figure)
    figure: Any = figures.plot_learning_curve(learning_curve(validation=validation), "c.svg")
    left, right = figure.axes
    assert right.get_ylabel() == axis
    assert title in left.get_title()
