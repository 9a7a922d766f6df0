"""Sidecars of the output files, as far as they are known before the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.bids.derivatives import ON_SLICES, assumptions_made, output_paths, source_uri
from bids_sr.bids.image import AnatImage
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.slice_gain_record import SliceGainRecord

# Fields of the raw sidecar that describe the acquired grid, the acquired file or
# links to other raw files: none of them holds for a file on another grid.
DROPPED_FIELDS = frozenset(
    {
        "AcquisitionMatrixPE",
        "AnatomicalLandmarkCoordinates",  # in voxels of the acquired grid
        "AnatomicalLandmarkCoordinateSystem",
        "AnatomicalLandmarkCoordinateUnits",
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
        **kept_fields(image),
        "Description": f"{action} {image.suffix} image",
        "SkullStripped": image.skull_stripped,
        "Sources": [source_uri(image)],
        **geometry(image),
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


def as_made(
    planned: Mapping[str, Any],
    method: MethodRecord,
    warnings: Iterable[str],
    gain: SliceGainRecord | None = None,
) -> dict[str, Any]:
    """Return the sidecar of the product, or of its copy, completed after the run.

    Parameters
    ----------
    planned : mapping
        What :func:`product_metadata` or :func:`preproc_metadata` wrote.
    method : MethodRecord
        What was done.
    warnings : iterable of str
        Of the steps before.
    gain : SliceGainRecord, optional
        What was done to the brightness of the acquired slices.
    """
    before = planned["SuperResolution"]
    record = {
        **before,
        **method.to_dict(),
        **({"SliceGain": gain.to_dict()} if gain is not None and gain.known else {}),
        "Assumptions": assumptions_made(before["Assumptions"], method),
        "Warnings": [*before["Warnings"], *warnings],
    }
    description = str(planned["Description"])
    if method.interpolated:
        description = description.replace("Super-resolved", "Interpolated", 1)
    guide = method.guide
    made = {**planned, "Description": description, "SuperResolution": record}
    if guide and guide.used:
        made["Sources"] = [*planned["Sources"], guide.source]
    return made


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
    metadata["Description"] += f", provided as the reference: {image.reference_reason}"
    metadata["Sources"] = [own_uri(output_dir, product), source_uri(image)]
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
        **kept_fields(image),
        **acquired,
        "Description": f"{words[stage]} {image.suffix} image on the acquired grid",
        "SkullStripped": image.skull_stripped,
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
    reference = source_uri(image) if native else own_uri(output_dir, paths.product)
    grid = "acquired" if native else "output"
    sources = [own_uri(output_dir, paths.native_mask), reference]
    if native:
        sources = [source_uri(image), *filter(None, [image.existing_mask_uri])]
    return {
        "Type": "Brain",
        "Description": f"Brain mask of the {image.suffix} image on the {grid} grid",
        "Sources": sources,
        "SpatialReference": reference,
    }


def uncertainty_metadata(output_dir: Path, image: AnatImage) -> dict[str, Any]:
    """Write the sidecar of the uncertainty map.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        The image that it belongs to.

    Returns
    -------
    dict
        Sources, spatial reference and what the values are; the run adds what they promise.
    """
    product = own_uri(output_dir, output_paths(output_dir, image).product)
    return {
        "Description": f"Expected standard deviation of the super-resolved {image.suffix} image, "
        "in its unit of intensity",
        "Sources": [product, source_uri(image)],
        "SpatialReference": product,
    }


def segmentation_metadata(
    output_dir: Path,
    image: AnatImage,
    tool: str,
    files: Iterable[str],
    *,
    product: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Write the sidecars of a segmentation's images.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        The image that was segmented.
    tool : str
        Name of the tool on the command line.
    files : iterable of str
        Keys of :func:`.segmentation_paths`.
    product : Path, optional
        What was segmented; default: the product of the image.

    Returns
    -------
    dict of dict
        By the keys that are images: ``labels``, ``map-<label>``, ``mask-<label>``, and the
        same on the acquired slices.
    """
    segmented = own_uri(output_dir, product or output_paths(output_dir, image).product)
    common = {"Sources": [segmented], "SpatialReference": segmented}
    sidecars = {}
    for key in files:
        kind, _, label = key.removeprefix(ON_SLICES).partition("-")
        if kind == "labels":
            about: dict[str, Any] = {"Description": f"Segmentation by {tool}", "Manual": False}
        elif kind == "map":
            about = {"Description": f"Probability of {label} by {tool}", "Manual": False}
        elif kind == "mask":
            about = {"Description": f"Mask of {label} by {tool}"}
            about["Type"] = "Lesion" if label == "lesion" else "ROI"
        else:
            continue
        sidecars[key] = {**about, **common}
        if key.startswith(ON_SLICES):
            sidecars[key]["Description"] += ", on the acquired slices by the forward model"
            sidecars[key]["SpatialReference"] = source_uri(image)
    return sidecars


def beside_metadata(output_dir: Path, product: Path, what: str) -> dict[str, Any]:
    """Write the sidecar of what lies on the grid of a fused volume.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    product : Path
        The fused volume.
    what : str
        Its description.
    """
    uri = own_uri(output_dir, product)
    return {"Description": what, "Sources": [uri], "SpatialReference": uri}


def kept_fields(image: AnatImage) -> dict[str, Any]:
    """Return the raw fields that hold on any grid."""
    return {name: value for name, value in image.metadata.items() if name not in DROPPED_FIELDS}


def geometry(image: AnatImage) -> dict[str, Any]:
    """Return the fields that describe the output grid of an image."""
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


def own_uri(output_dir: Path, path: Path) -> str:
    """Return the BIDS URI of a file of the output dataset."""
    return f"bids::{path.relative_to(output_dir).as_posix()}"
