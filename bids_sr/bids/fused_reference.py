"""A fused volume as the reference of its kind: the copy that other tools take.

Where one of the stacks is the reference T1w or T2w, the fused volume takes its place, under the
entities that the stacks share.  Without a fused volume the stack itself stays the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_sr.bids.derivatives import output_paths
from bids_sr.bids.fused_outputs import RECORD, FusedPaths, fused_paths, read_fusion
from bids_sr.bids.image import AnatImage
from bids_sr.bids.output_sidecars import beside_metadata, own_uri
from bids_sr.bids.selection import ReferenceRule
from bids_sr.bids.stacks import StackGroup, stack_groups
from bids_sr.files import read_json_or_empty
from bids_sr.files.writing import copy_atomic, write_json_atomic
from bids_sr.records.fusion_record import FusionRecord

WITH_MASK = "T1w"
"""Suffix of the reference whose brain mask other tools take."""


@dataclass(kw_only=True)
class FusedReferences:
    """Hold which references are fused volumes now."""

    paths: dict[str, FusedPaths] = field(default_factory=dict)
    """By the path of the stack that was chosen as the reference."""
    notes: list[str] = field(default_factory=list)
    """One sentence for each fused volume that is not provided."""


def provide_fused(
    output_dir: Path,
    images: Sequence[AnatImage],
    rule: ReferenceRule,
    fused: Collection[str],
) -> FusedReferences:
    """Provide the fused volumes of this run in the place of the stacks that are references.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    images : sequence of AnatImage
        The plan of one subject, after the run; references chosen.
    rule : ReferenceRule
        By which they were chosen.
    fused : collection of str
        Names of the groups of stacks whose step ended in this run, whatever came of it.

    Notes
    -----
    The copy of the stack and its mask without ``space-`` give way, so that there is one of a kind.
    A stack whose own entities were asked for (``--anat-reference acq=ax``) stays the reference.
    """
    result = FusedReferences()
    chosen = {image.fused_into: image for image in images if image.is_reference}
    for group in stack_groups(images):
        reference = chosen.get(group.name)
        if reference is None or group.name not in fused or asked_alone(reference, group, rule):
            continue
        record, paths = read_fusion(output_dir, group), fused_paths(output_dir, group)
        if record.status != "done":
            continue
        single = output_paths(output_dir, reference)
        assert single.preproc is not None
        if not paths.mask.exists() and not single.preproc.exists():
            result.notes.append(
                f"{group.name}: not provided as {paths.preproc.name}: no brain was found"
            )
            continue
        _write(output_dir, paths, record, reference)
        if single.preproc != paths.preproc:
            move(single.preproc, None)
        if reference.suffix == WITH_MASK and single.mask not in (paths.preproc_mask, paths.mask):
            move(single.mask, spaced(single.mask))
        result.paths[reference.relpath] = paths
    return result


def asked_alone(reference: AnatImage, group: StackGroup, rule: ReferenceRule) -> bool:
    """Tell whether the user asked for this stack by entities that not all of them have."""
    every = all(rule.prefers(member.entities) for member in group.members)
    return reference.reference_asked and not every


def made_of(path: Path) -> FusionRecord:
    """Read how a file was fused; without a status where it was not."""
    sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
    return FusionRecord.from_dict(read_json_or_empty(sidecar).get(RECORD))


def spaced(mask: Path) -> Path:
    """Name a brain mask as those of other images than the reference."""
    return mask.with_name(mask.name.replace("_desc-", f"_space-{WITH_MASK}_desc-"))


def move(image: Path, target: Path | None) -> None:
    """Rename an image and its sidecar, or remove both; nothing where there is none."""
    for kind in (".nii.gz", ".json"):
        path = image.with_name(image.name.replace(".nii.gz", kind))
        if target is not None and path.exists():
            path.replace(target.with_name(target.name.replace(".nii.gz", kind)))
        path.unlink(missing_ok=True)


def _write(
    output_dir: Path, paths: FusedPaths, record: FusionRecord, reference: AnatImage
) -> None:
    product = paths.products[record.frame]
    copy_atomic(product, paths.preproc)
    write_json_atomic(_sidecar(paths.preproc), _metadata(output_dir, product, record, reference))
    if reference.suffix != WITH_MASK or not paths.mask.exists():
        move(paths.preproc_mask, None)
        return
    copy_atomic(paths.mask, paths.preproc_mask)
    words = f"Brain mask of the fused {reference.suffix} volume"
    beside = beside_metadata(output_dir, paths.preproc, words)
    beside["Sources"] = [own_uri(output_dir, paths.mask), own_uri(output_dir, product)]
    kept = {"Type": "Brain", RECORD: {"Status": record.status, "Stacks": _names(record)}}
    write_json_atomic(_sidecar(paths.preproc_mask), {**beside, **kept})


def _names(record: FusionRecord) -> list[dict[str, Any]]:
    return [{"Image": stack.image, "Used": stack.used} for stack in record.stacks]


def _metadata(
    output_dir: Path, product: Path, record: FusionRecord, reference: AnatImage
) -> dict[str, Any]:
    """Return the sidecar of the fused volume, with the volume itself as the first source."""
    metadata = dict(read_json_or_empty(_sidecar(product)))
    description = str(metadata.get("Description", ""))
    metadata["Description"] = (
        f"{description}, provided as the reference in the place of {reference.stem} "
        f"({reference.reference_reason})"
    )
    acquired = [f"bids:raw:{image}" for image in record.used]
    metadata["Sources"] = [own_uri(output_dir, product), *acquired]
    metadata.pop("Resolution", None)  # it explains the res entity, which this name does not have
    return metadata


def _sidecar(image: Path) -> Path:
    return image.with_name(image.name.replace(".nii.gz", ".json"))
