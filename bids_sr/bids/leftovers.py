"""Names under which earlier runs may have left files of an image that this run does not make.

Their names and the content of our sidecars distinguish them from files of others.
Nothing here removes a file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from bids_sr.bids.derivatives import output_path, output_paths, segmentation_paths
from bids_sr.bids.image import AnatImage

ANY = "ANYLABEL"
"""Stands for a label that is not known: the resolution, the tool, the structure."""
ANY_TOOL = "ANYTOOL"
"""Stands for the name of a tool that segmented an image, no fused volume."""
EXTENSIONS = r"\.(nii\.gz|json|tsv|safetensors|svg|png)"


def leftover_patterns(output_dir: Path, image: AnatImage) -> list[tuple[str, str, str]]:
    """List the names that outputs of an image can have, with any options.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        An image that is processed.

    Returns
    -------
    list of tuple of str
        Folder, regular expression of the whole file name, and the field that our sidecar
        of such a file has (empty: it has none, the name is ours).

    Notes
    -----
    For an image that is not the reference, the names read by other tools are left out: these
    files are replaced when the new reference is written (:func:`.settle_references`).
    """
    paths = output_paths(output_dir, image)
    plain = output_paths(output_dir, replace(image, is_reference=False))
    label_entities, map_entities = (
        {"segmentation": ANY, "desc": "sr"},
        {"space": image.suffix, "desc": ANY_TOOL},
    )
    slice_entities = {"space": "orig", **label_entities}
    names: list[tuple[Path, str]] = [
        (output_path(output_dir, image, res=ANY, desc="sr"), "SuperResolution"),
        (paths.mask, "BrainExtraction"),
        (plain.mask, "BrainExtraction"),
        (paths.native_mask, "BrainExtraction"),
        (paths.denoised, "Sources"),
        (paths.n4, "Sources"),
        (paths.uncertainty, "Sources"),
        (paths.model, ""),
        (output_path(output_dir, image, suffix="dseg", **label_entities), "Segmentation"),
        (output_path(output_dir, image, suffix="volumes", extension=".tsv", **label_entities), ""),
        (output_path(output_dir, image, suffix="lesions", extension=".tsv", **label_entities), ""),
        (output_path(output_dir, image, suffix="dseg", **slice_entities), "Segmentation"),
        (output_path(output_dir, image, suffix="volumes", extension=".tsv", **slice_entities), ""),
        (
            output_path(output_dir, image, space="orig", label=ANY, desc=ANY, suffix="mask"),
            "Segmentation",
        ),
        (
            output_path(output_dir, image, label=ANY, suffix="probseg", **map_entities),
            "Segmentation",
        ),
        (output_path(output_dir, image, label=ANY, suffix="mask", **map_entities), "Segmentation"),
        *((path, "") for path in paths.figures.values()),
        (
            output_path(output_dir, image, datatype="figures", desc=f"seg{ANY}", extension=".svg"),
            "",
        ),
    ]
    if paths.preproc is not None:
        names.append((paths.preproc, "SuperResolution"))
    patterns = [(str(path.parent), _pattern(path), field) for path, field in names]
    return list(dict.fromkeys(patterns))


def fused_segmentation_patterns(output_dir: Path, image: AnatImage) -> list[tuple[str, str, str]]:
    """List the names that segmentations of a fused volume can have, as :func:`leftover_patterns`.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    image : AnatImage
        With the entities that the stacks share.
    """
    paths = segmentation_paths(output_dir, image, ANY, maps=[ANY], masks=[ANY], desc="fused")
    ours = dict.fromkeys(("table", "volumes", "figure"), "")
    return [
        (str(path.parent), _pattern(path), ours.get(name, "Segmentation"))
        for name, path in paths.items()
    ]


def _pattern(path: Path) -> str:
    stem = re.escape(path.name.split(".")[0])
    stem = stem.replace(ANY_TOOL, "(?!fused)[A-Za-z0-9+]+")
    return stem.replace(ANY, "[A-Za-z0-9+]+") + EXTENSIONS
