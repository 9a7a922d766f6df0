"""Stacks of one contrast: which images of a session are fused into one volume.

Decided by names, sidecars and headers, before anything is read.  Whether two stacks show the
same anatomy is seen when they are registered (:mod:`bids_sr.sr.together`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.bids.contrast_signs import made_of_one_scan, why_not_acquired, why_other_contrast
from bids_sr.bids.derivatives import output_path
from bids_sr.bids.image import AnatImage
from bids_sr.bids.names import parse_name
from bids_sr.bids.sidecar import stated_number
from bids_sr.bids.unfit import agent_of, body_part, localiser
from bids_sr.imaging.grid import SAME_SPACING

FREE_ENTITIES = ("acquisition", "run", "reconstruction", "chunk")
"""Entities in which stacks of one contrast may differ."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Say how far the values of two stacks may be apart: either of the two is enough."""

    ratio: float
    """Largest over smallest."""
    spin_echo: float = 0.0
    """Difference where both are spin echoes."""

    def allows(self, first: float, second: float, *, spin_echo: bool) -> bool:
        """Tell whether two values count as equal."""
        low, high = sorted((first, second))
        return high <= low * self.ratio or (spin_echo and high - low <= self.spin_echo)


TOLERANCES = {
    "EchoTime": Tolerance(ratio=1.25, spin_echo=0.02),
    "RepetitionTime": Tolerance(ratio=1.5),
    "InversionTime": Tolerance(ratio=1.1),
    "FlipAngle": Tolerance(ratio=1.25),
}
"""Fields that must agree where both sidecars have them; s, and degrees.

A plane more needs a longer repetition time, and spin echoes that are 20 ms apart differ in the
brightness of fluid, hardly in what is bright.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class StackGroup:
    """Hold the stacks that are fused into one volume."""

    members: tuple[AnatImage, ...]
    """At least two, in the order of their paths."""

    @property
    def name(self) -> str:
        """Name of the fused volume, without its resolution."""
        return self.members[0].fused_into

    @property
    def image(self) -> AnatImage:
        """An image with the entities that the stacks share, after which files are named.

        The stacks of the plan, also where some of them failed since.
        """
        shared = _with_shared_entities(self.members)
        if not self.name:
            return shared
        named = parse_name(self.name).entities
        entities = {name: value for name, value in shared.entities.items() if name in named}
        return replace(shared, entities=entities)

    @property
    def finest(self) -> AnatImage:
        """The stack in whose frame the volume lies if all have a result; ties go to the first."""
        cells = [_cell(member) for member in self.members]
        return next(
            member
            for member, cell in zip(self.members, cells, strict=True)
            if cell <= min(cells) * (1 + SAME_SPACING)
        )

    @property
    def megavoxels(self) -> float:
        """Size of all of their reconstructions, 1e6 voxels."""
        grids = [member.target_grid for member in self.members]
        return sum(prod(grid.shape) for grid in grids if grid is not None) / 1e6

    @property
    def finest_megavoxels(self) -> float:
        """Size of the fused volume, 1e6 voxels."""
        grid = self.finest.target_grid
        return 0.0 if grid is None else prod(grid.shape) / 1e6


def with_stacks(images: Sequence[AnatImage]) -> list[AnatImage]:
    """Tell each image with which others it is fused.

    Parameters
    ----------
    images : sequence of AnatImage
        The plan.

    Returns
    -------
    list of AnatImage
        The same images in the same order.

    Notes
    -----
    Stacks are single acquired magnitude volumes that are super-resolved and no localisers, of one
    subject, session and suffix, alike in all entities but :data:`FREE_ENTITIES`.  Two belong
    together unless :func:`why_apart` tells; in a group every two do.
    """
    cohorts: dict[tuple[object, ...], list[AnatImage]] = {}
    for image in images:
        if _is_stack(image):
            cohorts.setdefault(_cohort(image), []).append(image)
    grouped: dict[str, AnatImage] = {}
    for cohort in cohorts.values():
        grouped |= {image.relpath: image for image in _grouped(cohort)}
    return [grouped.get(image.relpath, image) for image in images]


def stack_groups(images: Iterable[AnatImage]) -> list[StackGroup]:
    """List the groups of stacks that are fused.

    Parameters
    ----------
    images : iterable of AnatImage
        From :func:`with_stacks`; those that failed since are left out.
    """
    groups: dict[str, list[AnatImage]] = {}
    for image in images:
        if image.fused_into and _is_stack(image):
            groups.setdefault(image.fused_into, []).append(image)
    return [StackGroup(members=tuple(group)) for group in groups.values() if len(group) > 1]


def why_apart(first: AnatImage, second: AnatImage) -> str:
    """Say why two stacks are not of one contrast; empty where nothing tells.

    Parameters
    ----------
    first, second : AnatImage
        Of one subject, session and suffix.
    """
    sidecars = [image.metadata for image in (first, second)]
    for field, tolerance in TOLERANCES.items():
        values = [_time(metadata, field) for metadata in sidecars]
        if None in values:
            continue
        spin_echo = all("SE" in str(metadata.get("ScanningSequence")) for metadata in sidecars)
        if not tolerance.allows(values[0], values[1], spin_echo=spin_echo):  # type: ignore[arg-type]
            return f"{field} is {values[0]:g} and {values[1]:g}"
    if why := why_other_contrast(first, second):
        return why
    agents = [agent_of(image.entities, image.metadata) for image in (first, second)]
    if bool(agents[0]) != bool(agents[1]):
        return f"of one of the two, {agents[0] or agents[1]}"
    parts = [body_part(metadata) for metadata in sidecars]
    if all(parts) and parts[0] != parts[1]:
        return f"they show {parts[0]} and {parts[1]}"
    if first.brain != second.brain:
        return "only one of them shows a head"
    if made_of_one_scan(first, second):
        return "both are reconstructions of one scan"
    return ""


def _grouped(cohort: Sequence[AnatImage]) -> Iterator[AnatImage]:
    """Tell the stacks that could belong together which of them do."""
    groups: list[list[AnatImage]] = []
    for image in cohort:
        fitting = (
            group for group in groups if not any(why_apart(image, other) for other in group)
        )
        group = next(fitting, None)
        if group is None:
            groups.append([image])
        else:
            group.append(image)
    names = [_fused_name(group) for group in groups if len(group) > 1]
    for group in groups:
        if len(group) == 1:
            yield replace(group[0], stack_note=_reason_alone(group[0], cohort))
            continue
        name = _fused_name(group)
        if names.count(name) > 1:
            note = f"not fused: {name} would be the name of {names.count(name)} volumes"
            yield from (replace(image, stack_note=note) for image in group)
            continue
        note = f"one of {len(group)} stacks that are fused into {name}"
        yield from (replace(image, fused_into=name, stack_note=note) for image in group)


def _reason_alone(image: AnatImage, cohort: Sequence[AnatImage]) -> str:
    reasons = ((other, why_apart(image, other)) for other in cohort if other is not image)
    return next((f"not fused with {other.stem}: {why}" for other, why in reasons if why), "")


def _is_stack(image: AnatImage) -> bool:
    single = image.action == "super-resolve" and image.n_frames == 1
    unfit = localiser(image.entities, image.metadata) or why_not_acquired(image)
    return single and not unfit


def _cohort(image: AnatImage) -> tuple[object, ...]:
    shared = {name: v for name, v in image.entities.items() if name not in FREE_ENTITIES}
    if shared.get("part") == "mag":  # without the entity an image is a magnitude as well
        del shared["part"]
    return (image.suffix, *sorted(shared.items()))


def _with_shared_entities(images: Sequence[AnatImage]) -> AnatImage:
    first = images[0]
    shared = {
        name: value
        for name, value in first.entities.items()
        if all(image.entities.get(name) == value for image in images)
    }
    return replace(first, entities=shared, is_reference=False)


def _fused_name(group: Sequence[AnatImage]) -> str:
    return output_path(Path(), _with_shared_entities(group), desc="fused").name.split(".")[0]


def _time(metadata: Mapping[str, Any], field: str) -> float | None:
    """Return a positive number of a sidecar; None where it says none."""
    value = stated_number(metadata.get(field))
    return value if value is not None and value > 0 else None


def _cell(image: AnatImage) -> float:
    assert image.source_grid is not None
    return float(np.prod(image.source_grid.spacings))
