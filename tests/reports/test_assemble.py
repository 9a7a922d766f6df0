"""The page of a subject: complete, self-contained, never silent."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.reports.assemble import assemble_subject, figure_html
from bids_sr.reports.group import group_report

from .conftest import acquired, decision, write_decisions, write_quality

DOWNLOADS = (
    "data:application/x-bibtex;charset=utf-8,",
    "data:application/x-research-info-systems;charset=utf-8,",
)
# Written with a start tag only.
VOID = {"meta", "link", "img", "input", "br", "hr", "image", "rect", "path", "circle", "use"}


class Page(HTMLParser):
    """What a browser would load, and the text a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        if "id" in values:
            self.ids.append(values["id"] or "")
        if tag == "a":
            self.links.append(values.get("href") or "")
        else:
            names = ("src", "href", "srcset", "data", "poster", "xlink:href")
            self.loaded += [values[name] or "" for name in names if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def assert_self_contained(page: Page) -> None:
    """Check that nothing is loaded, and that links in the page lead somewhere."""
    assert all(address.startswith("data:") for address in page.loaded)
    assert not re.search(r"@import|url\((?!#|%23)", page.source)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(", page.source)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith(("https://doi.org/", "#", "sub-", "group_", *DOWNLOADS))
        if link.startswith("#"):
            assert link[1:] in page.ids
    assert page.open == []


@pytest.fixture(scope="module")
def page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = shutil.copytree(finished_run, tmp_path_factory.mktemp("page") / "out")
    path = assemble_subject(root, "01")
    assert path == root / "sub-01.html"
    return Page(path)


def test_page_needs_no_network(page: Page) -> None:
    assert_self_contained(page)
    assert len(page.loaded) >= 30
    assert "default-src 'none'" in page.source


@pytest.mark.parametrize(
    "piece",
    [
        "1super-resolved",
        "1passed through",
        "1skipped",
        "1failed",
        "MESE is not among --modalities",
        "6 mm apart, 5 mm thick, gap 1 mm; gaussian profile",
        "thickness taken from SliceThickness; profile assumed Gaussian",
        "third array axis",
        "0.831 %",
        "0 to 1,204",
        "exceeds the acquired range by 3.9 % of its width",
        "1.35 dB",
        "1,893 mL",
        "method: template; no HD-BET weights",
        "1 min 58 s",
        "2 min 46 s",
        "no HD-BET weights",
        "bids_sr /data <out>",
        "2.13.0",
        "Zhao et al. (2021)",
        "Remedios SW, Han S",
        "N4 <changed> nothing & was kept",
    ],
)
def test_page_tells(page: Page, piece: str) -> None:
    assert piece in page.text


def test_errors_come_first_with_the_crash(page: Page) -> None:
    for piece in ("<gzip> ends after 812 of 9,437,184 bytes", "Node: bids_sr_wf"):
        assert piece in page.text
        assert page.text.index(piece) < page.text.index("What happened to each image")
    assert "1 of 4 images without a result" in page.text


def test_names_are_escaped(page: Page) -> None:
    assert "<gzip>" not in page.source
    assert "<changed>" not in page.source


def test_negative_overshoot_is_pointed_out(page: Page) -> None:
    assert "negative, where the acquired image is not" in page.text


def test_references_can_be_taken_along(page: Page) -> None:
    bibtex, ris = (
        unquote(next(link for link in page.links if link.startswith(start))).partition(",")[2]
        for start in DOWNLOADS
    )
    assert bibtex.count("@article{zhao2021,") == 1
    assert ris.count("TY  - ") == bibtex.count("@") == 7
    assert "Martí-Bonmatí, Luis" in bibtex
    assert "AU  - Martí-Bonmatí, Luis" in ris
    assert "methods-text" in page.ids


def test_the_page_leads_to_those_of_the_group(page: Page) -> None:
    assert {link for link in page.links if link.startswith("group_")} == {
        "group_FLAIR.html",
        "group_T1w.html",
        "group_T2w.html",
    }


def test_skipped_images_stand_in_the_table_only(page: Page) -> None:
    assert "image-sub-01-ses-01-MESE" not in page.ids
    assert "image-sub-01-ses-01-T2w" in page.ids


def test_layers_are_in_line_and_other_figures_are_images(page: Page) -> None:
    assert page.source.count('class="bids-sr-layers"') == 1
    for name in ("Acquired", "Interpolated", "Super-resolved"):
        assert page.source.count(f'aria-label="{name}"') == 1
    assert page.source.count("data:image/svg+xml,") == 3


def test_interrupted_run_is_told(run_copy: Path) -> None:
    page = Page(assemble_subject(run_copy, "sub-02"))
    assert_self_contained(page)
    assert "was not finished" in page.text
    assert "No log of a run was found" in page.text
    assert "1 of 1 image without a result" in page.text


@pytest.mark.parametrize(
    ("missing", "notice"),
    [
        ("decisions.tsv", "decisions.tsv: the table cannot be read"),
        ("logs", "logs/CITATION.md: the methods text cannot be read"),
        ("sub-01/log", "No log of a run was found"),
        ("sub-01/figures", "No before/after figure was found"),
        (
            "sub-01/ses-01/anat/sub-01_ses-01_acq-FLAIR_desc-sr_qc.json",
            "No QC file was found for this image",
        ),
        (
            "sub-01/ses-01/anat/sub-01_ses-01_res-2mm_desc-sr_FLAIR.json",
            "sub-01_ses-01_res-2mm_desc-sr_FLAIR.json: the sidecar cannot be read",
        ),
        ("sub-01", "No log of a run was found"),
    ],
)
def test_what_is_missing_is_told(run_copy: Path, missing: str, notice: str) -> None:
    path = run_copy / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    page = Page(assemble_subject(run_copy, "01"))
    assert notice in page.text
    assert_self_contained(page)


@pytest.mark.parametrize(
    "broken", ["[]", "{", '{"Image": 3}', '{"Image": "%s", "InputRange": "x", "OutputRange": 3}']
)
def test_broken_quality_file_does_not_stop_the_page(run_copy: Path, broken: str) -> None:
    image = "sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz"
    path = run_copy / "sub-01/ses-01/anat/sub-01_ses-01_acq-FLAIR_desc-sr_qc.json"
    path.write_text(broken.replace("%s", image))
    assert_self_contained(Page(assemble_subject(run_copy, "01")))


def test_unknown_citation_is_told(run_copy: Path) -> None:
    (run_copy / "logs" / "CITATION.md").write_text("See [@nobody1900].")
    assert "cites 'nobody1900'" in Page(assemble_subject(run_copy, "01")).text


def test_odd_names_are_escaped(tmp_path: Path) -> None:
    image = "sub-9/anat/sub-9_acq-<b>&\"'_T1w.nii.gz"
    row = decision(image, status="failed", message="<script>alert(1)</script>", **acquired())
    write_decisions(tmp_path, [row])
    page = Page(assemble_subject(tmp_path, "9"))
    assert_self_contained(page)
    assert "<script>alert" not in page.source
    assert "<b>&" in page.text


def test_unknown_participant_is_refused(finished_run: Path) -> None:
    with pytest.raises(InputDataError, match="sub-77"):
        assemble_subject(finished_run, "77")


def test_page_is_the_same_when_nothing_changed(run_copy: Path) -> None:
    before = assemble_subject(run_copy, "01").read_bytes()
    assert assemble_subject(run_copy, "01").read_bytes() == before


def test_figure_with_a_script_is_not_put_in_line(tmp_path: Path) -> None:
    path = tmp_path / "x.svg"
    path.write_text('<svg class="bids-sr-flip"><script>alert(1)</script></svg>')
    assert figure_html("sr", path).startswith('<img class="sr" src="data:image/svg+xml,%3Csvg')


@pytest.mark.parametrize("name", ["x.png", "x.svg"])
def test_a_figure_that_is_something_private_is_not_embedded(tmp_path: Path, name: str) -> None:
    (tmp_path / "key").write_text("private")
    (tmp_path / name).symlink_to("key")
    assert f"{name} could not be read" in figure_html("mask", tmp_path / name)
    (tmp_path / f"pipe-{name}").unlink(missing_ok=True)
    os.mkfifo(tmp_path / f"pipe-{name}")
    assert "could not be read" in figure_html("mask", tmp_path / f"pipe-{name}")


def test_png_figure_is_embedded(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG")
    assert 'src="data:image/png;base64,iVBORw=="' in figure_html("mask", path)


def test_unreadable_figure_is_told(tmp_path: Path) -> None:
    assert "x.svg could not be read" in figure_html("mask", tmp_path / "x.svg")


def test_leftovers_of_an_earlier_run_are_said_to_be_such(run_copy: Path) -> None:
    table = run_copy / "decisions.tsv"
    table.write_text(table.read_text().replace("\tdone\t", "\tfailed\t"))
    page = Page(assemble_subject(run_copy, "01"))
    assert page.text.count("not the result of the latest run") == 2
    assert "3 of 4 images without a result" in page.text


def test_segmentations_are_shown_or_told_why_not(run_copy: Path) -> None:
    path = next(run_copy.glob("sub-*/**/*_desc-sr_qc.json"))
    quality = json.loads(path.read_text())
    quality["Segmentations"] = {
        "wmh": {"Status": "done", "Count": 7, "VolumesMl": {"white matter hyperintensity": 3.25}},
        "lst-ai": {"Status": "skipped", "Reason": "it also needs a T1w"},
        "atropos": {"Status": "refused", "Reason": "the image has no brain mask"},
    }
    path.write_text(json.dumps(quality))
    stem = Path(quality["Image"]).name.removesuffix(".nii.gz")
    prefix, _, suffix = stem.rpartition("_")
    subject = path.relative_to(run_copy).parts[0]
    for tool in ("wmh", "atropos"):  # one of an earlier run is not shown
        figure = run_copy / subject / "figures" / f"{prefix}_desc-seg{tool}_{suffix}.svg"
        figure.write_text('<svg xmlns="http://www.w3.org/2000/svg"><title>labels</title></svg>')
    page = Page(assemble_subject(run_copy, subject))
    words = " ".join(page.text.split())
    assert "Segmentation: wmh" in words
    assert "white matter hyperintensity3.25 mL" in words
    assert "Number of regions7" in words
    assert "skipped: it also needs a T1w" in words
    assert "refused: the image has no brain mask" in words
    assert page.source.count("Segmentation by wmh, in colours") == 1
    assert "Segmentation by atropos, in colours" not in page.source


@pytest.mark.parametrize(
    "odd",
    [None, True, "x", 10**400, [1, "a", None], {"a": {"b": [None]}}, [[[{}]]], {"Status": 5}],
    ids=str,
)
def test_odd_records_of_an_image_cost_no_page(run_copy: Path, odd: object) -> None:
    """All fields of the QC files and sidecars at once, but for the name of the image."""
    for path in [*run_copy.glob("sub-01/**/*_qc.json"), *run_copy.glob("sub-01/**/*sr_*w.json")]:
        content = json.loads(path.read_text())
        path.write_text(json.dumps(dict.fromkeys(content, odd) | {"Image": content.get("Image")}))
    page = Page(assemble_subject(run_copy, "01"))
    assert_self_contained(page)
    assert "sub-01_ses-01_FLAIR" in page.text
    group_report(run_copy)


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"Method": "bspline"}, "interpolated"),
        ({"Method": "self", "FallbackReason": "too few slices"}, "interpolated"),
        ({"Method": "self"}, "done"),
    ],
)
@pytest.mark.parametrize("sloppy", [True, False])
def test_what_is_interpolated_or_no_result_says_so(
    run_copy: Path, record: dict[str, str], outcome: str, sloppy: bool
) -> None:
    path = run_copy / "sub-01/ses-01/anat/sub-01_ses-01_acq-FLAIR_desc-sr_qc.json"
    quality = json.loads(path.read_text()) | {"SuperResolution": record, "Sloppy": sloppy}
    path.write_text(json.dumps(quality))
    page = Page(assemble_subject(run_copy, "01"))
    assert ('class="badge done"' in page.source) == (outcome == "done")
    assert ('class="badge interpolated"' in page.source) == (outcome == "interpolated")
    assert ("not a result (--sloppy)" in page.text) == sloppy
    group_report(run_copy)
    table = (run_copy / "group_FLAIR.tsv").read_text()
    assert f"\t{outcome}\t" in table
    assert ("\tnot a result (--sloppy)\t" in table) == sloppy
    assert ("Not a result." in (run_copy / "group_FLAIR.html").read_text()) == sloppy


def test_the_verdict_comes_first(finished_run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(finished_run, tmp_path / "out")
    quality = root / "sub-01/ses-01/anat/sub-01_ses-01_acq-FLAIR_desc-sr_qc.json"
    image = "sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz"
    write_quality(quality, image, brain_mask={"Method": "template", "VolumeMl": 300.0})
    page = assemble_subject(root, "01").read_text()
    summary = page.index("<h2>Verdict: look at 1 of 2 images</h2>")
    section = page.index('<section id="image-sub-01-ses-01-FLAIR"')
    box = page.index('<div class="verdict verdict-look">')
    assert summary < section < box < page.index('<dl class="facts">')
    assert "Brain mask volume" in page[summary:section]
    assert "300 mL" in page[box:]
    assert "900 to 2,000 mL" in page[box:]


def test_a_page_of_an_earlier_version_has_no_verdict(finished_run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(finished_run, tmp_path / "out")
    for path in root.rglob("*_qc.json"):
        known = json.loads(path.read_text())
        del known["Verdict"], known["Checks"]
        path.write_text(json.dumps(known))
    page = assemble_subject(root, "01").read_text()
    assert '<section id="verdict">' not in page
    assert '<div class="verdict' not in page


def test_the_page_says_how_slices_differed_in_brightness(finished_run: Path) -> None:
    page = assemble_subject(finished_run, "01").read_text(encoding="utf-8")
    assert "2.95 % before, 0.31 % after" in page or "3 % before, 0.31 % after" in page
    assert "odd-even: slices were changed by" in page
