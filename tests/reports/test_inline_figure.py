"""Drawings that would do something in the page, and ours, which still flips."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bids_sr.imaging import Volume
from bids_sr.reports import figures
from bids_sr.reports.assemble import figure_html
from bids_sr.reports.inline_figure import inline_svg


@pytest.fixture(scope="module")
def flip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Draw a flip figure."""
    data = np.random.default_rng(0).random((30, 30, 8), dtype=np.float32) * 100
    volume = Volume(data, np.diag([1.0, 1.0, 5.0, 1.0]))
    path = figures.plot_before_after(
        volume, volume, tmp_path_factory.mktemp("f") / "s.svg", labels=("A <1>", "B & 2")
    )
    return path.read_text()


def test_our_figure_stands_in_line_as_it_was_but_for_its_handlers(flip: str) -> None:
    inline = inline_svg(flip)

    assert inline is not None
    assert " on" not in re.sub(r">[^<]*<", "><", inline)
    pieces = (r'href="[^"]+"', r">([^<]+)</text>", r' d="[^"]+"', r'<g class="\w+">', "<style.*?>")
    for piece in pieces:
        assert re.findall(piece, inline) == re.findall(piece, flip)
        assert re.findall(piece, flip)
    assert 'class="bids-sr-flip"' in inline
    assert figures.FLIP_STYLE in inline


INSERTS = [
    "<script>document.title='ran'</script>",
    '<image href="x" onerror="document.title=1"/>',
    '<g onclick="document.title=1"/>',
    '<rect onmouseover="document.title=1" width="9" height="9"/>',
    '<a href="javascript:document.title=1"><text x="1" y="1">click</text></a>',
    '<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>',
    '<animate attributeName="href" values="javascript:1"/>',
    '<set attributeName="onload" to="document.title=1"/>',
    '<use href="#x"/>',
    '<image href="https://127.0.0.1/x.png"/>',
    '<image href="data:image/svg+xml,x"/>',
    '<image xlink:href="data:," xmlns:xlink="http://www.w3.org/1999/xlink"/>',
    '<g style="position:fixed;top:0"/>',
    '<g class="controls"/>',
    '<g id="run"/>',
    '<rect fill="url(https://127.0.0.1)"/>',
    "<style>body{display:none}</style>",
    '<style media="all"></style>',
    "<g xmlns='http://www.w3.org/1999/xhtml'/>",
    "<svg/>",
    "<!-- x -->",
    "<![CDATA[<script>]]>",
    "<?x y?>",
    20 * "<g>" + 20 * "</g>",
    "<g>",
    "&nosuch;",
]


@pytest.mark.parametrize("insert", INSERTS)
def test_a_figure_with_anything_else_is_an_image(flip: str, tmp_path: Path, insert: str) -> None:
    changed = flip.replace("</svg>", f"{insert}</svg>")

    assert inline_svg(changed) is None
    path = tmp_path / "x.svg"
    path.write_text(changed)
    assert figure_html("sr", path).startswith('<img class="sr" src="data:image/svg+xml,%3Csvg ')


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<svg ", '<svg onload="document.title=1" '),
        ("classList.toggle('flipped')", "classList.toggle(document.title=1)"),
        ('class="bids-sr-flip"', 'class="other"'),
        ("<svg ", '<!DOCTYPE svg [<!ENTITY a "b">]><svg '),
        (".bids-sr-flip{cursor:pointer}", "body{background:url(https://127.0.0.1)}"),
        ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"),
    ],
)
def test_a_figure_that_was_changed_is_an_image(flip: str, old: str, new: str) -> None:
    assert old in flip
    assert inline_svg(flip.replace(old, new)) is None
