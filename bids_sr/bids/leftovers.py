"""Names under which earlier runs may have left files of an image that this run does not make.

They are told apart from files of others by their names and by what our sidecars hold.
Nothing here removes a file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from bids_sr.bids.derivatives import FIGURES, output_path, output_paths
from bids_sr.bids.image import AnatImage

ANY = "ANYLABEL"
"""Stands for a label that is not known: the resolution, the tool, the structure."""
EXTENSIONS = r"\.(nii\.gz|json|tsv|safetensors|svg|png)"


def leftover_patterns(output_dir: Path, image: AnatImage) -> list[tuple[str, str, str]]:
    """List the names that outputs of an image can have, whatever the options.

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
    Of an image that is not the reference, the names handed on to other tools are left out: what
    stands there is replaced when the new reference is written (:func:`.settle_references`).
    """
    paths = output_paths(output_dir, image)
    other = output_paths(output_dir, replace(image, is_reference=False))
    seg, one = {"segmentation": ANY, "desc": "sr"}, {"space": image.suffix, "desc": ANY}
    named: list[tuple[Path, str]] = [
        (output_path(output_dir, image, res=ANY, desc="sr"), "SuperResolution"),
        (paths.mask, "BrainExtraction"),
        (other.mask, "BrainExtraction"),
        (paths.native_mask, "BrainExtraction"),
        (paths.denoised, "Sources"),
        (paths.n4, "Sources"),
        (paths.uncertainty, "Sources"),
        (paths.model, ""),
        (output_path(output_dir, image, suffix="dseg", **seg), "Segmentation"),
        (output_path(output_dir, image, suffix="volumes", extension=".tsv", **seg), ""),
        (output_path(output_dir, image, label=ANY, suffix="probseg", **one), "Segmentation"),
        (output_path(output_dir, image, label=ANY, suffix="mask", **one), "Segmentation"),
        *((paths.figures[name], "") for name in FIGURES),
        (
            output_path(output_dir, image, datatype="figures", desc=f"seg{ANY}", extension=".svg"),
            "",
        ),
    ]
    if paths.preproc is not None:
        named.append((paths.preproc, "SuperResolution"))
    found = [(str(path.parent), _pattern(path), field) for path, field in named]
    return list(dict.fromkeys(found))


def _pattern(path: Path) -> str:
    stem = re.escape(path.name.split(".")[0])
    return stem.replace(ANY, "[A-Za-z0-9+]+") + EXTENSIONS
