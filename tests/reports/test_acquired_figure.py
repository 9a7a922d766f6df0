"""The figure of acquired voxels and results: what is measured is shown as it is."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume, lay_out_grid, resample
from bids_sr.reports import montage as mt
from bids_sr.reports.acquired_figure import acquired_raster, plot_acquired_and_result

ORIENTATIONS = ("RAS", "LPS", "PIR", "SAL")


def thick(orientation: str, shape: tuple[int, int, int] = (24, 20, 6)) -> Volume:
    """Make a stack of slices 3.5 mm apart whose affine has the given axes."""
    data = np.random.default_rng(3).random(shape).astype(np.float32) * 100
    affine = np.diag([1.2, 1.2, 3.5, 1.0])
    affine[:3, 3] = (-10.0, 4.0, 7.0)
    image = nb.Nifti1Image(data, affine)
    turned = nb.orientations.ornt_transform(
        nb.orientations.axcodes2ornt("RAS"), nb.orientations.axcodes2ornt(tuple(orientation))
    )
    image = image.as_reoriented(turned)
    return Volume(np.asarray(image.dataobj), image.affine)


def result_of(volume: Volume) -> Volume:
    axis = int(np.argmax(volume.spacings))
    grid = lay_out_grid(volume, slice_axis=axis, output_resolution=1.0, output_grid="fov")
    return resample(volume, grid)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_each_pixel_is_the_voxel_at_its_place(orientation: str) -> None:
    acquired = thick(orientation)
    result = result_of(acquired).canonical()
    window = (0.0, 100.0)
    plan = mt.lay_out(result, large=True)
    back = np.linalg.inv(acquired.affine)
    for tile in plan.tiles:
        raster = acquired_raster(acquired, result, tile, window)
        horizontal, vertical = mt.PLANES[tile.axis]
        rows, columns = tile.crop
        heights = result.shape[vertical] - np.arange(rows.start, rows.stop) - 1
        for row, column in [(0, 0), (3, 5), (-1, -1), (raster.shape[0] // 2, 7)]:
            place = np.ones(4)
            across = (np.arange(raster.shape[1])[column] + 0.5) / raster.shape[1]
            down = (np.arange(raster.shape[0])[row] + 0.5) / raster.shape[0]
            place[horizontal] = columns.start - 0.5 + across * (columns.stop - columns.start)
            place[vertical] = heights[0] + 0.5 - down * (rows.stop - rows.start)
            place[tile.axis] = tile.index
            voxel = (back @ result.affine @ place)[:3]
            index = tuple(int(np.floor(value + 0.5)) for value in voxel)
            inside = all(0 <= i < n for i, n in zip(index, acquired.shape, strict=True))
            expected = round(255 * float(acquired.data[index]) / 100) if inside else 0
            assert int(raster[row, column]) == expected


def test_slices_are_blocks_as_high_as_they_are_thick() -> None:
    acquired = thick("RAS")
    result = result_of(acquired).canonical()
    tile = next(t for t in mt.lay_out(result, large=True).tiles if t.axis == 1)
    raster = acquired_raster(acquired, result, tile, (0.0, 100.0))
    changes = np.flatnonzero(np.any(raster[1:] != raster[:-1], axis=1)) + 1
    assert len(changes) == acquired.shape[2] - 1
    heights = np.diff(changes) * tile.box[3] / raster.shape[0]
    scale = tile.box[3] / ((tile.crop[0].stop - tile.crop[0].start) * result.spacings[2])
    np.testing.assert_allclose(heights / scale, 3.5, atol=0.51)  # a pixel is half a voxel


def test_layers_are_named_and_the_result_is_shown(tmp_path: Path) -> None:
    acquired = thick("RAS", (180, 220, 40))
    result = result_of(acquired)
    path = plot_acquired_and_result(
        acquired,
        [("Interpolated", result), ("Super-resolved", result)],
        tmp_path / "new" / "f.svg",
    )
    text = path.read_text()
    names = re.findall(r'<g class="layer[ shown]*" aria-label="([^"]+)"', text)
    assert names == ["Acquired", "Interpolated", "Super-resolved"]
    assert 'class="layer shown" aria-label="Super-resolved"' in text
    acquired_part = text[text.index('"Acquired"') : text.index('"Interpolated"')]
    assert acquired_part.count("image-rendering:pixelated") == acquired_part.count("<image")
    assert path.stat().st_size < 600_000


def test_images_of_different_grids_are_refused(tmp_path: Path) -> None:
    acquired = thick("RAS")
    others = [("Interpolated", acquired), ("Super-resolved", result_of(acquired))]
    with pytest.raises(InputDataError, match="interpolated has the grid"):
        plot_acquired_and_result(acquired, others, tmp_path / "f.svg")
