"""The graph of a run: built in a child process, drawn, and its work folders removed.

Building imports much; with the child it is gone again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bids_sr.compute.environment import leave_signals_to_parent, signals_held_back
from bids_sr.config import RunConfig
from bids_sr.exceptions import BidsSrError, ConfigError, in_words
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.system_errors import explain

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A workflow that was built, and the methods text gathered from it."""

    workflow: Any
    methods: str
    gpus: tuple[str, ...] = ()
    """Value of ``CUDA_VISIBLE_DEVICES`` for each GPU that torch computes on; ``""``: as it is."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Images that no graph could be built of, by their paths below the dataset, and why."""

    @property
    def folders(self) -> list[Path]:
        """Return the work folders of the images, and of the training on all of them."""
        root = Path(self.workflow.base_dir) / self.workflow.name
        names = self.workflow.list_node_names()  # subject, image, step, node
        return sorted({root.joinpath(*name.split(".")[:2]) for name in names})

    def without_refused(self, images: Iterable[AnatImage]) -> list[AnatImage]:
        """Fail the images that the graph could not be built of."""
        for relpath, reason in self.refused.items():
            LOGGER.warning("%s: %s", relpath, reason)
        return [
            replace(image, action="fail", reason=self.refused[image.relpath])
            if image.relpath in self.refused
            else image
            for image in images
        ]

    @contextlib.contextmanager
    def claim(self, output_dir: Path, images: Iterable[str]) -> Iterator[None]:
        """Keep other runs from the same images of an output folder, and from the work folders."""
        from bids_sr.files import claimed

        root = Path(self.workflow.base_dir) / self.workflow.name
        folders = [str(folder.relative_to(root)) for folder in self.folders]
        with (
            claimed(output_dir / "logs" / ".images.lock", images, what=str(output_dir)),
            claimed(root / ".folders.lock", folders, what=str(root)),
        ):
            yield


def build(config: RunConfig, images: Sequence[AnatImage]) -> Graph:
    """Build the graph in a child process, whose imports are gone afterwards."""
    with ProcessPoolExecutor(max_workers=1, initializer=leave_signals_to_parent) as pool:
        try:
            with signals_held_back():  # the process begins here
                building = pool.submit(_build, config, list(images))
            return building.result()
        except BrokenProcessPool as error:
            raise ExitError(
                ExitCode.NO_WORKFLOW,
                "the process that built the workflow was killed, most likely because memory "
                "ran out: free memory and run again",
            ) from error
        except BidsSrError:
            raise
        except Exception as error:
            if explained := explain(error):
                raise ExitError(explained[1], explained[0]) from error
            LOGGER.exception("the workflow could not be built")
            raise ExitError(
                ExitCode.NO_WORKFLOW,
                f"no workflow could be built ({type(error).__name__}: {error}); this is an "
                "error of bids_sr: please report it with the lines above",
            ) from error
        except BaseException:  # the user or the system ends the run
            for process in (getattr(pool, "_processes", None) or {}).values():
                process.terminate()
            raise


def _build(config: RunConfig, images: list[AnatImage]) -> Graph:
    # mypy does not know where setuptools puts workflows/
    from bids_sr.workflows.base import (  # type: ignore[import-not-found,unused-ignore]
        init_bids_sr_wf,
        methods_text,
    )

    gpus = gpus_for(config.device)

    def workflow_of(images: Sequence[AnatImage]) -> Any:
        return init_bids_sr_wf(config, images, use_gpu=bool(gpus))

    refused: dict[str, str] = {}
    try:
        workflow = workflow_of(images)
    except Exception as error:
        refused = _refused(images, workflow_of, error)
        workflow = workflow_of([image for image in images if image.relpath not in refused])
    methods = ""
    try:
        methods = methods_text(workflow)
    except Exception:  # images are worth more than a text about them
        LOGGER.warning("no methods text: gathering it failed", exc_info=True)
    return Graph(workflow=workflow, methods=methods, gpus=gpus, refused=refused)


def _refused(
    images: Sequence[AnatImage],
    workflow_of: Callable[[Sequence[AnatImage]], Any],
    error: Exception,
) -> dict[str, str]:
    """Find the images of which alone no graph can be built; none or all: the error is raised."""
    refused, good = {}, 0
    for image in images:
        if not image.processed:
            continue
        try:
            workflow_of([image])
            good += 1
        except Exception as own:
            LOGGER.debug("%s: no graph", image.stem, exc_info=True)
            refused[image.relpath] = f"no steps could be planned for it: {in_words(own)}"
    if not refused or not good:
        raise error
    return refused


def named_nodes(workflow: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Walk through all nodes with their full names, which they know only in a run.

    Nipype's ``get_node`` compares each name with those of all subjects.
    """
    path = f"{above}{workflow.name}."
    for node in workflow._graph.nodes:
        if hasattr(node, "_graph"):
            yield from named_nodes(node, path)
        else:
            yield f"{path}{node.name}", node


def gpus_for(device: str) -> tuple[str, ...]:
    """List the GPUs that torch will compute on, as ``CUDA_VISIBLE_DEVICES`` names each.

    The empty name stands for a device that the user chose by its number (``cuda:1``, ``mps``).

    Raises
    ------
    ConfigError
        If a device was asked for that is absent.
    """
    if device == "cpu" or (device == "auto" and not _has_nvidia_device()):
        return ()
    import torch

    if device == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError("--device mps: this machine has no such device; give --device cpu")
        return ("",)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(device.partition(":")[2] or 0)
    if device != "auto" and index >= count:
        raise ConfigError(
            f"--device {device}: torch {torch.__version__} sees {count} CUDA devices; "
            "install a CUDA build of torch and check the driver, or give --device cpu"
        )
    if ":" in device:
        return ("",)
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    names = [name for name in visible if name] or [str(number) for number in range(count)]
    return tuple(names[:count])


def _has_nvidia_device() -> bool:
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def write_graph(graph: Graph, config: RunConfig) -> Path:
    """Draw the graph as ``logs/workflow.svg``, or as text where Graphviz is missing."""
    kind = "svg" if shutil.which("dot") else "dot"
    path = config.output_dir / "logs" / f"workflow.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".graph-", dir=path.parent) as folder:  # jobs share the name
        graph.workflow.write_graph(
            dotfilename=str(Path(folder) / "workflow.dot"),
            graph2use="colored",
            format=kind,
            simple_form=True,
        )
        return (Path(folder) / path.name).replace(path)


def clean_work(graph: Graph) -> None:
    """Remove what earlier runs left of these images; other jobs may share the folder."""
    for folder in graph.folders:
        if folder.is_dir():
            shutil.rmtree(folder)
            LOGGER.info("removed %s", folder)
