"""The check before a release finds what must not be released."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from bids_sr import __version__

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = REPOSITORY / ".ci" / "release_check.py"
    spec = importlib.util.spec_from_file_location("release_check", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_repository_has_one_version(check: ModuleType) -> None:
    assert check.package_version(REPOSITORY) == __version__
    assert list(check.version_faults(REPOSITORY, __version__)) == []


def test_each_copy_of_another_version_is_named(check: ModuleType) -> None:
    faults = list(check.version_faults(REPOSITORY, "9.9.9"))
    assert [fault.split()[0] for fault in faults] == list(check.COPIES)
    assert next(check.version_faults(REPOSITORY, "latest")).startswith("version latest")


@pytest.mark.parametrize(
    ("newest", "right"),
    [
        ("1.2.0 (2026-12-01)", True),
        ("1.2.0 (unreleased)", False),
        ("1.3.0 (2026-12-01)", False),
        ("1x2.0 (2026-12-01)", False),
    ],
)
def test_the_newest_entry_of_the_changelog_has_the_version_and_a_date(
    check: ModuleType, newest: str, right: bool
) -> None:
    text = f"# Changes\n\n## {newest}\n\n## 1.1.0 (2026-01-01)\n"
    assert (list(check.changelog_faults(text, "1.2.0")) == []) == right


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_changed_file_and_a_tag_elsewhere_are_faults(check: ModuleType, tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "one")
    assert list(check.git_faults(tmp_path, "1.0.0")) == []
    git(tmp_path, "tag", "v1.0.0")
    assert list(check.git_faults(tmp_path, "1.0.0")) == []
    git(tmp_path, "commit", "--allow-empty", "-m", "two")
    (tmp_path / "new.txt").touch()
    changed, tagged = check.git_faults(tmp_path, "1.0.0")
    assert changed == "not committed: 1 in all, the first: ?? new.txt"
    assert "v1.0.0 is on another commit" in tagged


def test_contents_are_compared_with_the_repository(check: ModuleType, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        for name in ("bids_sr/a.py", "bids_sr/secret.py", "x.dist-info/METADATA"):
            wheel.writestr(name, "")
    for name in ("LICENSE", "README.md", "pyproject.toml", "bids_sr/a.py"):
        (tmp_path / "x-1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x-1" / name).touch()
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as source:
        source.add(tmp_path / "x-1", arcname="x-1")
    assert list(check.contents_faults(tmp_path, {"bids_sr/a.py", "workflows/b.py"})) == [
        "the wheel lacks bids_sr/workflows/b.py",
        "the wheel holds bids_sr/secret.py, which git does not know",
        "the source distribution lacks workflows/b.py",
    ]
