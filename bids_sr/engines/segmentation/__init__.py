"""Segmentation tools by name.

To add one: a file in this folder with a subclass of
:class:`~bids_sr.engines.segmentation.base.SegmentationTool`, and a line in
:data:`SEGMENTATIONS`.  Nothing here imports a tool before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.engines import BUNDLED_TEMPLATE
from bids_sr.exceptions import ConfigError

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
    asked: str,
    *,
    threads: int = 1,
    seed: int = 0,
    device: str = "cpu",
    template: str = BUNDLED_TEMPLATE,
) -> SegmentationTool:
    """Build the tool that ``--segmentation`` names.

    Parameters
    ----------
    asked : str
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
    name, equals, path = asked.partition("=")
    if name not in SEGMENTATIONS:
        raise ConfigError(
            f"--segmentation {asked}: found no such tool; expected one of "
            f"{', '.join(SEGMENTATIONS)}."
        )
    module, _, kind = SEGMENTATIONS[name].partition(":")
    tool = getattr(import_module(f"{__name__}.{module}"), kind)
    if tool.takes_path != bool(equals and path):
        wanted = f"{name}=PATH" if tool.takes_path else name
        raise ConfigError(f"--segmentation {asked}: expected {wanted}.")
    made: SegmentationTool = tool(
        name=name,
        path=Path(path) if tool.takes_path else None,
        threads=threads,
        seed=seed,
        device=device,
        template=template,
    )
    return made


def check_segmentations(asked: Iterable[str]) -> None:
    """Refuse what cannot run on this machine, before anything is processed.

    Parameters
    ----------
    asked : iterable of str
        As in :func:`make_segmentation`.

    Raises
    ------
    ConfigError
        If a name is unknown or stands there twice.
    MissingToolError
        If a program, a licence or a model is missing; the message says how to get it.
    """
    seen: set[str] = set()
    for one in asked:
        tool = make_segmentation(one)
        if tool.name in seen:
            raise ConfigError(
                f"--segmentation names {tool.name} more than once; expected each tool once, "
                "since its files carry its name."
            )
        seen.add(tool.name)
        tool.check()
