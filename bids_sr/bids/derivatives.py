"""Names of the output files.

A name is the source's name with entities added (``data/io_spec.json`` has the
order), built by pybids.  Sidecars are in :mod:`.output_sidecars`, dataset-wide files in
:mod:`bids_sr.bids.dataset`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bids_sr.bids.image import AnatImage
from bids_sr.bids.names import specification
from bids_sr.bids.sidecar import ASSUMED_KIND, ASSUMED_THICKNESS
from bids_sr.exceptions import InputDataError
from bids_sr.records.method_record import MethodRecord

__all__ = [
    "OutputPaths",
    "assumptions_made",
    "guide_uri",
    "output_path",
    "output_paths",
    "resolution_label",
    "segmentation_paths",
    "source_uri",
]

ON_SLICES = "slices_"
"""Begins the keys of a segmentation's files that lie on the acquired slices."""
LESION = "lesion"
"""BIDS label of lesions."""
FIGURES = (
    "mask",
    "sr",
    "uncertainty",
    "slices",
    "slicegain",
    "sliceprofile",
    "learningcurve",
)
GUIDE_FIGURES = ("guide", "guidealigned")
"""Further figures of an image that has a guide."""


@dataclass(frozen=True, kw_only=True)
class OutputPaths:
    """Where the files of one image go."""

    product: Path
    """The super-resolved image, ``_res-<r>_desc-sr_<suffix>.nii.gz``."""
    preproc: Path | None
    """``_desc-preproc_<suffix>.nii.gz``; only of the reference T1w and T2w."""
    mask: Path
    """Brain mask on the output grid."""
    native_mask: Path
    """Brain mask on the acquired grid."""
    denoised: Path
    """Denoised image on the acquired grid (``--level full``)."""
    n4: Path
    """Bias-corrected image on the acquired grid (``--level full``)."""
    quality: Path
    """QC file."""
    slice_profile: Path
    """Slice profile that was used."""
    uncertainty: Path
    """Standard deviation to expect, on the output grid."""
    model: Path
    """What was learnt from the image (``--save-model``)."""
    figures: dict[str, Path]
    """Figures of the report, by the names in ``FIGURES`` and ``GUIDE_FIGURES``."""


def output_path(output_dir: Path, image: AnatImage, **entities: str | None) -> Path:
    """Name an output file of an image.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        The source; all of its entities are kept.
    **entities : str or None
        Entities to add, by pybids' names (``space``, ``res``, ``label``,
        ``segmentation``, ``desc``), and ``suffix``, ``extension``, ``datatype``
        (``anat`` or ``figures``).

    Returns
    -------
    Path
        The file; nothing is created.

    Raises
    ------
    InputDataError
        If the entities make no name.

    Notes
    -----
    A file whose suffix is not that of the image (a mask, a table) no longer says
    which contrast it belongs to; T1w, T2w and FLAIR of a session would get one
    name.  Unless ``space`` or ``from`` names the contrast, such files of other contrasts than T1w
    carry the suffix in ``acq``: ``acq-FLAIR_space-orig_desc-brain_mask``.  See
    ``docs/decisions/0002-mask-names.md``.
    """
    from bids.layout.writing import build_path

    suffix = entities.get("suffix") or image.suffix
    own = image.entities
    if suffix != image.suffix:
        named = (entities.get("space"), entities.get("from"))
        own = _other_suffix_entities(image, named=image.suffix in named)
    merged = {"datatype": "anat", **own, "suffix": suffix, **entities}
    built = build_path(merged, specification()["patterns"], strict=True)
    if not isinstance(built, str):
        raise InputDataError(
            f"{image.relpath}: the entities {merged} do not give an output name; expected those "
            f"of "
            "bids_sr/data/io_spec.json. Rename the image as BIDS asks."
        )
    return output_dir / built


def output_paths(output_dir: Path, image: AnatImage) -> OutputPaths:
    """Name all output files of an image.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        An image that is processed.

    Returns
    -------
    OutputPaths
        The names; nothing is created.
    """
    native = {"space": "orig"}
    mask = {"suffix": "mask", "desc": "brain"}
    plain_mask = image.is_reference and image.suffix == "T1w"
    preproc = output_path(output_dir, image, desc="preproc") if image.is_reference else None
    return OutputPaths(
        product=output_path(output_dir, image, res=resolution_label(image), desc="sr"),
        preproc=preproc,
        mask=output_path(output_dir, image, space=None if plain_mask else image.suffix, **mask),
        native_mask=output_path(output_dir, image, **native, **mask),
        denoised=output_path(output_dir, image, **native, desc="denoised"),
        n4=output_path(output_dir, image, **native, desc="n4"),
        quality=output_path(output_dir, image, desc="sr", suffix="qc", extension=".json"),
        slice_profile=output_path(
            output_dir, image, desc="sr", suffix="sliceprofile", extension=".tsv"
        ),
        uncertainty=output_path(output_dir, image, desc="sr", suffix="uncertainty"),
        model=output_path(output_dir, image, desc="sr", suffix="model", extension=".safetensors"),
        figures={
            name: output_path(output_dir, image, datatype="figures", desc=name, extension=".svg")
            for name in (*FIGURES, *GUIDE_FIGURES)
        },
    )


def segmentation_paths(
    output_dir: Path,
    image: AnatImage,
    tool: str,
    *,
    maps: Iterable[str],
    masks: Iterable[str],
    desc: str = "sr",
) -> dict[str, Path]:
    """Name the files of a segmentation of the super-resolved image, or of a fused volume.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        The image.
    tool : str
        Name of the tool as a BIDS label.
    maps, masks : iterable of str
        BIDS labels of its probability maps and masks.
    desc : str
        What was segmented: ``sr``, or ``fused``, which then stands before the name of the tool.

    Returns
    -------
    dict of str to Path
        ``labels``, ``table``, ``volumes``, ``map-<label>``, ``mask-<label>``, ``figure``; on
        the acquired slices ``slices_labels``, ``slices_volumes``, ``slices_mask-<label>``; and
        ``lesions``, where there is a mask of lesions.

    Notes
    -----
    Always with ``desc`` or ``space``: sMRIPrep takes a bare ``dseg`` and bare tissue maps
    for its own.
    """
    before = "" if desc == "sr" else desc
    label_entities = {"segmentation": tool, "desc": desc}
    map_entities = {"space": image.suffix, "desc": before + tool}
    figure = f"{before}seg{tool}"
    return {
        "labels": output_path(output_dir, image, suffix="dseg", **label_entities),
        "table": output_path(output_dir, image, suffix="dseg", extension=".tsv", **label_entities),
        "volumes": output_path(
            output_dir, image, suffix="volumes", extension=".tsv", **label_entities
        ),
        **{
            f"map-{label}": output_path(
                output_dir, image, label=label, suffix="probseg", **map_entities
            )
            for label in maps
        },
        **{
            f"mask-{label}": output_path(
                output_dir, image, label=label, suffix="mask", **map_entities
            )
            for label in masks
        },
        **({} if before else _on_slices(output_dir, image, tool, masks)),
        "figure": output_path(
            output_dir, image, datatype="figures", desc=figure, extension=".svg"
        ),
    }


def _on_slices(
    output_dir: Path, image: AnatImage, tool: str, masks: Iterable[str]
) -> dict[str, Path]:
    """Name what a segmentation is on the acquired slices."""
    slices = {"space": "orig", "segmentation": tool, "desc": "sr"}
    paths = {
        f"{ON_SLICES}labels": output_path(output_dir, image, suffix="dseg", **slices),
        f"{ON_SLICES}volumes": output_path(
            output_dir, image, suffix="volumes", extension=".tsv", **slices
        ),
    }
    for label in masks:
        paths[f"{ON_SLICES}mask-{label}"] = output_path(
            output_dir, image, space="orig", label=label, desc=tool, suffix="mask"
        )
        if label == LESION:
            paths["lesions"] = output_path(
                output_dir,
                image,
                segmentation=tool,
                desc="sr",
                suffix="lesions",
                extension=".tsv",
            )
    return paths


def resolution_label(image: AnatImage) -> str:
    """Write the output spacing as a ``res`` label.

    Parameters
    ----------
    image : AnatImage
        An image that is processed.

    Returns
    -------
    str
        ``1mm``, ``0p8mm``: two decimals at most, a ``p`` for the point.

    Raises
    ------
    InputDataError
        If the image has no output grid.
    """
    if image.target_spacing is None:
        raise InputDataError(
            f"{image.relpath}: it has no output grid (action {image.action}); expected an image "
            "that is processed. Leave it out of the workflow."
        )
    return f"{image.target_spacing:.2f}".rstrip("0").rstrip(".").replace(".", "p") + "mm"


def assumptions_made(planned: Iterable[str], record: MethodRecord) -> list[str]:
    """Say what a result rests on, with what the image itself showed of its slices.

    Parameters
    ----------
    planned : iterable of str
        Assumptions of the plan, a sentence each.
    record : MethodRecord
        Of the super-resolution.
    """
    test, slices, estimate = record.held_out, record.slices, record.profile_estimate
    changed, made = slices is not None and test is not None and test.changed, {}
    if estimate.widths:
        kind = slices.profile if slices else estimate.used_profile
        spread = f"{estimate.fwhm:.3g} ± {estimate.deviation:.2g} mm"
        used = f"{estimate.used_thickness:.4g} mm"
        made[ASSUMED_THICKNESS] = f"{used}, as the image suggests ({spread})"
        made[ASSUMED_KIND] = f"{kind}" if changed else f"{kind}, as the image suggests"
    if changed and slices and test:
        made[ASSUMED_THICKNESS] = (
            f"taken as {slices.thickness:.4g} mm, because with thicker ones the "
            f"reconstruction of left-out slices gained too little ({test.assumption})"
        )
    return [
        next((start + words for start, words in made.items() if text.startswith(start)), text)
        for text in planned
    ]


def source_uri(image: AnatImage) -> str:
    """Return the BIDS URI of the acquired image.

    Parameters
    ----------
    image : AnatImage
        The image.

    Returns
    -------
    str
        ``bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz``; ``raw`` is resolved by
        `DatasetLinks` in ``dataset_description.json``.
    """
    return f"bids:raw:{image.relpath}"


def guide_uri(image: AnatImage) -> str:
    """Return the BIDS URI of the acquired scan that guides an image; empty without one."""
    return image.guide and f"bids:raw:{image.guide}"


def _other_suffix_entities(image: AnatImage, *, named: bool) -> dict[str, str]:
    """Fold the contrast, unless it is `named` already, and what a mask may not have, into acq."""
    allowed = specification()["mask_entities"]
    allowed_entities = {name: value for name, value in image.entities.items() if name in allowed}
    folded = [name + value for name, value in image.entities.items() if name not in allowed]
    contrast = [] if named or image.suffix == "T1w" else [image.suffix]
    acquisition = "".join([allowed_entities.get("acquisition", ""), *contrast, *folded])
    if acquisition:
        allowed_entities["acquisition"] = acquisition
    return allowed_entities
