"""Nipype's MultiProc scheduler with a process for every step.

A step takes its memory with it when it ends, so that what the running steps declare is
what the run holds.  A step that the system kills (most often for memory) does not stop
the others, where Nipype's own scheduler would wait for it for ever.  Import this module
lazily: it imports Nipype.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

from bids_sr.cli.console import name_messages
from bids_sr.cli.environment import leave_signals_to_parent, limit_threads, signals_held_back

LOGGER = logging.getLogger(__name__)
END_SECONDS = 10.0


class StepKilledError(RuntimeError):
    """The process of a step was killed from outside."""


@dataclass
class _Step:
    """A node on its way: waiting for its process, or in it."""

    node: Any
    updatehash: bool
    process: ForkProcess | None = None
    results: Connection | None = None
    device: str | None = None
    tries: int = 0

    def take(self) -> dict[str, Any] | None:
        """Return what the process sent; None where it is not yet done, or died."""
        assert self.results is not None
        try:
            found: dict[str, Any] | None = self.results.recv() if self.results.poll() else None
        except (EOFError, OSError):  # it died
            return None
        return found


class SteadyMultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """Run every node in a process of its own; a killed process fails its own node only.

    A node that was killed is tried once more when nothing else runs.

    Besides Nipype's, ``plugin_args`` may hold ``name_of``, a function from the full name
    of a node to a name that is put before the messages of its process, and ``devices``,
    values of ``CUDA_VISIBLE_DEVICES``, one of which each GPU node gets for itself.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.__dict__.pop("pool").shutdown(wait=False)  # no process has been started yet
        self._name_of = plugin_args.get("name_of", lambda _: None)
        self._devices: Sequence[str] = plugin_args.get("devices", ())
        self._steps: dict[int, _Step] = {}
        self.peaks_gb: dict[str, float] = {}
        """Most memory that each step held, by the full name of its node; the killed lack."""

    def _sort_jobs(self, jobids: Any, scheduler: str = "tsort") -> list[Any]:
        """Finish an image before the next is begun, instead of all images step by step."""
        return sorted(jobids, key=lambda job: (_image_graph(self.procs[job].fullname), job))

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        if not any(step.process is None or step.tries > 1 for step in self._steps.values()):
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        self._steps[self._taskid] = step = _Step(node, updatehash)
        self._task_obj[self._taskid] = step
        self._start(self._taskid)
        return int(self._taskid)

    def _start(self, taskid: int) -> None:
        step = self._steps[taskid]
        step.tries += 1
        step.device = self._free_device() if step.node.is_gpu_node() else None
        step.results, sender = multiprocessing.Pipe(duplex=False)
        name = self._name_of(step.node.fullname)
        # A copy of this process: Nipype's settings come along.
        step.process = multiprocessing.get_context("fork").Process(
            target=self._run_step, args=(sender, step, taskid, name)
        )
        with signals_held_back():
            step.process.start()
        sender.close()  # so that the end of the process is seen

    def _run_step(self, sender: Connection, step: _Step, taskid: int, name: str | None) -> None:
        leave_signals_to_parent()  # which ends its children in stop
        process_initializer(self._cwd)
        if step.device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = step.device
        limit_threads(step.node.n_procs)
        name_messages(name)
        result = run_node(step.node, step.updatehash, taskid) | {"peak_gb": _peak_gb()}
        try:
            sender.send(result)
        except Exception as error:  # a result that cannot be pickled
            sender.send(_failure(taskid, error))

    def _free_device(self) -> str | None:
        taken = [step.device for step in self._steps.values() if step.process is not None]
        return min(self._devices, key=taken.count, default=None)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        step = self._steps[taskid]
        if step.process is None:
            if not any(other.process for other in self._steps.values()):
                self._start(taskid)
            return None
        alive = step.process.is_alive()  # asked first: what it sent before its end counts
        try:
            result = step.take()
        except Exception as error:  # what it sent cannot be read
            result = _failure(taskid, error)
        if result is not None:
            step.process.join(END_SECONDS)
            step.process.kill()  # a library's thread may keep it from ending
            step.process.join()
            name, peak = step.node.fullname, result.get("peak_gb", 0.0)
            self.peaks_gb[name] = peak
            LOGGER.debug("%s held %.2f GB, declared %.2f GB", name, peak, step.node.mem_gb)
        elif not alive:
            result = self._tried_again(taskid)
        return result

    def _tried_again(self, taskid: int) -> dict[str, Any] | None:
        """Let a killed step wait until it is alone, or say that it was killed again."""
        step = self._steps[taskid]
        if step.tries > 1:
            error = StepKilledError(
                "the process of this step was killed twice, most likely because memory "
                f"ran out (the step was expected to need {step.node.mem_gb:g} GB): free memory, "
                "or lower --nprocs, or give --low-mem"
            )
            return _failure(taskid, error)
        LOGGER.warning("the process of %s was killed; trying once more, alone", step.node.fullname)
        step.process = None
        return None

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        self._steps.pop(taskid, None)

    def _postrun_check(self) -> None:
        """Nothing is left: every process ended with its step."""

    def stop(self) -> None:
        """End all processes now; harmless after a normal end."""
        processes = [step.process for step in self._steps.values() if step.process]
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(OSError, ValueError, AssertionError):
                process.join(2)
                process.kill()
                process.join(2)


def _image_graph(fullname: str) -> str:
    """Return run, subject and image of a node's full name."""
    return ".".join(fullname.split(".")[:3])


def _peak_gb() -> float:
    """Return the largest resident memory of this process or of a program that it ran."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux: in KiB, and that of this program alone, which its ru_maxrss is not after a fork
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                own = int(line.split()[1])
    return max(own, children) * 1024 / 1e9


def _failure(taskid: int, error: Exception) -> dict[str, Any]:
    return {
        "taskid": taskid,
        "result": None,
        "traceback": [f"{type(error).__module__}.{type(error).__name__}: {error}\n"],
    }
