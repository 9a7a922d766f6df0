from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_sr import __version__
from bids_sr.bids.dataset import (
    DECISION_COLUMNS,
    dataset_description,
    read_decisions,
    restore_decisions,
    update_decisions,
    write_dataset_files,
)

AddImage = Callable[..., Path]


def test_description(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "BIDS_SR_DOCKER_TAG"):
        monkeypatch.delenv(name, raising=False)
    description = dataset_description(dataset, {"tool": tmp_path / "other"})
    assert description["DatasetType"] == "derivative"
    assert description["License"] == "CC0"
    assert description["DatasetLinks"] == {
        "raw": dataset.as_uri(),
        "tool": (tmp_path / "other").as_uri(),
    }
    (maker,) = description["GeneratedBy"]
    assert (maker["Name"], maker["Version"]) == ("bids_sr", __version__)
    assert "Container" not in maker
    monkeypatch.setenv("BIDS_SR_DOCKER_TAG", "bids_sr:1")
    (maker,) = dataset_description(dataset, {})["GeneratedBy"]
    assert maker["Container"] == {"Type": "docker", "Tag": "bids_sr:1"}
    monkeypatch.setenv("APPTAINER_CONTAINER", "/x.sif")
    (maker,) = dataset_description(dataset, {})["GeneratedBy"]
    assert maker["Container"] == {"Type": "singularity", "URI": "/x.sif"}


def test_description_of_a_raw_dataset_with_little_or_much(dataset: Path) -> None:
    path = dataset / "dataset_description.json"
    path.write_text("[]")
    assert dataset_description(dataset, {})["Name"].endswith("images of data")
    path.write_text(json.dumps({"Name": "N", "DatasetDOI": "doi:10.1/x"}))
    description = dataset_description(dataset, {})
    assert description["SourceDatasets"] == [{"URL": dataset.as_uri(), "DOI": "doi:10.1/x"}]
    assert "License" not in description


def test_links_of_earlier_runs_stay(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_dataset_files(out, dataset, derivatives={"tool": tmp_path / "other"})
    write_dataset_files(out, dataset)
    content = json.loads((out / "dataset_description.json").read_text())
    assert set(content["DatasetLinks"]) == {"raw", "tool"}
    assert {"figures", "log"} < set((out / ".bidsignore").read_text().split())
    assert (out / "descriptions.tsv").read_text().startswith("desc_id\tdescription\ndesc-sr\t")


def test_decisions_are_merged(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == []
    update_decisions(tmp_path, [{"image": "b", "status": "planned", "reason": "one\ttwo\nthree"}])
    update_decisions(tmp_path, [{"image": "a", "status": "planned"}])
    path = update_decisions(tmp_path, [{"image": "b", "status": "done", "message": '"x"'}])
    assert path.read_text().splitlines()[0].split("\t") == list(DECISION_COLUMNS)
    rows = read_decisions(tmp_path)
    assert [(row["image"], row["status"]) for row in rows] == [("a", "planned"), ("b", "done")]
    assert (rows[1]["reason"], rows[1]["message"]) == ("", '"x"')
    assert "n/a" in path.read_text()


def test_cells_cannot_break_the_table(tmp_path: Path) -> None:
    update_decisions(tmp_path, [{"image": "b", "message": "one\ttwo\nthree"}])
    (row,) = read_decisions(tmp_path)
    assert row["message"] == "one two three"


def test_a_merge_does_not_take_apart_what_others_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [f"sub-{number % 7}/{number}" for number in range(40)]
    for count in (3, 1, 5):
        for start in range(0, len(images), count):
            rows = [
                {"image": image, "status": str(count)} for image in images[start : start + count]
            ]
            path = update_decisions(tmp_path, rows)
    rows = read_decisions(tmp_path)
    assert [row["image"] for row in rows] == sorted(images)
    assert {row["status"] for row in rows} == {"5"}
    path.rename(tmp_path / "merged.tsv")
    update_decisions(tmp_path, rows)
    assert path.read_bytes() == (tmp_path / "merged.tsv").read_bytes()
    monkeypatch.setattr("bids_sr.bids.dataset.read_decisions", lambda _: pytest.fail("read all"))
    update_decisions(tmp_path, [{"image": "a"}])


def test_a_table_of_another_release_is_merged(tmp_path: Path) -> None:
    path = tmp_path / "decisions.tsv"
    path.write_text("image\tstatus\tgone\r\nb\tdone\tx\r\n\r\nc\tdone\n")
    update_decisions(tmp_path, [{"image": "a", "status": "planned"}])
    rows = read_decisions(tmp_path)
    assert [row["image"] + row["status"] for row in rows] == ["aplanned", "bdone", "cdone"]
    assert path.read_text().splitlines()[0].split("\t") == list(DECISION_COLUMNS)
    path.write_text(path.read_text() + "sub-01\tcut off")
    update_decisions(tmp_path, [{"image": "b", "status": "failed"}])
    assert {row["image"]: row["status"] for row in read_decisions(tmp_path)} == {
        "": "", "a": "planned", "b": "failed", "c": "done"
    }  # fmt: skip


def _write_rows(output_dir: Path, job: int) -> None:
    for index in range(10):
        update_decisions(output_dir, [{"image": f"{job}-{index}", "status": "done"}])


def test_jobs_at_once_lose_no_row(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_write_rows, args=(tmp_path, job)) for job in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 4
    assert len(read_decisions(tmp_path)) == 40


def test_rows_that_the_table_lost_come_back(tmp_path: Path) -> None:
    runs = [tmp_path / "sub-01" / "log" / f"2026010{day}-000000_x" for day in (1, 2)]
    for run, status in zip(runs, ("failed", "done"), strict=True):
        rows = [
            {"participant_id": f"sub-{label}", "image": f"sub-{label}_T1w", "status": status}
            for label in ("01", "02")
        ]
        update_decisions(tmp_path, rows, keep_in=[run, tmp_path / "sub-02" / "log" / run.name])
    complete = (tmp_path / "decisions.tsv").read_text()
    other = {"participant_id": "sub-03", "image": "sub-03_T1w", "status": "done"}
    (tmp_path / "decisions.tsv").unlink()
    update_decisions(tmp_path, [other])  # what a job leaves that did not see the others' rows
    restored = restore_decisions(tmp_path).read_text()
    assert restored.splitlines()[:-1] == complete.splitlines()
    assert restored.splitlines()[-1].startswith("sub-03\t")


def result(output_dir: Path, image: str) -> dict[str, str]:
    """Write a result, and return its row."""
    stem = image.removesuffix("_T1w")
    product = output_dir / f"{stem}_res-1mm_desc-sr_T1w.nii.gz"
    product.parent.mkdir(parents=True, exist_ok=True)
    product.touch()
    sidecar = {"Sources": [f"bids:raw:{image}.nii.gz"]}
    (output_dir / f"{stem}_res-1mm_desc-sr_T1w.json").write_text(json.dumps(sidecar))
    quality = {"Image": f"{image}.nii.gz", "Warnings": ["look"]}
    (output_dir / f"{stem}_desc-sr_qc.json").write_text(json.dumps(quality))
    output = product.relative_to(output_dir).as_posix()
    row = {"participant_id": image.split("/")[0], "image": f"{image}.nii.gz", "output": output}
    return row | {"status": "done", "action": "super-resolve"}


@pytest.mark.parametrize("status", ["planned", "skipped", "failed"])
def test_the_row_of_a_result_stays_until_something_is_done(tmp_path: Path, status: str) -> None:
    row = result(tmp_path, "sub-01/anat/sub-01_T1w")
    update_decisions(tmp_path, [row])
    now = {**row, "output": "", "status": status}
    update_decisions(tmp_path, [now])
    expected = "failed" if status == "failed" else "done"
    assert read_decisions(tmp_path)[0]["status"] == expected
    (tmp_path / row["output"]).unlink()
    update_decisions(tmp_path, [now])
    assert read_decisions(tmp_path)[0]["status"] == status


def test_the_status_follows_the_files(tmp_path: Path) -> None:
    """A result without its record, one that went, and a product whose QC file is not yet there."""
    rows = [result(tmp_path, f"sub-0{n}/anat/sub-0{n}_T1w") for n in (1, 2, 3)]
    planned = [{**row, "status": "planned", "output": ""} for row in rows]
    planned[0]["message"] = "a warning; the run ended before it"
    (tmp_path / rows[1]["output"]).unlink()
    (tmp_path / "sub-03/anat/sub-03_desc-sr_qc.json").unlink()
    update_decisions(tmp_path, [planned[0], rows[1], planned[2]])
    restore_decisions(tmp_path, ["01", "02"])
    row_of = {row["participant_id"]: row for row in read_decisions(tmp_path)}
    assert {name: row["status"] for name, row in row_of.items()} == {
        "sub-01": "done",
        "sub-02": "planned",
        "sub-03": "planned",
    }
    assert row_of["sub-01"]["output"] == rows[0]["output"]
    assert row_of["sub-01"]["message"] == "a warning; look"
    assert row_of["sub-02"]["message"] == "the result is not on disk any more: run again"


def test_nothing_to_restore(tmp_path: Path) -> None:
    update_decisions(tmp_path, [{"image": "a", "status": "done"}])
    before = (tmp_path / "decisions.tsv").read_text()
    assert restore_decisions(tmp_path).read_text() == before


def test_a_long_cell_and_half_a_letter_leave_a_table_that_can_be_read(tmp_path: Path) -> None:
    update_decisions(tmp_path, [{"image": "a", "reason": 200_000 * "x", "message": "a\udcff"}])
    update_decisions(tmp_path, [{"image": "b"}])
    row, _ = read_decisions(tmp_path)
    assert row["reason"].startswith("xxx")
    assert len(row["reason"]) < 131_072
    assert row["message"] == r"a\udcff"


@pytest.mark.parametrize(
    ("encoding", "warned"),
    [("utf-8-sig", False), ("latin-1", True), ("cp1252", True), ("utf-16", True)],
)
def test_a_description_of_any_encoding_loses_nothing(
    dataset: Path, caplog: pytest.LogCaptureFixture, encoding: str, warned: bool
) -> None:
    raw = {"Name": "Universität", "License": "CC0", "DatasetDOI": "doi:10.1/x"}
    text = json.dumps(raw, ensure_ascii=False)
    (dataset / "dataset_description.json").write_bytes(text.encode(encoding))
    description = dataset_description(dataset, {})
    assert description["Name"] == "Super-resolved anatomical images of Universität"
    assert description["License"] == "CC0"
    assert description["SourceDatasets"][0]["DOI"] == "doi:10.1/x"
    assert ("not UTF-8" in caplog.text) is warned


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00image\t\n", b"", b"image\n" + 300_000 * b"x", b"\x00\x01"]
)
def test_a_table_that_is_broken_is_written_anew(tmp_path: Path, content: bytes) -> None:
    """One in the output folder, and that of one run of one subject."""
    folders = [tmp_path / f"sub-{label}" / "log" / "run" for label in ("01", "02")]
    rows = [
        {"image": f.parts[-3], "participant_id": f.parts[-3], "status": "done"} for f in folders
    ]
    update_decisions(tmp_path, rows, keep_in=folders)
    (tmp_path / "decisions.tsv").write_bytes(content)
    (folders[1] / "decisions.tsv").write_bytes(content)
    restore_decisions(tmp_path)
    assert "sub-01" in [row["image"] for row in read_decisions(tmp_path)]
