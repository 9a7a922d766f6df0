"""Fused volumes in the raw-shaped view: one in the place of the stacks that it was made of."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bids_sr.bids.fused_outputs import DESC, RECORD
from bids_sr.bids.names import parse_name, specification
from bids_sr.files import read_json_or_empty
from bids_sr.records.fusion_record import FusionRecord

LABEL = "fusedSR"


@dataclass(frozen=True, kw_only=True)
class FusedProduct:
    """A fused volume in the output dataset."""

    path: Path
    metadata: dict[str, Any]
    stacks: tuple[str, ...]
    """Paths of the acquired images that were fused."""
    name: str
    """Its path in the view."""


def find_fused(output_dir: Path, subject: str, known: Container[str]) -> dict[str, FusedProduct]:
    """Find the fused volumes of the latest run.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    subject : str
        Label without ``sub-``.
    known : container of str
        Paths of the acquired images whose super-resolved ones would be in the view; a volume of
        others is left out.

    Returns
    -------
    dict of str to FusedProduct
        By the paths of its stacks.
    """
    volumes: dict[str, FusedProduct] = {}
    root = output_dir / f"sub-{subject}"
    latest = {}
    for path in root.glob(f"**/anat/*_desc-{DESC}_qc.json"):
        record = FusionRecord.from_dict(read_json_or_empty(path))
        if record.status == "done":
            latest[record.product] = record.used
    sidecars = sorted(root.glob(f"**/anat/*_desc-{DESC}_*.json"), key=_age)
    for sidecar in sidecars:
        path = sidecar.with_name(sidecar.name.replace(".json", ".nii.gz"))
        metadata = read_json_or_empty(sidecar)
        record = FusionRecord.from_dict(metadata.get(RECORD))
        current = record.status == "done" and latest.get(record.product) == record.used
        if current and path.is_file() and all(stack in known for stack in record.used):
            name = _view_name(path.name, record.used[0])
            volume = FusedProduct(path=path, metadata=metadata, stacks=record.used, name=name)
            volumes |= dict.fromkeys(record.used, volume)
    return volumes


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _view_name(product: str, stack: str) -> str:
    """Name a fused volume as a raw image: ``sub-01_rec-fusedSR_T2w.nii.gz``."""
    from bids.layout.writing import build_path

    name = parse_name(product)
    added = {"desc", "res", "resolution"}
    entities = {key: value for key, value in name.entities.items() if key not in added}
    entities["reconstruction"] = entities.get("reconstruction", "") + LABEL
    entities |= {"datatype": "anat", "suffix": name.suffix, "extension": ".nii.gz"}
    built = build_path(entities, specification()["patterns"], strict=True)
    assert isinstance(built, str), product
    return (PurePosixPath(stack).parent / PurePosixPath(built).name).as_posix()
