from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.bids.image import AnatImage
from bids_sr.cli import run
from bids_sr.config import RunConfig
from bids_sr.imaging import Grid
from bids_sr.run import execution, record_keeping
from bids_sr.run.exit_codes import ExitCode
from bids_sr.run.fence import Fence
from bids_sr.run.outcome import REMOVED, Outcome, Outcomes
from bids_sr.run.provenance import new_record
from bids_sr.run.record_keeping import RecordKeeper

GRID = Grid(shape=(8, 8, 8), affine=np.eye(4))


@pytest.mark.parametrize(
    "error",
    [
        RecursionError("deep"),
        MemoryError(),
        OSError(errno.ENAMETOOLONG, "File name too long", "x"),
    ],
)
def test_an_error_becomes_a_line(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    fence = Fence()
    for _ in range(2):
        with fence.around("page of sub-02"):
            raise error
    (line,) = fence.lines
    assert line.startswith("page of sub-02: ")
    assert caplog.text.count("page of sub-02: ") == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_what_concerns_all_passes(error: BaseException) -> None:
    with pytest.raises(type(error)), Fence().around("page of sub-02"):
        raise error


def keeper_of(output: Path, root: Path) -> RecordKeeper:
    config = RunConfig(bids_dir=root, output_dir=output, analysis_level="participant")
    return RecordKeeper(config, new_record([]), "methods")


def outcome(subject: str, **facts: Any) -> Outcome:
    relpath = f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"
    image = AnatImage(
        path=Path(relpath),
        relpath=relpath,
        entities={"subject": subject},
        suffix="T1w",
        action="super-resolve",
        reason="",
        source_grid=GRID,
        target_grid=GRID,
        target_spacing=1.0,
    )
    return Outcome(image=image, **{"status": "failed", "message": "told", **facts})


@pytest.fixture
def three(empty_dataset: Path, tmp_path: Path) -> tuple[RecordKeeper, Outcomes, Path]:
    output = tmp_path / "out"
    output.mkdir()
    return (
        keeper_of(output, empty_dataset),
        Outcomes(images=[outcome(label) for label in ("01", "02", "03")]),
        output,
    )


def check(keeper: RecordKeeper, output: Path) -> None:
    for label in ("01", "03"):
        assert (output / f"sub-{label}.html").is_file()
        assert list(output.glob(f"sub-{label}/log/*/run.toml"))
        assert list(output.glob(f"sub-{label}/log/*/decisions.tsv"))
    assert (output / "decisions.tsv").read_text().count("told") == 3
    assert any("sub-02" in line for line in keeper.fence.lines)
    assert all("sub-01" not in line and "sub-03" not in line for line in keeper.fence.lines)


def test_a_subject_whose_folder_is_a_file_costs_no_other(
    three: tuple[RecordKeeper, Outcomes, Path],
) -> None:
    keeper, outcomes, output = three
    (output / "sub-02").write_text("not a folder")
    keeper.begin(outcomes)
    keeper.end(outcomes)
    check(keeper, output)


def test_a_page_that_cannot_be_written_costs_no_other(
    three: tuple[RecordKeeper, Outcomes, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, outcomes, output = three
    write = record_keeping.write_page

    def refuse(config: RunConfig, subject: str, pending: Collection[str], **more: Any) -> Path:
        if subject == "02":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        return write(config, subject, pending, **more)

    monkeypatch.setattr(record_keeping, "write_page", refuse)
    keeper.begin(outcomes)
    keeper.end(outcomes)
    check(keeper, output)


def test_what_was_removed_during_the_run_is_written_again(
    three: tuple[RecordKeeper, Outcomes, Path],
) -> None:
    keeper, outcomes, output = three
    keeper.begin(outcomes)
    shutil.rmtree(output)
    keeper.end(outcomes)
    for name in ("dataset_description.json", "descriptions.tsv", ".bidsignore", "decisions.tsv"):
        assert (output / name).is_file()
    assert len(list(output.glob("logs/*.toml"))) == 1
    for label in ("01", "02", "03"):
        assert (output / f"sub-{label}.html").is_file()
        assert list(output.glob(f"sub-{label}/log/*/run.toml"))
    assert "the output folder's content was removed during the run" in keeper.fence.lines[0]
    assert Outcomes(beside=keeper.fence.lines).code == ExitCode.SOME_FAILED


NO_STEPS = (
    *("--sr-method=bspline", "--denoise-method=none", "--anat-biascorrect=none", "--sloppy"),
    *("--skull-strip-method=none", "--skip-bids-validation", "--nprocs=2", "--omp-nthreads=1"),
)


def test_one_bad_image_or_subject_in_a_real_run(
    empty_dataset: Path,
    write_image: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An image that vanishes after planning, and one whose results are removed when it is done."""
    for label in ("01", "02", "03", "04"):
        write_image(empty_dataset, f"sub-{label}_T1w")
    (empty_dataset / "sub-01" / "anat" / "sub-01_T1w.json").write_text(
        json.dumps({"SliceThickness": 5.0, "SeriesDescription": "\ud800"})
    )
    output, begin = tmp_path / "out", execution.run_graph

    def vanish(*arguments: Any, ended: Callable[[Outcome], None], **others: Any) -> Outcomes:
        (empty_dataset / "sub-02" / "anat" / "sub-02_T1w.nii.gz").unlink()

        def also_remove(outcome: Outcome) -> None:
            ended(outcome)
            if outcome.image.subject == "04":
                shutil.rmtree(output / "sub-04")

        return begin(*arguments, ended=also_remove, **others)

    monkeypatch.setattr(execution, "run_graph", vanish)
    monkeypatch.setattr(run, "end_on_sigterm", lambda: None)
    words = [str(empty_dataset), str(output), "participant", "-w", str(tmp_path / "work")]
    assert run.main([*words, *NO_STEPS]) == ExitCode.SOME_FAILED
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "2 done, 2 failed, 0 skipped" in shown.out
    assert "sub-02_T1w: failed at check_input: " in shown.out
    assert f"sub-04_T1w: failed: {REMOVED}" in shown.out
    for label in ("01", "03"):
        assert (output / f"sub-{label}/anat/sub-{label}_res-2mm_desc-sr_T1w.nii.gz").is_file()
    assert all((output / f"sub-{label}.html").is_file() for label in ("01", "02", "03", "04"))
