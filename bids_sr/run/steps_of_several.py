"""Steps of several images under any scheduler: they go on without an image that failed.

Nipype skips all that waits for a node that failed.  A step of several images
(:class:`.StepOfSeveralImages`) runs without what that node would have given it.  Import this
module lazily: it imports Nipype.
"""

from __future__ import annotations

from typing import Any

from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.base import DistributedPluginBase, report_crash, report_nodes_not_run
from nipype.pipeline.plugins.linear import LinearPlugin

from bids_sr.interfaces.optional import StepOfSeveralImages


def skipped_with(graph: Any, node: Any) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Tell what a node that failed takes with it, and detach from it what goes on.

    Parameters
    ----------
    graph : networkx.DiGraph
        The graph that is run.
    node : nipype.pipeline.engine.Node
        A node that failed.

    Returns
    -------
    skipped : list of Node
        The node itself and all that needs it.
    detached : list of (Node, Node)
        Edges to steps of several images that no longer count; each is returned once in a run.
    """
    skipped, detached, waiting = [node], [], [node]
    while waiting:
        before = waiting.pop()
        for after in graph.successors(before):
            names = [name for _, name in graph.get_edge_data(before, after)["connect"]]
            several = isinstance(after.interface, StepOfSeveralImages)
            if several and all(after.interface.can_lack(name) for name in names):
                sources = [after.input_source.pop(name, None) for name in names]
                detached += [(before, after)] if any(sources) else []
            elif after not in skipped:
                skipped.append(after)
                waiting.append(after)
    return skipped, detached


class _GoesOn:
    """What a scheduler of jobs, on a batch system or here, does when a node has failed."""

    procs: list[Any]
    depidx: Any
    proc_done: Any
    proc_pending: Any

    def _remove_node_deps(self, jobid: int, crashfile: Any, graph: Any) -> dict[str, Any]:
        node = self.procs[jobid]
        place = {other: job for job, other in enumerate(self.procs)}
        skipped, detached = skipped_with(graph, node)
        for before, after in detached:
            self.depidx[place[before], place[after]] = 0
        for other in skipped:
            self.proc_done[place[other]] = True
            self.proc_pending[place[other]] = False
        return {"node": node, "dependents": skipped, "crashfile": crashfile}


class SteadyLinearPlugin(LinearPlugin):  # type: ignore[misc]
    """Run one node after the other; a node that was skipped is not reported as ended."""

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph.

        Raises
        ------
        Exception
            That of the first node that failed, when all others have been tried.
        """
        stop = str(config["execution"]["stop_on_first_crash"]).lower() == "true"
        skipped: set[Any] = set()
        reports, errors = [], []
        for node in topological_sort(graph)[0]:
            if node in skipped:
                continue
            self._tell(node, "start")
            try:
                node.run(updatehash=updatehash)
            except Exception as error:
                gone, _ = skipped_with(graph, node)
                skipped |= {*gone}
                crash = report_crash(node)
                reports.append({"node": node, "dependents": gone, "crashfile": crash})
                errors.append(error)
                self._tell(node, "exception")
                if stop:
                    break
            else:
                self._tell(node, "end")
        report_nodes_not_run(reports)
        if errors:
            raise errors[0]

    def _tell(self, node: Any, status: str) -> None:
        if self._status_callback:
            self._status_callback(node, status)


def goes_on(plugin: type) -> type:
    """Return a scheduler of Nipype that runs steps of several images without what failed.

    Parameters
    ----------
    plugin : type
        One of Nipype's; of an unknown kind it is returned as it is.
    """
    if plugin is LinearPlugin:
        return SteadyLinearPlugin
    if issubclass(plugin, DistributedPluginBase):
        return type(plugin.__name__, (_GoesOn, plugin), {})
    return plugin
