"""Nipype's MultiProc scheduler, made to survive a killed worker and to end its children.

With Nipype's own, a worker that the system kills (most often for memory) leaves the run
waiting for ever.  Import this module lazily: it imports Nipype.
"""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

from bids_sr.cli.console import name_messages
from bids_sr.cli.environment import leave_signals_to_parent

LOGGER = logging.getLogger(__name__)


class StepKilledError(RuntimeError):
    """The process of a step was killed from outside."""


def _initialise_worker(cwd: str) -> None:
    leave_signals_to_parent()  # which ends its workers in SteadyMultiProcPlugin.stop
    process_initializer(cwd)


def _run_named(node: Any, updatehash: bool, taskid: int, name: str | None) -> dict[str, Any]:
    name_messages(name)
    result: dict[str, Any] = run_node(node, updatehash, taskid)
    return result


class SteadyMultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """Run nodes in a pool of processes; a killed process fails its own node only.

    All nodes in flight are lost with a pool.  Each is tried once more in a process of its
    own, so that the guilty one is found and the others finish.

    Besides Nipype's, ``plugin_args`` may hold ``name_of``: a function from the full name
    of a node to a name that is put before the messages of its process.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        nipypes_own: ProcessPoolExecutor = self.__dict__.pop("pool")
        nipypes_own.shutdown(wait=False)  # no process has been started yet
        self.pool: ProcessPoolExecutor = self._new_pool(self.processors)
        self._name_of = plugin_args.get("name_of", lambda _: None)
        self._single_pools: dict[int, ProcessPoolExecutor] = {}
        self._in_flight: dict[int, tuple[Any, bool]] = {}

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=workers, initializer=_initialise_worker, initargs=(self._cwd,)
        )

    def _sort_jobs(self, jobids: Any, scheduler: str = "tsort") -> list[Any]:
        """Finish an image before the next is begun, instead of all images step by step."""
        return sorted(jobids, key=lambda job: (_image_graph(self.procs[job].fullname), job))

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        self._in_flight[self._taskid] = (node, updatehash)
        try:
            future = self._submit(self.pool, self._taskid)
        except BrokenProcessPool:
            self.pool = self._new_pool(self.processors)
            future = self._submit(self.pool, self._taskid)
        self._task_obj[self._taskid] = future
        return int(self._taskid)

    def _submit(self, pool: ProcessPoolExecutor, taskid: int) -> Future[dict[str, Any]]:
        node, updatehash = self._in_flight[taskid]
        name = self._name_of(node.fullname)
        return pool.submit(_run_named, node, updatehash, taskid, name)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        future: Future[dict[str, Any]] = self._task_obj[taskid]
        if not future.done():
            return None
        try:
            return future.result()
        except BrokenProcessPool:
            node, _ = self._in_flight[taskid]
            if taskid in self._single_pools:
                error = StepKilledError(
                    "the process of this step was killed twice, most likely because memory "
                    f"ran out (the step was expected to need {node.mem_gb:g} GB): free memory, "
                    "or lower --nprocs, or give --low-mem"
                )
                return _failure(taskid, error)
            LOGGER.warning("the process of %s was killed; trying once more, alone", node.fullname)
            self._single_pools[taskid] = pool = self._new_pool(1)
            self._task_obj[taskid] = self._submit(pool, taskid)
            return None
        except Exception as error:  # e.g. a result that cannot be pickled
            return _failure(taskid, error)

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        self._in_flight.pop(taskid, None)
        if pool := self._single_pools.pop(taskid, None):
            pool.shutdown(wait=False)

    def stop(self) -> None:
        """End all worker processes now; harmless after a normal end."""
        for pool in [self.pool, *self._single_pools.values()]:
            processes = list((getattr(pool, "_processes", None) or {}).values())
            for process in processes:
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    process.terminate()
            for process in processes:
                with contextlib.suppress(OSError, ValueError, AssertionError, AttributeError):
                    process.join(2)
                    process.kill()
                    process.join(2)
            pool.shutdown(wait=False, cancel_futures=True)


def _image_graph(fullname: str) -> str:
    """Return run, subject and image of a node's full name."""
    return ".".join(fullname.split(".")[:3])


def _failure(taskid: int, error: Exception) -> dict[str, Any]:
    return {
        "taskid": taskid,
        "result": None,
        "traceback": [f"{type(error).__module__}.{type(error).__name__}: {error}\n"],
    }
