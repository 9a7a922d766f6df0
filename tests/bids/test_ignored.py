from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bids_sr.bids.ignored import BidsIgnore

CASES = [
    ("*_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("*_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz", False),
    ("sub-02", "sub-02/anat/sub-02_T1w.nii.gz", True),
    ("sub-02/", "sub-02/anat/sub-02_T1w.nii.gz", True),
    ("sub-01_T1w.nii/", "sub-01/anat/sub-01_T1w.nii", False),  # folders only
    ("sub-02", "sub-020/anat/sub-020_T1w.nii.gz", False),
    ("anat", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("/anat", "sub-01/anat/sub-01_T1w.nii.gz", False),
    ("sub-*/anat", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("sub-*/anat", "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", False),
    ("sub-*/**/anat", "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", True),
    ("sub-*/**/anat", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("**/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("sub-01/**", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("sub-0?_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("sub-0[12]_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("sub-0[!12]_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", False),
    ("sub-0[3-9]_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", False),
    ("sub-01_[z-a]_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", False),
    ("# *", "sub-01/anat/sub-01_T1w.nii.gz", False),
    ("  ", "sub-01/anat/sub-01_T1w.nii.gz", False),
    ("/", "sub-01/anat/sub-01_T1w.nii.gz", False),
    ("*_T1w.nii.gz   ", "sub-01/anat/sub-01_T1w.nii.gz", True),
    ("\\#1_T1w.nii", "#1_T1w.nii", True),
    ("\\!1_T1w.nii", "!1_T1w.nii", True),
    ("a\\*b.nii", "a*b.nii", True),
    ("a\\*b.nii", "aXb.nii", False),
    ("*.nii\n!sub-01_T1w.nii", "sub-01/anat/sub-01_T1w.nii", False),
    ("!sub-01_T1w.nii\n*.nii", "sub-01/anat/sub-01_T1w.nii", True),
    ("anat/\n!sub-01_T1w.nii", "sub-01/anat/sub-01_T1w.nii", True),  # its folder stays out
    ("*", "sub-01/anat/sub-01_T1w.nii", True),
    ("sub-01/*.nii", "sub-01/anat/sub-01_T1w.nii", False),
    ("sub-01.T1w", "sub-01/anat/sub-01_T1w", False),  # a point is a point
    ("*.NII.GZ\r\n*_T2w.nii", "sub-01/anat/sub-01_T2w.nii", True),
]


@pytest.mark.parametrize(("text", "path", "ignored"), CASES)
def test_patterns_are_those_of_git(text: str, path: str, ignored: bool) -> None:
    assert bool(BidsIgnore(text).line_for(path)) is ignored


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_agrees(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    check = ["git", "-C", str(tmp_path), "check-ignore", "-q", "--no-index"]
    for text, path, ignored in CASES:
        (tmp_path / ".gitignore").write_text(text, newline="")
        assert (subprocess.run([*check, path]).returncode == 0) is ignored, (text, path)


def test_the_line_is_told_and_a_file_of_any_encoding_is_read(tmp_path: Path) -> None:
    assert BidsIgnore.of(tmp_path).line_for("anat/x.nii") == ""
    (tmp_path / ".bidsignore").write_bytes(b"\xef\xbb\xbf*_T1w.nii\n# Universit\xe4t\nextra/\n")
    ignored = BidsIgnore.of(tmp_path)
    assert ignored.line_for("extra", folder=True) == "extra/"
    assert ignored.line_for("extra/deep/a.nii") == "extra/"
    (tmp_path / ".bidsignore").write_bytes(b"\xef\xbb\xbf*_T1w.nii\n")
    assert BidsIgnore.of(tmp_path).line_for("sub-01_T1w.nii") == "*_T1w.nii"
