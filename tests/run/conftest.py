"""Graphs of small steps, run by our scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nipype import config as nipype_config
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.run.progress import StageLines
from bids_sr.run.scheduler import SteadyMultiProcPlugin

Ended = tuple[StageLines, Exception | None]


def _node(name: str, function: Any, **inputs: Any) -> pe.Node:
    interface = niu.Function(input_names=list(inputs), output_names=["out"], function=function)
    node = pe.Node(interface, name=name)
    for key, value in inputs.items():
        setattr(node.inputs, key, value)
    return node


@pytest.fixture
def node() -> Callable[..., pe.Node]:
    """Return a function that makes a step of a function: ``node("name", function, x=1)``."""
    return _node


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that runs steps in a folder, again where it did before.

    It returns what was told of the steps, and the error that ended the run.
    """

    def run(
        nodes: list[pe.Node | pe.Workflow],
        *,
        folder: Path = tmp_path,
        plugin: type[SteadyMultiProcPlugin] = SteadyMultiProcPlugin,
        **plugin_args: Any,
    ) -> Ended:
        crashes = folder / "crashes"
        crashes.mkdir(parents=True, exist_ok=True)
        execution = {
            "crashdump_dir": str(crashes),
            "crashfile_format": "txt",
            "create_report": False,
            "poll_sleep_duration": 0.05,
        }
        nipype_config.update_config({"execution": execution})
        workflow = pe.Workflow(name="w", base_dir=str(folder / "work"))
        workflow.add_nodes(nodes)
        lines = StageLines(lambda name: name)
        defaults = {"n_procs": 2, "memory_gb": 8, "raise_insufficient": False}
        scheduler = plugin({**defaults, "status_callback": lines, **plugin_args})
        try:
            workflow.run(plugin=scheduler)
        except Exception as error:
            return lines, error
        finally:
            scheduler.stop()
        return lines, None

    return run
