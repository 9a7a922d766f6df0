"""Ratings of people: read as nobody's friend, matched with the results on disk."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from bids_sr.files import file_digest
from bids_sr.records.fusion_record import FusionRecord
from bids_sr.reports.fusion import fused_file
from bids_sr.reports.group import group_report
from bids_sr.reports.ratings import MOST_PROBLEMS, Ratings, read_ratings, result_file
from bids_sr.reports.records import ImageRecord, read_all

FLAIR = "sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz"
PRODUCT = "sub-01/ses-01/anat/sub-01_ses-01_res-2mm_desc-sr_FLAIR.nii.gz"
COLUMNS = (
    "participant_id", "session_id", "image", "rating", "note", "rater", "date", "output", "sha256",
)  # fmt: skip


def write_ratings(root: Path, name: str, *rows: Mapping[str, str]) -> Path:
    """Write a table as the viewer exports it; cells left out are those of the FLAIR image."""
    path = root / "ratings" / name
    path.parent.mkdir(exist_ok=True)
    usual = {
        "participant_id": "sub-01",
        "session_id": "ses-01",
        "image": FLAIR,
        "rating": "accept",
        "date": "2026-01-02T10:00:00Z",
        "output": PRODUCT,
        "sha256": file_digest(root / PRODUCT),
    }
    lines = [COLUMNS, *([(usual | row).get(c, "n/a") for c in COLUMNS] for row in rows)]
    path.write_text("".join("\t".join(cells) + "\n" for cells in lines), encoding="utf-8")
    return path


def read(root: Path) -> Ratings:
    return read_ratings(root, read_all(root))


def table_rows(root: Path) -> list[dict[str, str]]:
    with (root / "group_FLAIR.tsv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_an_output_folder_without_ratings_has_no_column_of_them(run_copy: Path) -> None:
    group_report(run_copy)
    assert "rating" not in table_rows(run_copy)[0]
    assert '<th scope="col">Rating</th>' not in (run_copy / "group_FLAIR.html").read_text()


def test_the_group_table_and_page_have_the_ratings_of_all_raters(run_copy: Path) -> None:
    write_ratings(run_copy, "a.tsv", {"rater": "AB", "note": "sharp & <clean>"})
    write_ratings(run_copy, "b.tsv", {"rater": "CD", "rating": "look again"})
    group_report(run_copy)
    done, planned = table_rows(run_copy)
    assert done["rating"] == "accept (AB); look again (CD)"
    assert done["rating_note"] == "AB: sharp & <clean>"
    assert planned["rating"] == planned["rating_note"] == "n/a"
    page = (run_copy / "group_FLAIR.html").read_text()
    assert '<td title="AB: sharp &amp; &lt;clean&gt;">accept (AB); look again (CD)</td>' in page


def test_the_last_word_of_a_rater_counts(run_copy: Path) -> None:
    late = {"date": "2026-03-01T08:00:00Z", "rating": "reject"}
    write_ratings(run_copy, "a.tsv", late)
    write_ratings(run_copy, "b.tsv", {"rating": "accept"})
    assert read(run_copy).words(FLAIR) == "reject"


def test_a_rating_of_an_older_result_is_recognised(run_copy: Path) -> None:
    write_ratings(run_copy, "a.tsv", {"rater": "AB"})
    (run_copy / PRODUCT).write_bytes(b"made again")
    assert read(run_copy).words(FLAIR) == "accept (AB, of an older result)"


def test_unknown_images_and_ratings_are_told(
    run_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ratings(
        run_copy,
        "a.tsv",
        {"image": "sub-09/anat/sub-09_T1w.nii.gz", "participant_id": "sub-09"},
        {"participant_id": "sub-02"},
        {"rating": "superb"},
    )
    ratings = read(run_copy)
    assert not ratings.by_image
    assert [text.split(": ")[0] for text in ratings.problems] == [
        f"ratings/a.tsv, line {line}" for line in (2, 3, 4)
    ]
    assert "'superb' is none of accept, look again, reject" in ratings.problems[2]
    group_report(run_copy)
    assert "superb" in (run_copy / "group_FLAIR.html").read_text()
    assert "superb" in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"participant_id\timage\n", "no column rating, sha256"),
        (b"", "no column participant_id, image, rating, sha256"),
        (b"\xff\xfe\x00", "the ratings cannot be read"),
        (b"a\n" * 100_001, "no column"),
    ],
)
def test_what_is_no_table_of_ratings_is_told(run_copy: Path, content: bytes, words: str) -> None:
    write_ratings(run_copy, "good.tsv", {})
    (run_copy / "ratings" / "bad.tsv").write_bytes(content)
    ratings = read(run_copy)
    assert ratings.words(FLAIR) == "accept"
    (problem,) = ratings.problems
    assert problem.startswith("ratings/bad.tsv: ")
    assert words in problem


def test_a_folder_and_a_pipe_are_told(run_copy: Path) -> None:
    (run_copy / "ratings" / "folder.tsv").mkdir(parents=True)
    assert "folder" in read(run_copy).problems[0]


@pytest.mark.parametrize("note", ["=HYPERLINK(1)", "+1+1", "@SUM(1)", "-1+1"])
def test_a_note_is_no_formula_of_a_spreadsheet(run_copy: Path, note: str) -> None:
    write_ratings(run_copy, "a.tsv", {"note": note})
    group_report(run_copy)
    assert table_rows(run_copy)[0]["rating_note"] == f"'{note}"
    assert f'<td title="{note}">' in (run_copy / "group_FLAIR.html").read_text()


def test_long_and_odd_cells_are_bounded(run_copy: Path) -> None:
    write_ratings(run_copy, "a.tsv", {"note": "x" * 5000 + "\x1b[31m", "rater": "A\x07B"})
    (rating,) = read(run_copy).by_image[FLAIR]
    assert len(rating.note) == 1000
    assert rating.rater == "A B"


def test_problems_are_bounded(run_copy: Path) -> None:
    write_ratings(run_copy, "a.tsv", *[{"rating": str(n)} for n in range(50)])
    problems = read(run_copy).problems
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1] == "30 further lines could not be used."


@pytest.mark.parametrize("output", ["../secret", "/etc/passwd", "sub-01/../secret", "sub-02/a"])
def test_a_result_lies_in_the_folder_of_its_subject(tmp_path: Path, output: str) -> None:
    (tmp_path / "out" / "sub-02").mkdir(parents=True)
    for name in ("secret", "out/secret", "out/sub-02/a"):
        (tmp_path / name).touch()
    row = {"participant_id": "sub-01", "status": "done", "output": output}
    image = ImageRecord(image="sub-01/anat/sub-01_T1w.nii.gz", row=row)
    assert result_file(tmp_path / "out", image) is None


@pytest.mark.parametrize(
    ("product", "found"),
    [
        ("sub-01_desc-fused_FLAIR", True),
        ("sub-01_desc-fused_*", False),
        ("sub-02_desc-fused_FLAIR", False),
        ("sub-01/../x_desc-fused_FLAIR", False),
    ],
)
def test_a_fused_volume_is_found_by_its_name(tmp_path: Path, product: str, found: bool) -> None:
    path = tmp_path / "sub-01" / "anat" / "sub-01_res-1mm_desc-fused_FLAIR.nii.gz"
    path.parent.mkdir(parents=True)
    path.touch()
    record = FusionRecord(status="done", product=product)
    assert fused_file(tmp_path, "sub-01", record) == (path if found else None)
