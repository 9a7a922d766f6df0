"""What is said of memory before a run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.image import AnatImage
from bids_sr.config import RunConfig
from bids_sr.imaging import Grid
from bids_sr.run import memory


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    folders = {"bids_dir": tmp_path / "raw", "output_dir": tmp_path / "out"}
    return RunConfig(**folders, work_dir=tmp_path / "work", mem_gb=2.0)


def workflow_of(*gigabytes: float) -> pe.Workflow:
    inner = pe.Workflow(name="sub_01_T1w_wf")
    fields = niu.IdentityInterface(fields=["a"])
    inner.add_nodes(
        [pe.Node(fields, name=f"step{n}", mem_gb=gb) for n, gb in enumerate(gigabytes)]
    )
    outer = pe.Workflow(name="run")
    outer.add_nodes([inner])
    return outer


def test_the_main_process_counts(config: RunConfig) -> None:
    held = psutil.Process().memory_info().rss / 1e9
    assert memory.memory_for_steps_gb(config) == pytest.approx(2.0 - held, abs=0.05)


def test_viewers_of_several_participants_count(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "VIEWER_GB", 0.1)
    config = replace(config, mem_gb=8.0)  # more than this process itself may hold
    grid = Grid(shape=(200, 200, 250), affine=np.eye(4))
    facts: dict[str, Any] = {"relpath": "x", "entities": {}, "suffix": "T1w", "reason": ""}
    images = [
        AnatImage(
            path=Path("x"), action="super-resolve", target_grid=grid,
            **{**facts, "entities": {"subject": label}},
        )
        for label in ("01", "02")
    ]  # fmt: skip
    alone = memory.memory_for_steps_gb(config, images[:1])
    assert memory.memory_for_steps_gb(config, images) == pytest.approx(alone - 1.0, abs=0.05)
    without = replace(config, viewer="none")
    assert memory.memory_for_steps_gb(without, images) == pytest.approx(alone, abs=0.05)


def test_what_does_not_fit_is_said_before_the_run(
    config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    memory.warn_of_memory(workflow_of(1.0, 1.6, 2.5), config, planned=1.5)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert "2 steps are expected to need more memory than there is" in message
    assert ".step2 2.50 GB" in message
    assert "expected --mem 3001M or more" in message


def test_nothing_is_said_where_all_fits(
    config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    memory.warn_of_memory(workflow_of(1.0, 1.5), config, planned=1.5)
    assert not caplog.records


def test_more_than_the_container_has_is_said(
    config: RunConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_limit_gb", lambda: 1.0)
    memory.warn_of_memory(workflow_of(0.3), config, planned=1.5)
    assert "--mem is 2.0 GB, and this process may use 1.0 GB" in caplog.text
