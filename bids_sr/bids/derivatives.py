"""Names and sidecars of the output files.

A name is the source's name with entities added (``data/io_spec.json`` has the
order), built by pybids.  Dataset-wide files are in :mod:`bids_sr.bids.dataset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.bids.image import AnatImage
from bids_sr.bids.names import specification
from bids_sr.bids.writing import copy_atomic, write_json_atomic
from bids_sr.exceptions import InputDataError

__all__ = [
    "OutputPaths",
    "copy_atomic",
    "mask_metadata",
    "output_path",
    "output_paths",
    "preproc_metadata",
    "product_metadata",
    "resolution_label",
    "source_uri",
    "stage_metadata",
    "write_json_atomic",
]

FIGURES = ("mask", "sr", "sliceprofile", "learningcurve")

# Fields of the raw sidecar that describe the acquired grid, the acquired file or
# links to other raw files: none of them holds for a file on another grid.
DROPPED_FIELDS = frozenset(
    {
        "AcquisitionMatrixPE",
        "B0FieldIdentifier",
        "B0FieldSource",
        "BaseResolution",
        "Columns",
        "ConversionComments",
        "ConversionSoftware",
        "ConversionSoftwareVersion",
        "Description",
        "ImageOrientationPatientDICOM",
        "InPlanePhaseEncodingDirectionDICOM",
        "IntendedFor",
        "NumberOfSlices",
        "PercentPhaseFOV",
        "PercentSampling",
        "PixelSpacing",
        "RawSources",
        "ReconMatrixPE",
        "Resolution",
        "Rows",
        "SkullStripped",
        "SliceEncodingDirection",
        "SliceThickness",
        "SliceTiming",
        "Sources",
        "SpacingBetweenSlices",
        "SpatialReference",
        "SuperResolution",
        "Type",
    }
)

# Those of them that hold as long as the grid is the acquired one.
SLICE_FIELDS = frozenset({"SliceEncodingDirection", "SliceThickness", "SpacingBetweenSlices"})


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
    figures: dict[str, Path]
    """Figures of the report by name: ``mask``, ``sr``, ``sliceprofile``, ``learningcurve``."""


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
    name.  Unless ``space`` names the contrast, such files of other contrasts than T1w
    carry the suffix in ``acq``: ``acq-FLAIR_space-orig_desc-brain_mask``.  See
    ``docs/decisions/0002-mask-names.md``.
    """
    from bids.layout.writing import build_path

    suffix = entities.get("suffix") or image.suffix
    own = image.entities
    if suffix != image.suffix:
        own = _other_suffix_entities(image, named=entities.get("space") == image.suffix)
    merged = {"datatype": "anat", **own, "suffix": suffix, **entities}
    built = build_path(merged, specification()["patterns"], strict=True)
    if not isinstance(built, str):
        raise InputDataError(
            f"{image.relpath}: the entities {merged} make no output name; expected those of "
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
        figures={
            name: output_path(output_dir, image, datatype="figures", desc=name, extension=".svg")
            for name in FIGURES
        },
    )


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


def product_metadata(image: AnatImage) -> dict[str, Any]:
    """Write the sidecar of the product, as far as it is known before the run.

    Parameters
    ----------
    image : AnatImage
        An image that is processed.

    Returns
    -------
    dict
        Raw fields that still hold, the new geometry, and a ``SuperResolution``
        object with the acquisition and what was assumed about it.
    """
    assert image.facts is not None
    acquisition = image.facts.acquisition
    action = "Super-resolved" if image.action == "super-resolve" else "Passed through"
    return {
        **_kept_fields(image),
        "Description": f"{action} {image.suffix} image",
        "SkullStripped": bool(image.metadata.get("SkullStripped", False)),
        "Sources": [source_uri(image)],
        **_geometry(image),
        "SuperResolution": {
            "Action": image.action,
            "Reason": image.reason,
            "Scale": round(image.scale or 1.0, 6),
            **acquisition.to_dict(),
            "Origins": dict(image.facts.sources),
            "Assumptions": list(image.facts.assumptions),
            "Warnings": list(image.facts.warnings),
        },
    }


def preproc_metadata(output_dir: Path, image: AnatImage) -> dict[str, Any]:
    """Write the sidecar of the ``desc-preproc`` copy of the product.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        The reference T1w or T2w.

    Returns
    -------
    dict
        As the product's, with the product as an additional source.
    """
    product = output_paths(output_dir, image).product
    metadata = product_metadata(image)
    metadata["Description"] += ", the reference of its subject and session"
    metadata["Sources"] = [_own_uri(output_dir, product), source_uri(image)]
    # `Resolution` explains the res entity, which this name does not have.
    del metadata["Resolution"]
    return metadata


def stage_metadata(image: AnatImage, stage: str) -> dict[str, Any]:
    """Write the sidecar of an image on the acquired grid.

    Parameters
    ----------
    image : AnatImage
        The image.
    stage : str
        ``denoised`` or ``n4``.

    Returns
    -------
    dict
        All raw fields with the source and the spatial reference.
    """
    words = {"denoised": "Denoised", "n4": "Denoised and bias-corrected"}
    acquired = {
        name: image.metadata[name] for name in sorted(SLICE_FIELDS & image.metadata.keys())
    }
    return {
        **_kept_fields(image),
        **acquired,
        "Description": f"{words[stage]} {image.suffix} image on the acquired grid",
        "SkullStripped": bool(image.metadata.get("SkullStripped", False)),
        "Sources": [source_uri(image)],
        "SpatialReference": source_uri(image),
    }


def mask_metadata(output_dir: Path, image: AnatImage, *, native: bool) -> dict[str, Any]:
    """Write the sidecar of a brain mask.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        The image that the mask belongs to.
    native : bool
        Whether it is the mask on the acquired grid rather than on the output grid.

    Returns
    -------
    dict
        Type, sources and spatial reference.
    """
    paths = output_paths(output_dir, image)
    reference = source_uri(image) if native else _own_uri(output_dir, paths.product)
    grid = "acquired" if native else "output"
    sources = [_own_uri(output_dir, paths.native_mask), reference]
    if native:
        sources = [source_uri(image), *filter(None, [image.existing_mask_uri])]
    return {
        "Type": "Brain",
        "Description": f"Brain mask of the {image.suffix} image on the {grid} grid",
        "Sources": sources,
        "SpatialReference": reference,
    }


def _other_suffix_entities(image: AnatImage, *, named: bool) -> dict[str, str]:
    """Fold the contrast, unless it is `named` already, and what a mask may not have, into acq."""
    allowed = specification()["mask_entities"]
    kept = {name: value for name, value in image.entities.items() if name in allowed}
    folded = [name + value for name, value in image.entities.items() if name not in allowed]
    contrast = [] if named or image.suffix == "T1w" else [image.suffix]
    acquisition = "".join([kept.get("acquisition", ""), *contrast, *folded])
    if acquisition:
        kept["acquisition"] = acquisition
    return kept


def _kept_fields(image: AnatImage) -> dict[str, Any]:
    return {name: value for name, value in image.metadata.items() if name not in DROPPED_FIELDS}


def _geometry(image: AnatImage) -> dict[str, Any]:
    assert image.facts is not None
    assert image.target_grid is not None
    axis = image.facts.acquisition.slice_axis
    spacings = np.asarray(image.target_grid.spacings, dtype=float)
    across = round(float(spacings[axis]), 6)
    thickness = across
    if image.action == "pass-through":
        thickness = round(float(image.facts.acquisition.thickness or across), 6)
    return {
        "SliceThickness": thickness,
        "SpacingBetweenSlices": across,
        "Resolution": f"{' x '.join(f'{value:.4g}' for value in spacings)} mm voxels",
    }


def _own_uri(output_dir: Path, path: Path) -> str:
    return f"bids::{path.relative_to(output_dir).as_posix()}"
