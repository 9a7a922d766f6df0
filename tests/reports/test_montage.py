"""Which slices are shown, and where."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import Volume
from bids_sr.reports import montage as mt


def block(shape: tuple[int, int, int] = (40, 50, 12)) -> Volume:
    """Make a bright box on black, 1 x 1 x 4 mm."""
    data = np.zeros(shape, np.float32)
    data[10:30, 5:45, 2:9] = 100.0
    return Volume(data=data, affine=np.diag([1.0, 1.0, 4.0, 1.0]))


def test_foreground_is_the_box_of_the_object() -> None:
    assert mt.foreground(block().data) == (slice(10, 30), slice(5, 45), slice(2, 9))


def test_foreground_of_an_empty_image_is_all_of_it() -> None:
    assert mt.foreground(np.zeros((4, 5, 6))) == (slice(0, 4), slice(0, 5), slice(0, 6))


def test_foreground_of_a_large_image_holds_the_object() -> None:
    data = np.zeros((300, 280, 20), np.float32)
    data[101:203, 55:211, 3:17] = 50.0
    box = mt.foreground(data)
    expected = [(101, 203, 2), (55, 211, 2), (3, 17, 0)]
    for span, (start, stop, slack) in zip(box, expected, strict=True):
        assert start - slack <= span.start <= start + slack
        assert stop - slack <= span.stop <= stop + slack


def test_window_is_not_squashed_by_one_bright_voxel() -> None:
    data = block().data.copy()
    data[20, 20, 5] = 1e6
    low, high = mt.display_window(data)
    assert low == 0
    assert high == pytest.approx(100)


def test_window_starts_at_zero_in_spite_of_ringing() -> None:
    data = block().data.copy()
    data[data == 0] = -5.0
    assert mt.display_window(data)[0] == 0


def test_window_keeps_negative_intensities_that_are_meant() -> None:
    data = block().data - 50
    assert mt.display_window(data) == (-50, 50)


def test_window_of_a_constant_image_is_open() -> None:
    low, high = mt.display_window(np.full((5, 5, 5), 7.0))
    assert low < high


@pytest.mark.parametrize("large", [False, True])
def test_tiles_have_the_shape_of_the_body_and_lie_in_the_drawing(large: bool) -> None:
    volume = block()
    plan = mt.lay_out(volume, large=large)
    assert {tile.axis for tile in plan.tiles} == {0, 1, 2}
    for row in plan.rows:
        for tile in row.tiles:
            x, y, w, h = tile.box
            image = mt.in_display_order(volume.data, tile.axis, tile.index)[tile.crop]
            horizontal, vertical = mt.PLANES[tile.axis]
            rows, columns = image.shape
            assert w == pytest.approx(columns * volume.spacings[horizontal] * row.scale)
            assert h == pytest.approx(rows * volume.spacings[vertical] * row.scale)
            assert min(x, y) >= 0
            assert x + w <= plan.width + 1e-6
            assert y + h <= row.bottom <= plan.height


def test_region_outside_of_the_object_is_shown() -> None:
    region = (slice(0, 40), slice(0, 50), slice(0, 12))
    plan = mt.lay_out(block(), region=region)
    axial = next(tile for tile in plan.tiles if tile.axis == 2)
    assert axial.crop == (slice(0, 50), slice(0, 40))


def test_rasters_show_left_on_the_left_and_anterior_at_the_top() -> None:
    data = np.zeros((20, 24, 10), np.float32)
    data[2:18, 2:22, 1:9] = 10.0
    data[2:5, 18:22, :] = 100.0  # left, anterior
    volume = Volume(data=data, affine=np.eye(4))
    plan = mt.lay_out(volume)
    images = mt.rasters(volume.data, plan, (0.0, 100.0))
    axial = next(image for tile, image in zip(plan.tiles, images, strict=True) if tile.axis == 2)
    rows, columns = np.nonzero(axial == 255)
    assert rows.max() < axial.shape[0] / 2
    assert columns.max() < axial.shape[1] / 2


def test_position_is_the_world_coordinate_of_the_slice() -> None:
    volume = block()
    affine = volume.affine.copy()
    affine[:3, 3] = (-20.0, -30.0, 100.0)
    plan = mt.lay_out(Volume(data=volume.data, affine=affine))
    assert plan.tiles
    for tile in plan.tiles:
        spacing = float(volume.spacings[tile.axis])
        assert tile.position == pytest.approx(affine[tile.axis, 3] + tile.index * spacing)


def test_few_slices_are_shown_once_each() -> None:
    data = np.full((30, 30, 2), 5.0, np.float32)
    plan = mt.lay_out(Volume(data=data, affine=np.diag([1.0, 1.0, 6.0, 1.0])))
    axial = [tile.index for tile in plan.tiles if tile.axis == 2]
    assert axial == [0, 1]
