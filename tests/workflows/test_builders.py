"""The shape of the builders: few arguments, short, no condition around connections."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from bids_sr import workflows
from bids_sr.config import RunConfig
from bids_sr.workflows.brain_extraction import BrainExtraction
from bids_sr.workflows.outputs import Outputs
from bids_sr.workflows.preprocessing import Preprocessing
from bids_sr.workflows.segmentation import Segmentation
from bids_sr.workflows.super_resolution import SuperResolution

FOLDER = Path(str(inspect.getfile(workflows))).parent
MAX_ARGUMENTS = 4
MAX_LINES = 120
RESOLVED = {"engine", "engine_reason", "parameters", "weights_files", "provenance", "fused"}
"""Fields that stand for what several options came to."""


def builders() -> list[ast.FunctionDef]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.py"))]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if function.name.startswith("init_")]


@pytest.mark.parametrize("builder", builders(), ids=lambda builder: builder.name)
def test_a_builder_is_read_in_one_go(builder: ast.FunctionDef) -> None:
    arguments = [*builder.args.args, *builder.args.kwonlyargs]
    assert len(arguments) <= MAX_ARGUMENTS
    assert builder.end_lineno is not None
    assert builder.end_lineno - builder.lineno < MAX_LINES


@pytest.mark.parametrize("builder", builders(), ids=lambda builder: builder.name)
def test_no_connection_depends_on_a_condition(builder: ast.FunctionDef) -> None:
    conditions = (node for node in ast.walk(builder) if isinstance(node, ast.If))
    calls = (node for condition in conditions for node in ast.walk(condition))
    assert not [
        node.lineno
        for node in calls
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "connect"
    ]


@pytest.mark.parametrize(
    "options", [BrainExtraction, Outputs, Preprocessing, Segmentation, SuperResolution]
)
def test_options_of_a_builder_are_called_as_in_the_configuration(options: type) -> None:
    known = {entry.name for entry in fields(RunConfig)}
    assert {entry.name for entry in fields(options)} - known <= RESOLVED  # type: ignore[arg-type]


def test_banding_is_judged_on_the_slices_that_were_super_resolved() -> None:
    """The slice gain correction comes before; the acquired slices would be accused for nothing."""
    text = (FOLDER / "image.py").read_text(encoding="utf-8")
    assert '("outputnode.evened", "prepared_file")' in text
