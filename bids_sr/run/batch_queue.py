"""Steps as jobs of a batch system: Nipype's plugins, named by ``--use-plugin``.

Nipype submits; what each job asks for is said here.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from pathlib import Path
from typing import Any

from bids_sr.config import RunConfig
from bids_sr.exceptions import ConfigError
from bids_sr.files import read_yaml
from bids_sr.run.graph import named_nodes

HERE = ("MultiProc", "LegacyMultiProc", "Linear", "Debug")
"""Plugins that run nodes on this machine, within the memory of this process."""
POLL_SECONDS = 5.0  # every look asks the batch system once for each job
FILE_SECONDS = 60  # until another machine sees a file that was written
LEAST_GB = 0.6
"""Memory of a process that loads an image and its libraries."""
_COUNTS = ("n_procs", "max_jobs")
_NUMBERS = ("n_gpu_procs", "memory_gb", "max_tries", "retry_timeout")
_TEXTS = ("sbatch_args", "qsub_args", "bsub_args", "template", "scheduler", "mp_context")


def is_queued(config: RunConfig) -> bool:
    """Tell whether the steps run elsewhere, each with memory of its own."""
    return config.use_plugin is not None and read_plugin(config.use_plugin)[0] not in HERE


def ask_queue(workflow: Any, config: RunConfig) -> None:
    """Prepare Nipype and the nodes for a batch system, where one was asked for.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        The graph; its nodes are changed in place.
    config : RunConfig
        The run.
    """
    if not is_queued(config):
        return
    from nipype import config as nipype_config

    assert config.use_plugin is not None
    name, arguments = read_plugin(config.use_plugin)
    execution = {"poll_sleep_duration": POLL_SECONDS, "job_finished_timeout": FILE_SECONDS}
    nipype_config.update_config({"execution": execution})
    # Nipype names its jobs after it, and containers and cron do without
    os.environ.setdefault("LOGNAME", str(os.getuid()))
    if name == "SLURM":
        ask_slurm(workflow, arguments.get("sbatch_args", ""))


def ask_slurm(workflow: Any, user_arguments: str = "") -> None:
    """Let every node ask Slurm for the CPUs, the memory and the GPU that it declares.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        The graph; its nodes are changed in place.
    user_arguments : str
        Options of sbatch for all nodes, from the user; what they name is left to them.
    """

    def named(option: str) -> bool:
        starts = (option, "-c") if option == "--cpus-per-task" else (option,)
        return any(word.startswith(starts) for word in user_arguments.split())

    for _, node in named_nodes(workflow):
        mebibytes = math.ceil(max(node.mem_gb, LEAST_GB) * 1e9 / 2**20)
        requests = {"--cpus-per-task": str(node.n_procs), "--mem": f"{mebibytes}M"}
        if getattr(node.interface.inputs, "use_gpu", False):
            requests["--gres"] = "gpu:1"
        words = [f"{option}={value}" for option, value in requests.items() if not named(option)]
        node.plugin_args = {"sbatch_args": " ".join(words)}


def read_plugin(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the YAML file of ``--use-plugin``: ``plugin`` and ``plugin_args``.

    Raises
    ------
    ConfigError
        The file cannot be read, does not name a plugin of Nipype, or has arguments of another
        type than the plugin takes.
    """
    from nipype.pipeline import plugins

    content = read_yaml(path, what="--use-plugin", error=ConfigError)
    name = content.get("plugin")
    if not isinstance(name, str) or not hasattr(plugins, f"{name}Plugin"):
        raise ConfigError(
            f"--use-plugin {path} names the plugin {name!r}: expected a file such as\n"
            "plugin: SLURM\nplugin_args: {sbatch_args: --time=60}"
        )
    if "Graph" in name or name == "CondorDAGMan":
        raise ConfigError(
            f"--use-plugin {path}: {name} returns before the steps have run, so failures go "
            "unnoticed; expected a plugin that waits, such as SLURM, SGE or PBS"
        )
    return name, _plugin_args(path, content.get("plugin_args"))


def _plugin_args(path: Path, values: Any) -> dict[str, Any]:
    """Check the arguments of a plugin, as far as Nipype's own take them."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"--use-plugin {path}: plugin_args is {values!r}; expected a mapping such as "
            "{sbatch_args: --time=60}"
        )
    for name, value in values.items():
        expected = _expected(name, value)
        if expected:
            raise ConfigError(f"--use-plugin {path}: {name} is {value!r}; expected {expected}")
    return dict(values)


def _expected(name: Any, value: Any) -> str:
    """Say what an argument should be; empty where it is that, or is not known to us."""
    if name in _COUNTS and not (type(value) is int and value > 0):
        return "a whole number of at least 1"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _NUMBERS and not (number and 0 <= value < math.inf):
        return "a number of at least 0"
    if name == "memory_gb" and not value:
        return "a number above 0"
    if name in _TEXTS and not isinstance(value, str):
        return "text"
    methods = multiprocessing.get_all_start_methods()
    return f"one of {', '.join(methods)}" if name == "mp_context" and value not in methods else ""
