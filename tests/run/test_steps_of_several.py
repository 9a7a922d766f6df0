"""Steps of several images under other schedulers of Nipype: they go on without what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    DynamicTraitedSpec,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits
from nipype.pipeline import engine as pe
from nipype.pipeline import plugins

from bids_sr.interfaces.optional import OptionalInputSpec, StepOfSeveralImages
from bids_sr.run.steps_of_several import goes_on


class _InputSpec(BaseInterfaceInputSpec):
    value = traits.Int()


class _OutputSpec(TraitedSpec):
    value = traits.Int()


class Pass(SimpleInterface):
    """Pass a number on; not a negative one."""

    input_spec = _InputSpec
    output_spec = _OutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        if self.inputs.value < 0:
            raise ValueError("negative")
        self._results["value"] = self.inputs.value
        return runtime


class _SumInputSpec(DynamicTraitedSpec, OptionalInputSpec):
    pass


class Sum(StepOfSeveralImages):
    """Add the numbers that are there."""

    input_spec = _SumInputSpec
    output_spec = _OutputSpec

    def __init__(self, **inputs: Any) -> None:
        super().__init__(**inputs)
        add_traits(self.inputs, ["a", "b", "c"])

    def _run_step(self, runtime: Any) -> None:
        values = [getattr(self.inputs, name) for name in "abc"]
        self._results["value"] = sum(value for value in values if isdefined(value))
        Path(runtime.cwd).parents[1].joinpath("sum.txt").write_text(str(self._results["value"]))


def run(folder: Path, plugin: str, values: tuple[int, int, int]) -> tuple[str, list[str]]:
    """Add three numbers, each of which two nodes pass on; return the sum and what has ended."""
    workflow = pe.Workflow(name="sum_wf", base_dir=str(folder))
    workflow.config["execution"] = {"crashdump_dir": str(folder), "poll_sleep_duration": 0.1}
    total = pe.Node(Sum(), name="total")
    after = pe.Node(Pass(), name="after")
    for name, value in zip("abc", values, strict=True):
        first = pe.Node(Pass(value=value), name=f"first_{name}")
        second = pe.Node(Pass(), name=f"second_{name}")
        workflow.connect(first, "value", second, "value")
        workflow.connect(second, "value", total, name)
    workflow.connect(total, "value", after, "value")
    ended: list[str] = []
    arguments = {
        "status_callback": lambda node, status: ended.append(node.name) if status == "end" else 0,
        "n_procs": 1,
    }
    scheduler = goes_on(getattr(plugins, f"{plugin}Plugin"))(plugin_args=arguments)
    if min(values) < 0:
        with pytest.raises(Exception, match="negative"):
            workflow.run(plugin=scheduler)
    else:
        workflow.run(plugin=scheduler)
    return (folder / "sum.txt").read_text(), ended


@pytest.mark.parametrize("plugin", ["Linear", "LegacyMultiProc"])
def test_what_is_left_is_added(tmp_path: Path, plugin: str) -> None:
    total, ended = run(tmp_path, plugin, (1, -1, 5))
    assert total == "6"
    assert {"total", "after", "second_a", "second_c"} <= {*ended}
    assert not {"first_b", "second_b"} & {*ended}


def test_without_a_failure_nothing_changes(tmp_path: Path) -> None:
    total, ended = run(tmp_path, "Linear", (1, 2, 5))
    assert total == "8"
    assert len(ended) == 8


def test_other_kinds_of_schedulers_stay_as_they_are() -> None:
    assert goes_on(plugins.DebugPlugin) is plugins.DebugPlugin
    assert issubclass(goes_on(plugins.SLURMPlugin), plugins.SLURMPlugin)
