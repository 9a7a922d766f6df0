"""Segmentation tools by name.

To add one: a file in this folder with a subclass of
:class:`~bids_sr.engines.segmentation.base.SegmentationTool`, and a line in
:data:`SEGMENTATIONS`.  A tool is imported only when it is requested.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.engines import BUNDLED_TEMPLATE
from bids_sr.exceptions import ConfigError
from bids_sr.seed import DEFAULT_SEED

if TYPE_CHECKING:
    from bids_sr.engines.segmentation.base import SegmentationTool

SEGMENTATIONS = {
    "atropos": "atropos:Atropos",
    "wmh": "wmh:WhiteMatterHyperintensities",
    "nnunet": "nnunet:NnUNet",
    "synthseg": "synthseg:SynthSeg",
    "wmh-synthseg": "wmh_synthseg:WmhSynthSeg",
    "samseg": "samseg:Samseg",
    "lst-ai": "lst_ai:LstAi",
}
"""Name on the command line -> module in this folder and class."""


def make_segmentation(
    request: str,
    *,
    threads: int = 1,
    seed: int = DEFAULT_SEED,
    device: str = "cpu",
    template: str = BUNDLED_TEMPLATE,
) -> SegmentationTool:
    """Build the tool that ``--segmentation`` names.

    Parameters
    ----------
    request : str
        ``NAME``, or ``NAME=PATH`` for a tool that needs a folder or file.
    threads : int
    seed : int
    device : str
        Torch device of tools that use torch.
    template : str
        As in :func:`~bids_sr.engines.template.require_template`.

    Raises
    ------
    ConfigError
        If no such tool exists, or a path is missing or too many.
    """
    name, equals, path = request.partition("=")
    if name not in SEGMENTATIONS:
        raise ConfigError(
            f"--segmentation {request}: found no such tool; expected one of "
            f"{', '.join(SEGMENTATIONS)}."
        )
    module, _, kind = SEGMENTATIONS[name].partition(":")
    tool = getattr(import_module(f"{__name__}.{module}"), kind)
    if tool.takes_path != bool(equals and path):
        syntax = f"{name}=PATH" if tool.takes_path else name
        raise ConfigError(f"--segmentation {request}: expected {syntax}.")
    segmentation: SegmentationTool = tool(
        name=name,
        path=Path(path) if tool.takes_path else None,
        threads=threads,
        seed=seed,
        device=device,
        template=template,
    )
    return segmentation


def check_segmentations(requests: Iterable[str]) -> None:
    """Refuse tools that cannot run on this machine, before anything is processed.

    Parameters
    ----------
    requests : iterable of str
        As in :func:`make_segmentation`.

    Raises
    ------
    ConfigError
        If a name is unknown or given twice.
    MissingToolError
        If a program, a licence or a model is missing; the message says how to get it.
    """
    names: set[str] = set()
    for request in requests:
        tool = make_segmentation(request)
        if tool.name in names:
            raise ConfigError(
                f"--segmentation names {tool.name} more than once; expected each tool once, "
                "since its files carry its name."
            )
        names.add(tool.name)
        tool.check()
