"""The methods text: citations, conversion, files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.exceptions import BidsSrError
from bids_sr.reports.boilerplate import convert, gather_citations, write_citations


def test_citations_come_in_the_order_of_first_mention() -> None:
    text = "A [@zhao2021; @unser1999]. As @duchon1979 and @zhao2021, [see @isensee2019, p. 3]."
    assert gather_citations(text) == ("zhao2021", "unser1999", "duchon1979", "isensee2019")


@pytest.mark.parametrize("text", ["`[@nobody]`", "mail me@nobody.org", "a @ b", "no keys"])
def test_what_is_no_citation(text: str) -> None:
    assert gather_citations(text) == ()


def test_citations_are_numbered_and_linked() -> None:
    body = str(convert("Text [@zhao2021; ANTs, @avants2011]. As @zhao2021 said.").body)
    first, second = ('<a href="#ref-1">1</a>', '<a href="#ref-2">2</a>')
    assert body == f"<p>Text [{first}, ANTs, {second}]. As Zhao et al. (2021) [{first}] said.</p>"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# Title", "<h3>Title</h3>"),
        ("#### Deep\nText", "<h6>Deep</h6>\n<p>Text</p>"),
        ("a *b* __c__ **d** e_f_g", "<p>a <em>b</em> __c__ <strong>d</strong> e_f_g</p>"),
        ("_x y_ z", "<p><em>x y</em> z</p>"),
        ("`*code* <x>`", "<p><code>*code* &lt;x&gt;</code></p>"),
        ("a < b & <script>", "<p>a &lt; b &amp; &lt;script&gt;</p>"),
        ("- one\n- two\n  more", "<ul><li>one</li><li>two\n  more</li></ul>"),
        ("1. one\n2. two", "<ol><li>one</li><li>two</li></ol>"),
        ("[t](https://x.org/a)", '<p><a href="https://x.org/a">t</a></p>'),
        ("[t](javascript:x)", "<p>[t](javascript:x)</p>"),
        ("two\nlines\n\nnext", "<p>two\nlines</p>\n<p>next</p>"),
    ],
)
def test_conversion(text: str, html: str) -> None:
    assert str(convert(text).body) == html


def test_files_hold_text_page_and_only_what_is_cited(tmp_path: Path) -> None:
    written = write_citations("Text [@zhao2021].", tmp_path / "logs")
    names = ["CITATION.md", "CITATION.html", "CITATION.bib", "CITATION.ris"]
    assert [path.name for path in written] == names
    assert written[0].read_text() == "Text [@zhao2021].\n"
    page = written[1].read_text()
    assert 'id="ref-1"' in page
    assert "10.1109/TMI.2020.3037187" in page
    bib = written[2].read_text()
    assert bib.startswith("@article{zhao2021,")
    assert bib.count("@") == 1
    ris = written[3].read_text()
    assert ris.startswith("TY  - JOUR\nAU  - Zhao, Can\n")
    assert ris.count("ER  - ") == 1


def test_unknown_key_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BidsSrError, match="nobody"):
        write_citations("Text [@nobody].", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
