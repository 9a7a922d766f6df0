"""The references that come with the package, and how they are printed."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from bids_sr.exceptions import BidsSrError
from bids_sr.reports.bibliography import bibliography, look_up, parse_bibtex
from bids_sr.reports.boilerplate import gather_citations

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"


def test_every_entry_of_the_file_is_read() -> None:
    text = (resources.files("bids_sr") / "data" / "boilerplate.bib").read_text(encoding="utf-8")
    assert len(bibliography()) == len(re.findall(r"^@", text, re.MULTILINE))
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("key", list(bibliography()))
def test_entries_are_whole(key: str) -> None:
    fields = look_up(key).fields
    assert fields.get("journal") or fields.get("booktitle") or fields.get("howpublished")
    assert re.fullmatch(r"10\.\d{4,}/\S+", fields.get("doi", "10.1234/none"))
    assert re.fullmatch(r"(19|20)\d\d", fields.get("year", "2000"))
    assert not re.search(r"[{}\\\\]", str(look_up(key).html()))


def test_all_that_the_workflows_cite_is_there() -> None:
    method_facts = WORKFLOWS.parent / "bids_sr" / "method_facts.py"
    cited = {
        key
        for path in [*WORKFLOWS.glob("*.py"), method_facts]
        for key in re.findall(r"\[[^\[\]\n]*@[a-z]\w+[^\[\]\n]*\]", path.read_text("utf-8"))
    }
    assert cited
    for group in cited:
        assert gather_citations(group)


def test_reference_is_printed_with_its_doi_as_a_link() -> None:
    html = str(look_up("duchon1979").html())
    assert html.startswith("Duchon CE (1979). Lanczos filtering in one and two dimensions. <em>")
    assert "18(8):1016–1022." in html
    assert 'href="https://doi.org/10.1175/1520-0450(1979)018%3C1016:LFIOAT%3E2.0.CO;2"' in html
    assert "<1016" not in html


@pytest.mark.parametrize(
    ("key", "short"),
    [
        ("unser1999", "Unser (1999)"),
        ("kingma2014", "Kingma and Ba (2014)"),
        ("zhao2021", "Zhao et al. (2021)"),
        ("brett_nibabel", "Brett et al."),
    ],
)
def test_reference_in_running_text(key: str, short: str) -> None:
    assert look_up(key).short == short


def test_reference_in_ris_format() -> None:
    assert look_up("roura2015").ris.splitlines() == [
        "TY  - JOUR",
        "AU  - Roura, Eloy",
        "AU  - Oliver, Arnau",
        "AU  - Cabezas, Mariano",
        "AU  - Valverde, Sergi",
        "AU  - Pareto, Deborah",
        "AU  - Vilanova, Joan C.",
        "AU  - Ramió-Torrentà, Lluís",
        "AU  - Rovira, Àlex",
        "AU  - Lladó, Xavier",
        "TI  - A toolbox for multiple sclerosis lesion segmentation",
        "T2  - Neuroradiology",
        "VL  - 57",
        "IS  - 10",
        "SP  - 1031",
        "EP  - 1043",
        "PY  - 2015",
        "DO  - 10.1007/s00234-015-1552-2",
        "UR  - https://doi.org/10.1007/s00234-015-1552-2",
        "ER  - ",
    ]


@pytest.mark.parametrize("key", list(bibliography()))
def test_ris_entries_are_whole(key: str) -> None:
    lines = look_up(key).ris.splitlines()
    assert re.fullmatch("TY  - (JOUR|CPAPER|GEN|BOOK)", lines[0])
    assert lines[-1] == "ER  - "
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]  - \S.*", line) for line in lines[:-1])
    assert not any(name == "AU  - others" for name in lines)
    assert not re.search(r"[{}\\\\]", "".join(lines))


def test_unknown_key_is_refused() -> None:
    with pytest.raises(BidsSrError, match="cites 'nobody1900', which is not in"):
        look_up("nobody1900")


ENTRY = "@misc{a,\n    author = {One, A.},\n    title = {T}\n}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [(ENTRY + ENTRY, "stands twice"), (ENTRY.replace("author", "editor"), "lacks")],
)
def test_broken_bibliography_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BidsSrError, match=problem):
        parse_bibtex(text)
