"""The kept index: made once, read often, and never believed where the dataset changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from bids.layout import BIDSLayout
from filelock import FileLock

from bids_sr.bids import layout as layouts
from bids_sr.bids.database import FILE_NAME
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.selection import Selection
from bids_sr.exceptions import ConfigError

AddImage = Callable[..., Path]
Plan = Callable[..., list[str]]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the folder of our index, below that of ``--bids-database-dir``."""
    return tmp_path / "database" / "bids_sr"


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Labels of every indexing that was really done; empty labels: all."""
    done: list[tuple[str, ...]] = []
    real = layouts._index

    def counted(root: Path, folder: Path | None, labels: tuple[str, ...]) -> object:
        done.append(tuple(labels))
        return real(root, folder, labels)

    monkeypatch.setattr(layouts, "_index", counted)
    return done


@pytest.fixture
def planned(dataset: Path, database: Path) -> Plan:
    def make(*labels: str) -> list[str]:
        layout = open_layout(dataset, database_dir=database.parent, participant_label=labels)
        return [image.stem for image in plan_images(layout, Selection(participant_label=labels))]

    return make


def test_one_job_makes_it_and_the_others_read_it(
    add_image: AddImage, planned: Plan, indexed: list[tuple[str, ...]], database: Path
) -> None:
    for label in ("01", "02", "03"):
        add_image(f"sub-{label}_ses-1_T1w", {"SliceThickness": 4})
    assert planned("01") == ["sub-01_ses-1_T1w"]
    made = (database / FILE_NAME).read_bytes()
    assert planned("02") == ["sub-02_ses-1_T1w"]
    assert len(planned()) == 3
    assert indexed == [()]
    assert (database / FILE_NAME).read_bytes() == made
    assert sorted(path.name for path in database.iterdir()) == [".lock", FILE_NAME]


@pytest.mark.parametrize("labels", [(), ("01",)])
def test_a_dataset_that_changed_is_indexed_again(
    add_image: AddImage,
    planned: Plan,
    indexed: list[tuple[str, ...]],
    labels: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = add_image("sub-01_ses-1_T1w")
    planned()
    gone.unlink()
    add_image("sub-01_ses-2_FLAIR")
    add_image("sub-01_acq-0.5_T2w")  # pybids takes .5_T2w.nii.gz for its extension
    with caplog.at_level(logging.INFO):
        found = planned(*labels)
    assert found == ["sub-01_acq-0", "sub-01_ses-2_FLAIR"]
    assert "it does not know 2 images (sub-01/anat/sub-01_acq-0.5_T2w.nii.gz, " in caplog.text
    assert "it still has 1 image (sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz)" in caplog.text
    planned(*labels)
    assert indexed == [(), ()]


def test_a_job_does_not_care_for_other_subjects(
    add_image: AddImage, planned: Plan, indexed: list[tuple[str, ...]]
) -> None:
    add_image("sub-01_T1w")
    planned()
    add_image("sub-02_T1w")
    assert planned("01") == ["sub-01_T1w"]
    assert indexed == [()]
    assert planned("02") == ["sub-02_T1w"]
    assert indexed == [(), ()]


def test_what_an_interrupted_job_left_is_made_again(
    add_image: AddImage, planned: Plan, database: Path
) -> None:
    add_image("sub-01_T1w")
    (database / ".123.tmp").mkdir(parents=True)
    for left in (b"", b"no database at all" * 100):
        (database / FILE_NAME).write_bytes(left)
        assert planned("01") == ["sub-01_T1w"]
    planned()
    whole = (database / FILE_NAME).read_bytes()
    (database / FILE_NAME).write_bytes(whole[: len(whole) // 2])
    assert planned() == ["sub-01_T1w"]
    assert not list(database.glob("*.tmp"))


def test_a_folder_that_cannot_be_written_is_read_or_done_without(
    add_image: AddImage,
    planned: Plan,
    indexed: list[tuple[str, ...]],
    database: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    add_image("sub-01_T1w")
    planned()
    (database / ".lock").unlink()
    (database / ".lock").mkdir()  # opening it for writing fails, for root too
    assert planned("01") == ["sub-01_T1w"]
    assert indexed == [()]
    add_image("sub-01_T2w")
    assert planned("01") == ["sub-01_T1w", "sub-01_T2w"]
    assert indexed == [(), ("01",)]
    assert "is not used: it does not know 1 image" in caplog.text
    assert "cannot be written" in caplog.text


def test_a_job_does_not_wait_for_the_one_that_indexes_all(
    add_image: AddImage, planned: Plan, indexed: list[tuple[str, ...]], database: Path
) -> None:
    add_image("sub-01_T1w")
    add_image("sub-02_T1w")
    database.mkdir(parents=True)
    with FileLock(database / ".lock"):
        assert planned("02") == ["sub-02_T1w"]
    assert indexed == [("02",)]
    assert not (database / FILE_NAME).exists()


def test_jobs_that_start_at_once_all_see_the_whole(
    add_image: AddImage, planned: Plan, indexed: list[tuple[str, ...]]
) -> None:
    labels = [f"{number:02d}" for number in range(6)]
    for label in labels:
        add_image(f"sub-{label}_T1w")
    found: dict[str, list[str]] = {}
    jobs = [
        threading.Thread(target=lambda label=label: found.update({label: planned(label)}))
        for label in labels
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert found == {label: [f"sub-{label}_T1w"] for label in labels}
    assert indexed.count(()) == 1


def test_a_database_of_a_folder_that_is_gone_is_refused(
    add_image: AddImage, planned: Plan, dataset: Path, tmp_path: Path, database: Path
) -> None:
    add_image("sub-01_T1w")
    planned()
    moved = dataset.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="the database is that of"):
        open_layout(moved, database_dir=database.parent)


def test_the_index_of_another_tool_is_left_alone(
    add_image: AddImage, planned: Plan, dataset: Path, database: Path
) -> None:
    add_image("sub-01_T1w")
    theirs = database.parent
    BIDSLayout(dataset, validate=False, database_path=theirs).session.close()
    before = (theirs / FILE_NAME).read_bytes()
    add_image("sub-01_T2w")
    assert planned() == ["sub-01_T1w", "sub-01_T2w"]
    assert (theirs / FILE_NAME).read_bytes() == before
