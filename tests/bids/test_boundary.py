from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest

from bids_sr.bids.boundary import place_in_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "sub-01" / "anat").mkdir(parents=True)
    (root / "derivatives").mkdir()
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "deep").symlink_to("link/sub-01")
    return root


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("data", ""),
        ("link", ""),
        ("link/.", ""),
        ("other/../link", ""),
        ("link/derivatives/bids_sr", "derivatives/bids_sr"),
        ("link/new/folder", "new/folder"),
        ("deep", "sub-01"),
        ("deep/anat/x", "sub-01/anat/x"),
        ("other", None),
        ("data2", None),
        (".", None),
    ],
)
def test_real_paths_are_compared(
    tmp_path: Path, root: Path, folder: str, place: str | None
) -> None:
    expected = None if place is None else PurePath(place)
    for dataset in (root, tmp_path / "link"):
        assert place_in_dataset(tmp_path / folder, dataset) == expected


def test_a_subject_that_is_a_link_is_the_datasets_own(tmp_path: Path, root: Path) -> None:
    (tmp_path / "store/two").mkdir(parents=True)
    (root / "sub-02").symlink_to(tmp_path / "store/two")
    assert place_in_dataset(tmp_path / "store/two/out", root) == PurePath("sub-02/out")
    assert place_in_dataset(tmp_path / "store/out", root) is None


def test_a_second_mount_is_the_same_folder(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    look = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        return look(root if path == mount else path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    assert place_in_dataset(mount, root) == PurePath()
    assert place_in_dataset(mount / "sub-01" / "out", root) == PurePath("sub-01/out")


def test_links_that_lead_nowhere_or_around_the_dataset_are_nobodys(
    tmp_path: Path, root: Path
) -> None:
    (root / "sub-02").symlink_to("sub-02")
    (root / "sub-03").symlink_to("/")
    (root / "sub-04").symlink_to("nowhere")
    assert place_in_dataset(tmp_path / "out", root) is None
    assert place_in_dataset(root / "sub-01", root) == PurePath("sub-01")
    assert place_in_dataset(tmp_path / "none/out", tmp_path / "none") is None
