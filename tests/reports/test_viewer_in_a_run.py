"""The viewer of a subject in a run: written with its last image, linked only while it is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bids_sr.config import RunConfig
from bids_sr.imaging import Volume
from bids_sr.reports import viewer
from bids_sr.run.record_keeping import write_page

from .viewer_phantom import PRODUCT, T1W, phantom


def page_of(run: tuple[Path, Path], pending: tuple[str, ...] = (), **options: Any) -> str:
    config = RunConfig(bids_dir=run[0], output_dir=run[1], **options)
    return write_page(config, "01", pending).read_text(encoding="utf-8")


def test_a_run_writes_the_viewer_when_nothing_is_pending(run: tuple[Path, Path]) -> None:
    assert "sub-01_viewer.html" not in page_of(run, pending=(T1W,))
    assert not (run[1] / "sub-01_viewer.html").exists()
    assert "sub-01_viewer.html" in page_of(run)
    assert (run[1] / "sub-01_viewer.html").is_file()
    # A later run that has not ended yet, and has changed nothing so far.
    assert "sub-01_viewer.html" in page_of(run, pending=(T1W,))


def test_viewer_none_writes_none_and_keeps_one_that_is_true(run: tuple[Path, Path]) -> None:
    assert "sub-01_viewer.html" not in page_of(run, viewer="none")
    assert not (run[1] / "sub-01_viewer.html").exists()
    page_of(run)
    assert "sub-01_viewer.html" in page_of(run, viewer="none")
    Volume.load(run[1] / PRODUCT).with_data(phantom("LAS").data).save(run[1] / PRODUCT)
    assert "sub-01_viewer.html" not in page_of(run, viewer="none")
    assert not (run[1] / "sub-01_viewer.html").exists()


def test_a_failing_viewer_costs_the_page_nothing(
    run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(viewer, "_page", None)
    page = page_of(run)
    assert "_viewer.html" not in page
    assert "sub-01_FLAIR" in page
    assert "no viewer of sub-01" in caplog.text
