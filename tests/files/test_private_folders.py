"""Folders that another user may have put where we look."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bids_sr.exceptions import OutputError
from bids_sr.files.private_folders import make_work_folder, private_cache
from bids_sr.run.exit_codes import ExitCode, code_of

STRANGER = 54321


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a temporary folder as /tmp is."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def as_strangers(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def usual(public: Path) -> Path:
    return public / f"bids_sr-{os.geteuid()}"


def test_the_cache_is_private_and_found_again(public: Path) -> None:
    assert private_cache() == private_cache() == usual(public)
    assert usual(public).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["stranger", "open", "link", "file"])
def test_a_cache_that_others_may_have_filled_is_not_used(
    public: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = usual(public)
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        path.write_text("")
    else:
        path.mkdir()
        if kind == "open":
            path.chmod(0o777)
        else:
            as_strangers(path)

    folder = private_cache()

    assert folder != path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert f"{path} " in caplog.text
    assert "so it is not used" in caplog.text


def environment_of(code: str, **variables: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", f"import os; from bids_sr.compute.environment import *\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], **variables},
    ).stdout.strip()


@pytest.mark.parametrize("home", ["unwritable", "public"])
def test_weights_of_a_stranger_are_not_found(public: Path, tmp_path: Path, home: str) -> None:
    planted = usual(public) / "cache" / "bids_sr" / "hd-bet_params" / "release_2.0.0"
    at_home = public / "hd-bet_params" / "release_2.0.0"
    for folder in (planted, at_home):
        (folder / "fold_all").mkdir(parents=True)
        for name in ("plans.json", "dataset.json", "fold_all/checkpoint_final.pth"):
            (folder / name).write_text("{}")
    as_strangers(usual(public))
    show = (
        "prepare(1); from bids_sr.published import published_weights; "
        "print(published_weights('hd-bet').find(), os.environ['XDG_CACHE_HOME'])"
    )

    weights_folder, cache = environment_of(
        show,
        TMPDIR=str(public),
        HOME=str(public) if home == "public" else "/nonexistent",
    ).split()

    assert weights_folder == "None"
    assert not Path(cache).is_relative_to(usual(public))
    assert not Path(cache).exists()  # it went away with the process


def test_the_work_folder_is_made_for_this_user_alone(public: Path, tmp_path: Path) -> None:
    make_work_folder(public / "work")
    make_work_folder(public / "work")
    assert (public / "work").stat().st_mode & 0o777 == 0o700
    make_work_folder(tmp_path / "deep" / "work")
    assert (tmp_path / "deep" / "work").is_dir()


@pytest.mark.parametrize("place", ["work", "link", "left"])
def test_the_work_folder_of_a_stranger_is_refused(
    public: Path, tmp_path: Path, place: str
) -> None:
    work = public / "work"
    if place == "link":
        (tmp_path / "elsewhere").mkdir()
        work.symlink_to(tmp_path / "elsewhere")
        as_strangers(work)
    elif place == "work":
        work.mkdir()
        as_strangers(work)
    else:
        work = public
        (work / "bids_sr_0_1_wf").mkdir()
        as_strangers(work / "bids_sr_0_1_wf")

    with pytest.raises(OutputError, match=r"belongs to another user \(54321\)") as caught:
        make_work_folder(work)

    assert code_of(caught.value) == ExitCode.CANNOT_WRITE


def test_a_work_folder_in_a_place_of_ones_own_may_be_anybodys(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    as_strangers(work)

    make_work_folder(work)
