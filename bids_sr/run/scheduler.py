"""Nipype's MultiProc scheduler with a process for every step, and a fence around each.

A step takes its memory with it when it ends, so that what the running steps declare is
what the run holds.  A step that the system kills (most often for memory) does not stop
the others, where Nipype's own scheduler would wait for it for ever; nor does one whose
inputs or kept result cannot be read, where Nipype's would end the run.  Where the image is
good without a step, it does not even stop the image.  Import this module lazily: it imports
Nipype.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from traceback import format_exception
from typing import Any

import numpy as np
import numpy.typing as npt
from nipype.pipeline.engine.utils import save_resultfile, topological_sort
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

from bids_sr.compute.environment import leave_signals_to_parent, limit_threads, signals_held_back
from bids_sr.compute.memory import peak_memory_gb
from bids_sr.exceptions import StepKilledError
from bids_sr.interfaces.optional import OptionalStep
from bids_sr.run.console import name_messages
from bids_sr.run.crashes import last_exception
from bids_sr.run.resume import drop_broken_result
from bids_sr.run.steps_of_several import skipped_with

LOGGER = logging.getLogger(__name__)
END_SECONDS = 10.0
_LEAST_GB = 0.01


@dataclass
class _Step:
    """A node on its way: waiting for its process, or in it."""

    node: Any
    updatehash: bool
    process: ForkProcess | None = None
    results: Connection | None = None
    device: str | None = None
    tries: int = 0
    error: Exception | None = None
    """Why its process could not be started."""

    @property
    def can_be_left_out(self) -> bool:
        """Whether the image is good without this step, which is still to be told so."""
        interface = self.node.interface
        return isinstance(interface, OptionalStep) and not interface.inputs.give_up

    def leave_out(self, reason: str) -> None:
        """Let the next try do without the step, under a hash of its own."""
        self.node.set_input("give_up", reason)
        self.node._hashvalue = self.node._hashed_inputs = None

    def take(self) -> dict[str, Any] | None:
        """Return what the process sent; None where it is not yet done, or died."""
        assert self.results is not None
        try:
            result: dict[str, Any] | None = self.results.recv() if self.results.poll() else None
        except (EOFError, OSError):  # it died
            return None
        return result


class _Dependencies:
    """How many of the nodes before each have not ended; read as Nipype reads its matrix.

    Nipype adds up a sparse matrix of all nodes at each look: 6 ms for 480 nodes, growing.
    """

    def __init__(self, graph: Any, nodes: Sequence[Any]) -> None:
        places = {node: place for place, node in enumerate(nodes)}
        self.after = [[places[after] for after in graph.successors(node)] for node in nodes]
        self.left: npt.NDArray[np.int64] = np.array([graph.in_degree(node) for node in nodes])

    def end(self, job: int) -> None:
        """Take a node for ended."""
        self.left[self.after[job]] -= 1

    def sum(self, axis: int) -> npt.NDArray[np.int64]:
        """Return the counts as a (1, nodes) array."""
        assert axis == 0
        return self.left[np.newaxis]


class SteadyMultiProcPlugin(MultiProcPlugin):
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
        self._place: dict[int, int] = {}
        self._seen: tuple[int, int] | None = None
        self.peaks_gb: dict[str, float] = {}
        """Most memory that each step held, by the full name of its node; the killed lack."""
        self.failures: dict[str, list[str]] = {}
        """Traceback of each node that failed, by its full name."""

    def _generate_dependency_list(self, graph: Any) -> None:
        self.procs, _ = topological_sort(graph)
        self.depidx = _Dependencies(graph, self.procs)
        self.proc_done = np.zeros(len(self.procs), dtype=bool)
        self.proc_pending = np.zeros(len(self.procs), dtype=bool)
        # An image is finished before the next is begun, instead of all images step by step.
        order = sorted(
            range(len(self.procs)), key=lambda job: (_image_graph(self.procs[job].fullname), job)
        )
        self._place = {job: place for place, job in enumerate(order)}

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        """Begin the steps that there is room for; one that cannot be begun fails alone.

        Nipype's own collects garbage in all of the graph at each look.
        """
        if any(step.process is None or step.tries > 1 for step in self._steps.values()):
            return
        seen = (int(self.proc_done.sum()), len(self.pending_tasks))
        if seen == self._seen:  # nothing has ended or begun since
            return
        self._enter()
        while self._begin_ready(updatehash, graph):  # what ended at once made others ready
            pass
        self._seen = (int(self.proc_done.sum()), len(self.pending_tasks))

    def _begin_ready(self, updatehash: bool, graph: Any) -> bool:
        """Begin what is ready and has room; tell whether any of it has ended already."""
        ended = False
        ready = np.flatnonzero(~self.proc_done & (self.depidx.left == 0)).tolist()
        room = self._check_resources(self.pending_tasks)
        for job in sorted(ready, key=self._place.__getitem__):
            if room[0] < _LEAST_GB or room[1] == 0:
                break
            needed = self._needed(self.procs[job])
            if all(have >= need for have, need in zip(room, needed, strict=True)):
                self.proc_done[job] = self.proc_pending[job] = True
                if self._begin(job, updatehash, graph):
                    room = tuple(have - need for have, need in zip(room, needed, strict=True))
                else:
                    ended = True
        return ended

    def _enter(self) -> None:
        """Work in the folder of the run, which somebody may have removed."""
        with contextlib.suppress(FileNotFoundError):
            if str(Path.cwd()) == self._cwd:
                return
        Path(self._cwd).mkdir(parents=True, exist_ok=True)
        os.chdir(self._cwd)

    def _needed(self, node: Any) -> tuple[float, int, int]:
        """Return memory (GB), processors and GPU slots; all that there is, where more is asked."""
        slots = min(node.n_procs, self.n_gpu_procs) if node.is_gpu_node() else 0
        return min(node.mem_gb, self.memory_gb), min(node.n_procs, self.processors), slots

    def _begin(self, job: int, updatehash: bool, graph: Any) -> bool:
        """Begin a step; False where it has already ended: kept, done here, or failed."""
        node = self.procs[job]
        try:
            if node.run_without_submitting and node.interface.always_run:
                self._run_bare(job)
                return False
            drop_broken_result(node)
            if self._local_hash_check(job, graph):
                return False
            if node.run_without_submitting:
                node.run(updatehash=updatehash)
                self._task_finished_cb(job)
                return False
            if self._status_callback:
                self._status_callback(node, "start")
            self.pending_tasks.insert(0, (self._submit_job(node, updatehash), job))
        except Exception as error:  # of this step alone: what it reads cannot be read, say
            traceback = format_exception(error)
            self._run_errors.append("".join(traceback))
            self._clean_queue(job, graph, result={"result": None, "traceback": traceback})
            return False
        return True

    def _run_bare(self, job: int) -> None:
        """Run a step that runs here and each time.

        Nipype would read its inputs to the last byte, for a hash that nobody compares, and keep
        them; only what a later step asks for is kept.
        """
        node = self.procs[job]
        node._get_inputs()
        result = node.interface.run()
        if self.depidx.after[job]:
            Path(node.output_dir()).mkdir(parents=True, exist_ok=True)
            save_resultfile(result, node.output_dir(), node.name, rebase=False)
        self._task_finished_cb(job)

    def _task_finished_cb(self, jobid: int, cached: bool = False) -> None:
        if self._status_callback:
            self._status_callback(self.procs[jobid], "end")
        self.proc_pending[jobid] = False
        self.depidx.end(jobid)

    def _remove_node_deps(self, jobid: int, crashfile: Any, graph: Any) -> dict[str, Any]:
        """Skip what waits for a node that failed; a step of several images goes on without it."""
        node = self.procs[jobid]
        place = {other: job for job, other in enumerate(self.procs)}
        dependents, detached = skipped_with(graph, node)
        for _, after in detached:
            self.depidx.left[place[after]] -= 1
        for skipped in dependents:
            self.proc_done[place[skipped]] = True
            self.proc_pending[place[skipped]] = False
        self._seen = None  # what went on without it may be ready
        return {"node": node, "dependents": dependents, "crashfile": crashfile}

    def _report_crash(self, node: Any, result: Any = None) -> Any:
        self.failures[node.fullname] = list(result["traceback"]) if result else []
        try:
            return super()._report_crash(node, result=result)
        except Exception as error:
            LOGGER.warning("no crash report of %s can be written: %s", node.fullname, error)
            return None

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
        try:
            with signals_held_back():
                step.process.start()
        except OSError as error:  # too many processes, or no memory for one more
            LOGGER.warning("no process can be started: %s", error)
            step.process, step.error = None, error
        sender.close()  # so that the end of the process is seen

    def _run_step(self, sender: Connection, step: _Step, taskid: int, name: str | None) -> None:
        leave_signals_to_parent()  # which ends its children in stop
        try:
            self._enter()
            if step.device is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = step.device
            limit_threads(step.node.n_procs)
            name_messages(name)
            OptionalStep.scheduled = True  # its failure is dealt with in _get_result
            result = run_node(step.node, step.updatehash, taskid)
            sender.send(result | {"peak_gb": peak_memory_gb(with_children=True)})
        except Exception as error:  # a result that cannot be pickled, for one
            sender.send(_failure(taskid, error))

    def _free_device(self) -> str | None:
        devices = [step.device for step in self._steps.values() if step.process is not None]
        return min(self._devices, key=devices.count, default=None)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        step = self._steps[taskid]
        if step.process is None:
            if any(other.process for other in self._steps.values()):
                return None
            if step.error is not None and step.tries > 1:
                return _failure(taskid, step.error)
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
        if result and result["traceback"] and step.can_be_left_out:
            text = "".join(result["traceback"])
            reason = last_exception(text.splitlines())
            LOGGER.warning("%s failed: %s", step.node.fullname, reason)
            LOGGER.debug("%s", text)
            if "MemoryError" in text and step.tries == 1:  # alone it may have enough
                step.process = None
                return None
            step.leave_out(reason)
            self._start(taskid)
            return None
        return result

    def _tried_again(self, taskid: int) -> dict[str, Any] | None:
        """Let a killed step wait until it is alone, or say that it was killed again."""
        step = self._steps[taskid]
        if step.tries > 1:
            return _failure(taskid, StepKilledError(_killed_words(step)))
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


def _killed_words(step: _Step) -> str:
    """Say how a process ended that sent nothing; the system ends by SIGKILL what lacks memory."""
    code = getattr(step.process, "exitcode", None) or 0
    if code < 0 and code != -signal.SIGKILL:
        name = signal.Signals(-code).name
        return f"the process of this step crashed twice ({name}): an error of a library it calls"
    return (
        "the process of this step was killed twice, most likely because memory ran out (the step "
        f"was expected to need {step.node.mem_gb:g} GB): free memory, or lower --nprocs, or give "
        "--low-mem"
    )


def _image_graph(fullname: str) -> str:
    """Return run, subject and image of a node's full name."""
    return ".".join(fullname.split(".")[:3])


def _failure(taskid: int, error: Exception) -> dict[str, Any]:
    return {
        "taskid": taskid,
        "result": None,
        "traceback": [f"{type(error).__module__}.{type(error).__name__}: {error}\n"],
    }
