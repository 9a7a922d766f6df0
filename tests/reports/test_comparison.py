"""The page of a comparison: self-contained, with pictures to the right scale."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.reports.comparison import plot_scores, write_comparison


@pytest.fixture
def page(tmp_path: Path) -> dict[str, Any]:
    rows = tmp_path / "rows"
    rows.mkdir()
    truth = np.linspace(0, 1, 40 * 50).reshape(40, 50).astype(np.float16)
    for name, shift in (("one", 0.0), ("two", 0.1)):
        pictures = {"truth": truth, "slices": truth, "estimate": truth + np.float16(shift)}
        planes = {f"{key}-0": value for key, value in pictures.items()}
        np.savez_compressed(rows / f"{name}.npz", **planes, **{"spacings-0": np.array([2.0, 1.0])})
    items = [{"method": name, "file": name, "text": "20 dB"} for name in ("one", "two", "lost")]
    return {
        "baseline": "one",
        "overview": [("one", [("+0.00", False)]), ("two", [("+1.00", True)])],
        "notes": ["<b>a note</b>"],
        "images": 1,
        "methods": 2,
        "definitions": [("PSNR", "10 log10")],
        "failed": [("head", "5/6 axial", "three", "no memory")],
        "columns": ["image", "method"],
        "rows": [["head", "one"], ["head", "two"]],
        "groups": [
            {
                "protocol": "5/6 axial",
                "columns": ["PSNR (dB)"],
                "rows": [("one", [("20.00", False)]), ("two", [("21.00", True)])],
                "plots": [("PSNR (dB)", {"one": {"head": 20.0}, "two": {"head": None}})],
                "examples": [
                    {"image": "head", "items": items},
                    {"image": "gone", "items": items[2:]},
                ],
            }
        ],
    }


def test_the_page_is_whole_and_escaped(page: dict[str, Any], tmp_path: Path) -> None:
    html = write_comparison(tmp_path, page).read_text()
    HTMLParser().feed(html)
    assert "&lt;b&gt;a note&lt;/b&gt;" in html
    assert "no memory" in html
    assert '<td class="best">21.00</td>' in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "https://" not in html.replace("https://www.w3.org", "")
    assert html.count('class="tile') == 6  # truth, slices, two methods, two errors
    assert "--ratio: 0.6250" in html  # 50 x 1 mm by 40 x 2 mm
    assert "<span>0</span><span>10</span>" in html  # the largest error, percent
    assert "gone" not in html
    (plot,) = (tmp_path / "plots").iterdir()
    assert plot.name == "01_PSNR.svg"


def test_several_protocols_have_an_overview(page: dict[str, Any], tmp_path: Path) -> None:
    assert "Overview" not in write_comparison(tmp_path, page).read_text()
    page["groups"] *= 2
    html = write_comparison(tmp_path, page).read_text()
    assert '<td class="best">+1.00</td>' in html
    for number in (1, 2):
        assert f'href="#protocol-{number}"' in html
        assert f'id="protocol-{number}"' in html


def test_the_same_page_twice(page: dict[str, Any], tmp_path: Path) -> None:
    first = write_comparison(tmp_path, page).read_bytes()
    assert write_comparison(tmp_path, page).read_bytes() == first


def test_a_plot_without_numbers() -> None:
    assert "<svg" in plot_scores({"one": {"head": None}, "a:very=long,name": {}}, "PSNR")


def test_calibration_is_drawn_beside_the_scores(page: dict[str, Any], tmp_path: Path) -> None:
    curve = [[1.0, 1.2], [2.0, 1.9], [4.0, 4.4]]
    group = {**page["groups"][0], "calibration": {"finetuned": [curve, curve], "self": [curve]}}
    write_comparison(tmp_path, {**page, "groups": [group]})
    assert len(list((tmp_path / "plots").glob("*_Calibration-of-the-uncertainty.svg"))) == 1
    assert "Calibration of the uncertainty" in (tmp_path / "index.html").read_text()
