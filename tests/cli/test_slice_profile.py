from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_sr.cli import tools
from bids_sr.imaging import Acquisition, SliceProfile, Volume, degrade
from bids_sr.run.exit_codes import ExitCode


@pytest.fixture
def image(mni152_2mm: Volume, tmp_path: Path) -> Path:
    acquisition = Acquisition(spacing=8.0, thickness=6.0, slice_axis=2)
    return degrade(mni152_2mm, acquisition).save(tmp_path / "thick.nii.gz")


def test_profile_is_printed_written_and_drawn(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, plot = tmp_path / "profile.tsv", tmp_path / "profile.svg"
    code = tools.main(["slice-profile", str(image), "--out", str(table), "--plot", str(plot)])
    assert code == ExitCode.OK
    record = json.loads(capsys.readouterr().out.partition("\nwrote")[0])
    assert record["SpacingBetweenSlices"] == pytest.approx(8)
    assert record["SliceAxis"] == 2
    assert record["SliceProfileFWHM"] == pytest.approx(6, abs=3)
    assert 0 < SliceProfile.from_file(table).fwhm < 12
    assert "<svg" in plot.read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["missing.nii.gz"], ExitCode.NO_INPUT),
        (["thick.nii.gz", "--slice-axis", "0"], ExitCode.BAD_DATA),
        (["thick.nii.gz", "--out", "nowhere/profile.tsv"], ExitCode.CANNOT_WRITE),
    ],
)
def test_refusals(
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: ExitCode,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(image.parent)
    run: Callable[..., int] = tools.main
    assert run(["slice-profile", *words]) == code
    assert "bids_sr-tools slice-profile:" in capsys.readouterr().err
