from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume
from bids_sr.reports.segmentation_figure import plot_segmentation


@pytest.fixture
def image() -> Volume:
    rng = np.random.default_rng(2)
    grid = np.indices((40, 44, 36))
    head = ((grid - np.array([20, 22, 18])[:, None, None, None]) ** 2).sum(0) < 15**2
    return Volume((head * rng.normal(100, 4, head.shape)).astype(np.float32), np.eye(4))


def test_labels_are_in_their_colours_where_they_are(image: Volume, tmp_path: Path) -> None:
    codes = np.zeros(image.shape, np.int32)
    codes[image.data > 0] = 1
    codes[20:40][image.data[20:40] > 0] = 2  # the right half
    path = plot_segmentation(
        image,
        image.with_data(codes),
        {1: ("one & only", "#ff0000"), 2: ("two", "#0000ff")},
        tmp_path / "f.svg",
    )
    text = path.read_text()
    assert "one &amp; only" in text
    assert 'fill="#0000ff"' in text
    uris = re.findall(r"data:image/\w+;base64,([^\"]+)", text)
    tiles = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB"), int)
        for uri in uris
    ]
    red = [np.mean(t[..., 0] - t[..., 2] > 50) for t in tiles]
    blue = [np.mean(t[..., 2] - t[..., 0] > 50) for t in tiles]
    assert max(red) > 0.2
    assert max(blue) > 0.2
    halves = [t for t, r, b in zip(tiles, red, blue, strict=True) if r > 0.1 and b > 0.1]
    for tile in halves:  # planes that show both: left is left, as the labels say
        is_red = tile[..., 0] - tile[..., 2] > 50
        is_blue = tile[..., 2] - tile[..., 0] > 50
        assert np.nonzero(is_red)[1].mean() < np.nonzero(is_blue)[1].mean()


def test_many_labels_are_counted_and_none_is_told(image: Volume, tmp_path: Path) -> None:
    codes = np.zeros(image.shape, np.int32)
    codes[10:18, 20, 18] = np.arange(1, 9)
    many = plot_segmentation(image, image.with_data(codes), {}, tmp_path / "many.svg").read_text()
    assert "8 labels" in many
    none = image.with_data(np.zeros_like(codes))
    assert (
        "No label was found" in plot_segmentation(image, none, {}, tmp_path / "n.svg").read_text()
    )


def test_another_grid_is_refused(image: Volume, tmp_path: Path) -> None:
    other = Volume(image.data, np.diag([2.0, 1, 1, 1]))
    with pytest.raises(InputDataError, match="segmentation has the grid"):
        plot_segmentation(image, other, {}, tmp_path / "f.svg")
