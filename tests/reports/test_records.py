"""What is read from disk, and what becomes of what is missing or broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.records.quality import QualityRecord
from bids_sr.reports.records import ImageRecord, read_all, read_decisions, read_subject

from .conftest import acquired, decision, write_decisions, write_quality

IMAGE = "sub-01/anat/sub-01_run-1_FLAIR.nii.gz"


@pytest.mark.parametrize(
    ("cells", "outcome"),
    [
        ({"status": "done", "action": "super-resolve"}, "done"),
        ({"status": "done", "action": "pass-through"}, "passed-through"),
        ({"status": "planned", "action": "super-resolve"}, "unfinished"),
        ({"status": "failed", "action": "super-resolve"}, "failed"),
        ({"status": "planned", "action": "fail"}, "failed"),
        ({"status": "skipped", "action": "skip"}, "skipped"),
        ({"status": "planned", "action": "skip"}, "skipped"),
        ({}, "unfinished"),
    ],
)
def test_outcome(cells: dict[str, str], outcome: str) -> None:
    assert ImageRecord(image=IMAGE, row=cells).outcome == outcome


def test_outcome_without_a_row_comes_from_the_quality_file() -> None:
    quality = QualityRecord(image=IMAGE, action="pass-through")
    assert ImageRecord(image=IMAGE, quality=quality).outcome == "passed-through"


def test_names_of_an_image() -> None:
    image = ImageRecord(image="sub-01/ses-a/anat/sub-01_ses-a_acq-2D+x_T1w.nii")
    assert image.stem == "sub-01_ses-a_acq-2D+x_T1w"
    assert image.suffix == "T1w"
    assert (image.subject, image.session) == ("sub-01", "ses-a")
    assert image.entities == (("sub", "01"), ("ses", "a"), ("acq", "2D+x"))
    assert image.anchor == "image-sub-01-ses-a-acq-2D-x-T1w"


def test_finished_run_is_read(finished_run: Path) -> None:
    record = read_subject(finished_run, "sub-01")
    assert [image.outcome for image in record.images] == [
        "done",
        "passed-through",
        "failed",
        "skipped",
    ]
    done = record.images[0]
    assert set(done.figures) == {"sr", "mask", "sliceprofile", "learningcurve"}
    assert done.result.step("brain_mask").volume_ml == 1893.4
    assert done.sidecar["SuperResolution"]["Scale"] == 3.0
    assert record.problems == ()
    assert record.run is not None
    assert record.run.table["run"]["command"] == "bids_sr /data <out>"
    assert record.run.crashes[0].node == "bids_sr_wf.sub_01_ses_01_T2w_wf.check"


def test_an_image_elsewhere_has_nothing_of_the_one_that_bears_its_name(run_copy: Path) -> None:
    done = read_subject(run_copy, "01").images[0]
    elsewhere = done.image.replace("anat/", "extra/anat/")
    rows = [
        decision(done.image, status="done"),
        decision(elsewhere, action="skip", status="skipped"),
    ]
    write_decisions(run_copy, rows)
    records = {image.image: image for image in read_subject(run_copy, "01").images}
    assert records[done.image].figures == done.figures
    assert records[elsewhere].figures == {}
    assert records[elsewhere].anchor != done.anchor


def test_label_with_and_without_prefix(finished_run: Path) -> None:
    assert read_subject(finished_run, "01").label == read_subject(finished_run, "sub-01").label


def test_unknown_participant_is_refused(finished_run: Path) -> None:
    with pytest.raises(InputDataError, match="no folder sub-77 and no row"):
        read_subject(finished_run, "77")


def test_cells_not_available_are_left_out(tmp_path: Path) -> None:
    write_decisions(tmp_path, [decision(IMAGE, status="done")])
    (row,), problems = read_decisions(tmp_path)
    assert set(row) == {"participant_id", "image", "status"}
    assert problems == []


def test_rows_of_one_participant_are_read_alone(tmp_path: Path) -> None:
    images = ["sub-1/anat/sub-1_T1w.nii.gz", "sub-10/anat/sub-10_T1w.nii.gz"]
    others = [f"sub-2/anat/sub-2_run-{number}_T1w.nii.gz" for number in range(50)]
    rows = [decision(image, status="done") for image in (*images, *others)]
    rows[2]["message"] = "compare sub-1"
    write_decisions(tmp_path, rows)
    (own,), problems = read_decisions(tmp_path, "sub-1")
    assert (own["image"], problems) == (images[0], [])
    assert len(read_decisions(tmp_path)[0]) == 52


def test_missing_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    assert read_subject(tmp_path, "01").problems == (
        "decisions.tsv: the table cannot be read (no such file); expected text in UTF-8. "
        "Correct or fetch the file. Decisions are not shown.",
    )


def test_broken_pieces_are_told(tmp_path: Path) -> None:
    write_decisions(
        tmp_path, [decision(IMAGE, status="done", output="sub-01/anat/x.nii.gz", **acquired())]
    )
    anat, log = tmp_path / "sub-01" / "anat", tmp_path / "sub-01" / "log" / "1"
    anat.mkdir(parents=True)
    log.mkdir(parents=True)
    (anat / "sub-01_desc-sr_qc.json").write_text("{")
    (anat / "x.nii.gz").touch()
    (anat / "x.json").write_text("[1]")
    (log / "run.toml").write_text("= 3")
    record = read_subject(tmp_path, "01")
    assert "sub-01/anat/sub-01_desc-sr_qc.json: the QC file cannot" in record.problems[0]
    assert record.images[0].problems == (
        "sub-01/anat/x.json: the sidecar cannot be read (it holds a list); "
        "expected a JSON object. Correct or fetch the file.",
        "No QC file was found for this image.",
    )
    assert record.run is not None
    assert "1/run.toml: the file cannot be read" in record.run.problems[0]


def test_a_name_as_long_as_a_file_system_takes_costs_no_page(tmp_path: Path) -> None:
    """Names of its figures would be longer."""
    image = f"sub-01/anat/sub-01_acq-{'a' * 230}_T1w.nii.gz"
    write_decisions(tmp_path, [decision(image, status="failed"), decision(IMAGE, status="done")])
    (tmp_path / "sub-01" / "figures").mkdir(parents=True)
    assert [record.image for record in read_subject(tmp_path, "01").images] == [image, IMAGE]


def test_quality_file_without_a_row_is_shown(tmp_path: Path) -> None:
    write_quality(tmp_path / "sub-01/anat/sub-01_run-1_desc-sr_qc.json", IMAGE)
    (image,) = read_all(tmp_path)
    assert image.outcome == "done"
    assert image.problems == ("This image has a QC file but no row in decisions.tsv.",)


def test_latest_run_counts(finished_run: Path) -> None:
    record = read_subject(finished_run, "01")
    assert record.run is not None
    assert record.run.name == "20260102-090000_b"
