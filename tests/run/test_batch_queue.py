from __future__ import annotations

from pathlib import Path

import pytest
from nipype import config as nipype_config
from nipype.interfaces import utility as niu
from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, traits
from nipype.pipeline import engine as pe

from bids_sr.config import RunConfig
from bids_sr.exceptions import ConfigError
from bids_sr.run import batch_queue


class _OnGpuInputSpec(BaseInterfaceInputSpec):
    use_gpu = traits.Bool(True, usedefault=True)


class OnGpu(BaseInterface):  # type: ignore[misc]
    input_spec = _OnGpuInputSpec


def test_a_plugin_that_does_not_wait_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plugin.yml"
    path.write_text("plugin: SLURMGraph\n")
    with pytest.raises(ConfigError, match="SLURMGraph returns before the steps have run"):
        batch_queue.read_plugin(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("[a, b]", r"plugin_args is \['a', 'b'\]; expected a mapping"),
        ("text", "plugin_args is 'text'"),
        ("5", "plugin_args is 5"),
        ("false", "plugin_args is False"),
        ("{n_procs: many}", "n_procs is 'many'; expected a whole number of at least 1"),
        ("{n_procs: 0}", "n_procs is 0"),
        ("{memory_gb: 0}", "memory_gb is 0; expected a number above 0"),
        ("{n_gpu_procs: x}", "n_gpu_procs is 'x'; expected a number of at least 0"),
        ("{mp_context: nope}", "mp_context is 'nope'; expected one of fork"),
        ("{n_procs: true}", "n_procs is True"),
        ("{memory_gb: .nan}", "memory_gb is nan"),
        ("{max_jobs: -1}", "max_jobs is -1"),
        ("{sbatch_args: [--time=60]}", r"sbatch_args is \['--time=60'\]; expected text"),
    ],
)
def test_arguments_of_another_type_are_refused(
    tmp_path: Path, arguments: str, message: str
) -> None:
    path = tmp_path / "plugin.yml"
    path.write_text(f"plugin: SLURM\nplugin_args: {arguments}\n")
    with pytest.raises(ConfigError, match=message):
        batch_queue.read_plugin(path)


def graph() -> pe.Workflow:
    inner = pe.Workflow(name="inner")
    inner.add_nodes([
        pe.Node(niu.IdentityInterface(fields=["a"]), name="light"),
        pe.Node(OnGpu(), name="heavy", n_procs=4, mem_gb=3.2),
    ])  # fmt: skip
    outer = pe.Workflow(name="outer")
    outer.add_nodes([inner])
    return outer


@pytest.mark.parametrize(
    ("user_arguments", "heavy"),
    [
        ("", "--cpus-per-task=4 --mem=3052M --gres=gpu:1"),  # 3.2e9 bytes are 3051.8 of 2^20
        ("--time=60 --mem=20G", "--cpus-per-task=4 --gres=gpu:1"),
        ("-c 2 --gres=gpu:a100:1", "--mem=3052M"),
    ],
)
def test_a_node_asks_slurm_for_what_it_declares(user_arguments: str, heavy: str) -> None:
    workflow = graph()
    batch_queue.ask_slurm(workflow, user_arguments)
    assert workflow.get_node("inner.heavy").plugin_args == {"sbatch_args": heavy}
    light = workflow.get_node("inner.light").plugin_args["sbatch_args"]
    assert user_arguments or light == "--cpus-per-task=1 --mem=573M"  # at least 0.6 GB


@pytest.mark.parametrize(("name", "queued"), [("SLURM", True), ("PBS", True), ("Linear", False)])
def test_only_batch_systems_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, queued: bool
) -> None:
    monkeypatch.delenv("LOGNAME", raising=False)
    path = tmp_path / "plugin.yml"
    path.write_text(f"plugin: {name}\n")
    config = RunConfig(
        bids_dir=tmp_path / "in", output_dir=tmp_path / "out", work_dir=tmp_path / "work",
        use_plugin=path,
    )  # fmt: skip
    before = nipype_config.get("execution", "job_finished_timeout")
    try:
        workflow = graph()
        batch_queue.ask_queue(workflow, config)
        assert batch_queue.is_queued(config) is queued
        assert ("LOGNAME" in batch_queue.os.environ) is queued
        assert bool(workflow.get_node("inner.heavy").plugin_args) is (name == "SLURM")
    finally:
        nipype_config.set("execution", "job_finished_timeout", before)
        monkeypatch.delenv("LOGNAME", raising=False)
