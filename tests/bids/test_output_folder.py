"""The output folder before a run: which are refused, and why."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bids_sr.bids import prepare_output_dir, write_dataset_files
from bids_sr.exceptions import InputDataError


def test_output_dir_is_made_and_may_be_ours(dataset: Path, tmp_path: Path) -> None:
    out = prepare_output_dir(tmp_path / "deep" / "out", dataset)
    write_dataset_files(out, dataset)
    assert prepare_output_dir(out, dataset) == out
    assert prepare_output_dir(dataset / "derivatives" / "bids_sr", dataset).is_dir()


def test_output_dir_of_others_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="the output folder is the input dataset"):
        prepare_output_dir(dataset, dataset)
    description = {"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}]}
    (tmp_path / "dataset_description.json").write_text(json.dumps(description))
    with pytest.raises(InputDataError, match="made by fMRIPrep"):
        prepare_output_dir(tmp_path, dataset)


def test_output_dir_that_cannot_be_written(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputDataError, match="cannot be written"):
        prepare_output_dir(tmp_path / "file" / "out", dataset)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_output_dir(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o555)
    with pytest.raises(InputDataError, match="Permission denied"):
        prepare_output_dir(folder, dataset)


def other_dataset(root: Path, name: str) -> Path:
    root.mkdir()
    (root / "dataset_description.json").write_text(json.dumps({"Name": name}))
    return root


def test_results_of_two_datasets_are_not_mixed(dataset: Path, tmp_path: Path) -> None:
    out = prepare_output_dir(tmp_path / "out", dataset)
    write_dataset_files(out, dataset)
    other = other_dataset(tmp_path / "other", "another study")
    before = (out / "dataset_description.json").read_bytes()
    with pytest.raises(InputDataError, match=r"of tiny\), not of file:.*/other"):
        prepare_output_dir(out, other)
    assert (out / "dataset_description.json").read_bytes() == before


def test_two_datasets_at_the_path_of_a_container_are_not_mixed(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was mounted there in its turn; one without a Name cannot be told."""
    out = prepare_output_dir(tmp_path / "out", dataset)
    write_dataset_files(out, dataset)
    description = dataset / "dataset_description.json"
    description.write_text(json.dumps({"Name": "another study"}))
    with pytest.raises(InputDataError, match=r"of tiny\), not of .*another study"):
        prepare_output_dir(out, dataset)
    description.unlink()
    assert prepare_output_dir(out, dataset) == out
    assert not caplog.messages


def test_a_dataset_that_was_moved_is_told(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = prepare_output_dir(tmp_path / "out", dataset)
    write_dataset_files(out, dataset)
    moved = dataset.rename(tmp_path / "moved")
    assert prepare_output_dir(out, moved) == out
    (message,) = caplog.messages
    assert f"{out}: the output folder holds results of file://" in message


def test_a_dataset_without_a_name_may_have_another_path(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is called after its folder, which a container mounts under another name."""
    (dataset / "dataset_description.json").unlink()
    out = prepare_output_dir(tmp_path / "out", dataset)
    write_dataset_files(out, dataset)
    assert prepare_output_dir(out, dataset.rename(tmp_path / "a b")) == out
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("field", ["GeneratedBy", "DatasetLinks"])
def test_a_description_of_other_types(dataset: Path, tmp_path: Path, field: str) -> None:
    out = prepare_output_dir(tmp_path / "out", dataset)
    write_dataset_files(out, dataset)
    path = out / "dataset_description.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: 5}))
    if field == "GeneratedBy":
        with pytest.raises(InputDataError, match="an unknown pipeline"):
            prepare_output_dir(out, dataset)
    else:
        write_dataset_files(prepare_output_dir(out, dataset), dataset)
        assert "raw" in json.loads(path.read_text())["DatasetLinks"]
