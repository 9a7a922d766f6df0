"""Files of fused volumes: their names, what their sidecars say, and which are out of date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os.path import lexists
from pathlib import Path
from typing import Any

from bids_sr.bids.derivatives import output_path, output_paths, resolution_label, source_uri
from bids_sr.bids.image import AnatImage
from bids_sr.bids.leftovers import fused_segmentation_patterns
from bids_sr.bids.names import parse_name
from bids_sr.bids.output_sidecars import geometry, kept_fields, own_uri
from bids_sr.bids.stacks import StackGroup, stack_groups
from bids_sr.files import read_json_or_empty
from bids_sr.files.writing import remove_others
from bids_sr.records.fusion_record import FusionRecord

DESC = "fused"
FIGURES = ("fused", "fusedweights")
RECORD = "Fusion"
"""Field of our sidecars that says how a volume was fused."""
PLACES = ("subject", "session")
"""Entities that the folders of an image say."""


@dataclass(frozen=True, kw_only=True)
class FusedPaths:
    """Where the files of one fused volume go."""

    products: dict[str, Path]
    """The volume, by the path of the image in whose frame it lies."""
    transforms: dict[str, Path]
    """ITK transforms, by the paths of the images."""
    mask: Path
    """Brain mask on its grid."""
    uncertainty: Path
    """Standard deviation to expect."""
    quality: Path
    """QC file."""
    figures: dict[str, Path]
    """Figures of the report, by the names in ``FIGURES``."""
    preproc: Path
    """Copy for other tools, where one of the stacks is the reference."""
    preproc_mask: Path
    """Brain mask beside that copy."""

    @property
    def beside(self) -> tuple[Path, ...]:
        """What comes with the volume where it is fused."""
        return self.mask, self.uncertainty, *self.figures.values()


def fused_paths(output_dir: Path, group: StackGroup) -> FusedPaths:
    """Name all files of a fused volume.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    group : StackGroup
        The stacks.

    Notes
    -----
    The names have the entities that all stacks share; that of a transform has all of its stack.
    """
    image = group.image
    return FusedPaths(
        products={
            member.relpath: output_path(output_dir, image, res=resolution_label(member), desc=DESC)
            for member in group.members
        },
        transforms={
            member.relpath: _transform_path(output_dir, member) for member in group.members
        },
        mask=output_path(
            output_dir, image, suffix="mask", space=image.suffix, label="brain", desc=DESC
        ),
        uncertainty=output_path(output_dir, image, desc=DESC, suffix="uncertainty"),
        quality=output_path(output_dir, image, desc=DESC, suffix="qc", extension=".json"),
        figures={
            name: output_path(output_dir, image, datatype="figures", desc=name, extension=".svg")
            for name in FIGURES
        },
        preproc=output_path(output_dir, image, desc="preproc"),
        preproc_mask=output_path(output_dir, image, suffix="mask", desc="brain"),
    )


def fused_metadata(group: StackGroup, frame: AnatImage) -> dict[str, Any]:
    """Write the sidecar of a fused volume, as far as it is known before the run.

    Parameters
    ----------
    group : StackGroup
        The stacks.
    frame : AnatImage
        The one in whose frame the volume lies.

    Returns
    -------
    dict
        Raw fields that hold for all stacks, and the geometry.
    """
    sidecars = [kept_fields(member) for member in group.members]
    shared = {
        name: value
        for name, value in sidecars[0].items()
        if all(name in other and other[name] == value for other in sidecars)
    }
    stripped = all(member.skull_stripped for member in group.members)
    return {
        **shared,
        "Description": f"{frame.suffix} volume, fused of several stacks",
        "SkullStripped": stripped,
        **geometry(frame),
    }


def fused_sources(output_dir: Path, group: StackGroup) -> dict[str, list[str]]:
    """Return the BIDS URIs that each stack brings: what was made of it, and the acquired image."""
    return {
        member.relpath: [
            own_uri(output_dir, output_paths(output_dir, member).product),
            source_uri(member),
        ]
        for member in group.members
    }


def read_fusion(output_dir: Path, group: StackGroup) -> FusionRecord:
    """Read the QC file of a group; without a status where there is none."""
    return FusionRecord.from_dict(read_json_or_empty(fused_paths(output_dir, group).quality))


def settle_fused(
    output_dir: Path, images: Sequence[AnatImage], complete: Iterable[str] = ()
) -> list[str]:
    """Remove what earlier runs fused of stacks that this run has made anew and not fused.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    images : sequence of AnatImage
        The plan of one subject, after the run.
    complete : iterable of str
        Paths of the images of which this run has made all that it makes.

    Returns
    -------
    list of str
        One sentence for each volume that went.
    """
    complete = set(complete)
    current: set[Path] = set()
    for group in stack_groups(images):
        paths = fused_paths(output_dir, group)
        record = read_fusion(output_dir, group)
        current |= {paths.quality}
        if record.status == "done":
            frame = paths.products[record.frame]
            current |= {*paths.beside, frame, *(paths.transforms[used] for used in record.used)}
    by_path = {image.relpath: image for image in images if image.processed}
    folders = {output_paths(output_dir, image).product.parent: image for image in by_path.values()}
    notes = []
    for folder, image in sorted(folders.items()):
        for sidecar in _sidecars(folder):
            record = FusionRecord.from_dict(read_json_or_empty(sidecar).get(RECORD))
            gone = {path for path in record.images if not lexists(_root(image) / path)}
            known = {path for path in record.images if path in by_path} - gone
            settled = len(known | gone) == len(record.images) and {*record.used} - gone <= complete
            if not (known and settled):
                continue
            product = sidecar.with_name(f"{sidecar.name.removesuffix('.json')}.nii.gz")
            group = _recorded_group(record, by_path[min(known)])
            paths = fused_paths(output_dir, group)
            old = {product, *paths.beside, *paths.transforms.values(), paths.quality} - current
            for path in old:
                path.unlink(missing_ok=True)
                path.with_name(f"{path.name.split('.')[0]}.json").unlink(missing_ok=True)
            if paths.quality not in current:
                remove_others(fused_segmentation_patterns(output_dir, group.image), ())
            if product not in current:
                what = "some of its stacks are gone" if gone else "its stacks were made anew"
                notes.append(f"removed {product.name}: {what} and not fused")
        _remove_unused_transforms(output_dir, folder, image)
    return notes


def _transform_path(output_dir: Path, image: AnatImage) -> Path:
    motion = {"from": image.suffix, "to": DESC, "mode": "image"}
    return output_path(output_dir, image, suffix="xfm", extension=".txt", **motion)


def _sidecars(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*_desc-{DESC}_*.json"))


def _root(image: AnatImage) -> Path:
    """Return the root of the input dataset."""
    return image.path.parents[image.relpath.count("/")]


def _named(path: str, image: AnatImage) -> AnatImage:
    """Return an image of the same folder with the entities and suffix of a path."""
    name = parse_name(path.rpartition("/")[2])
    places = {key: image.entities[key] for key in PLACES if key in image.entities}
    return replace(image, relpath=path, entities=name.entities | places, suffix=name.suffix)


def _recorded_group(record: FusionRecord, image: AnatImage) -> StackGroup:
    """Return the stacks of an earlier run, from their names, in the folder of an image."""
    named = (_named(path, image) for path in record.images)
    return StackGroup(members=tuple(replace(stack, fused_into=record.product) for stack in named))


def _remove_unused_transforms(output_dir: Path, folder: Path, image: AnatImage) -> None:
    """Remove transforms to a frame that no fused volume of the folder has any longer."""
    used = {
        _transform_path(output_dir, _named(path, image))
        for sidecar in _sidecars(folder)
        for path in FusionRecord.from_dict(read_json_or_empty(sidecar).get(RECORD)).used
    }
    for path in {*folder.glob(f"*_to-{DESC}_mode-image_xfm.txt")} - used:
        path.unlink()
