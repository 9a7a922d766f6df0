"""Look at brain masks of real heads, for which there is no reference.

    python benchmarks/brain_mask.py BIDS_DIR --out FOLDER [--match 'sub-01*']

Every image goes through N4 and the brain extraction as in a run.  A Markdown table is printed
and a montage drawn; masks are kept in FOLDER, and those that are there are not made again.

* volume: of the mask, and of the template's before its surface was fitted.
* roughness: area of the mask's surface / that of a ball of its volume; 2 mm voxels.
* agreement: mean Dice with the masks of the same subject (other contrasts and sessions), each
  brought to this image by a rigid registration of the images; 2 mm voxels.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from bids_sr.engines import ants as engines
from bids_sr.engines.itk import ants_session, to_ants
from bids_sr.engines.registration_image import isotropic
from bids_sr.engines.stripped_image import stripped_brain
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

HEADING = """\
| image | method | mL | template alone, mL | roughness | agreement | CPU s |
|---|---|---|---|---|---|---|"""
SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw")
SPACING = 2.0  # mm
COLUMNS = ((2, 0.1), (2, 0.3), (2, 0.55), (2, 0.85), (1, 0.35), (1, 0.65), (0, 0.3), (0, 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for masks and montage")
    parser.add_argument("--match", nargs="+", default=["sub-*"], help="patterns of file names")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = find_images(arguments.bids_dir, arguments.match)
    records = {path: extract(path, arguments.out, arguments.threads) for path in paths}
    masked = [path for path in paths if mask_path(path, arguments.out).exists()]
    agreement = agreements(masked, arguments.out, arguments.threads)
    print(HEADING)
    for path in paths:
        print(row(path, records[path], agreement.get(path), arguments.out))
    if masked:
        montage(masked, arguments.out)


def find_images(root: Path, patterns: list[str]) -> list[Path]:
    candidates = {path for pattern in patterns for path in root.rglob(f"{pattern}.nii.gz")}
    return sorted(path for path in candidates if path.name.split(".")[0].endswith(SUFFIXES))


def mask_path(path: Path, folder: Path) -> Path:
    return folder / path.name.replace(".nii.gz", "_mask.nii.gz")


def image_path(path: Path, folder: Path) -> Path:
    return folder / path.name.replace(".nii.gz", "_n4.nii.gz")


def extract(path: Path, folder: Path, threads: int) -> dict[str, Any]:
    record_file = folder / path.name.replace(".nii.gz", ".json")
    if record_file.exists():
        return dict(json.loads(record_file.read_text()))
    volume = Volume.load(path)
    if not image_path(path, folder).exists():
        engines.n4(volume, threads=threads)[0].save(image_path(path, folder))
    corrected = Volume.load(image_path(path, folder))
    start = time.process_time()
    try:
        mask, record = stripped_brain(volume)
        if mask is None:
            mask, record = engines.template_brain_mask(corrected, threads=threads)
        mask.save(mask_path(path, folder))
    except EngineError as error:
        record = {"Method": f"refused: {error}"}
    record["Seconds"] = time.process_time() - start
    record_file.write_text(json.dumps(record))
    return record


def row(path: Path, record: dict[str, Any], agreement: float | None, folder: Path) -> str:
    method = str(record["Method"])
    if not mask_path(path, folder).exists():
        return f"| {path.name.split('.')[0]} | {method} | | | | | |"
    cells = [
        path.name.split(".")[0],
        "template" if method.startswith("affine") else "foreground",
        f"{record['VolumeMl']:.0f}",
        f"{record['TemplateVolumeMl']:.0f}" if "TemplateVolumeMl" in record else "",
        f"{roughness(Volume.load(mask_path(path, folder))):.2f}",
        "" if agreement is None else f"{agreement:.3f}",
        f"{record['Seconds']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def roughness(mask: Volume) -> float:
    share = isotropic(mask.with_data((mask.data > 0).astype(np.float32)), SPACING)
    padded = np.pad(share.data, 2)
    points, faces, *_ = marching_cubes(padded, 0.5, spacing=(SPACING,) * 3)
    size = np.count_nonzero(padded > 0.5) * SPACING**3
    ball = np.pi ** (1 / 3) * (6 * size) ** (2 / 3)
    return float(mesh_surface_area(points, faces) / ball)


def agreements(paths: list[Path], folder: Path, threads: int) -> dict[Path, float]:
    subjects: dict[str, list[Path]] = {}
    for path in paths:
        subjects.setdefault(path.name.split("_")[0], []).append(path)
    scores: dict[Path, list[float]] = {}
    for images in subjects.values():
        for number, first in enumerate(images):
            for second in images[number + 1 :]:
                dice = rigid_dice(first, second, folder, threads)
                scores.setdefault(first, []).append(dice)
                scores.setdefault(second, []).append(dice)
    return {path: float(np.mean(scores_of_image)) for path, scores_of_image in scores.items()}


def rigid_dice(first: Path, second: Path, folder: Path, threads: int) -> float:
    """Register the images and compare their masks where both images are."""
    images, masks = (
        [isotropic(Volume.load(of(path, folder)), SPACING) for path in (first, second)]
        for of in (image_path, mask_path)
    )
    with ants_session(threads=threads, seed=0) as (ants, _):
        fixed, moving = (to_ants(ants, image) for image in images)
        transform = ants.registration(fixed, moving, "Rigid")["fwdtransforms"]

        def moved(data: Any) -> Any:
            image = to_ants(ants, images[1].with_data(np.asarray(data, np.float32)))
            return ants.apply_transforms(fixed, image, transform).numpy()

        inside = moved(np.ones(images[1].shape)) > 0.99
        moving_inside = (moved(masks[1].data) > 0.5) & inside
    fixed_inside = (masks[0].data > 0.5) & inside
    return float(
        2
        * np.count_nonzero(fixed_inside & moving_inside)
        / (fixed_inside.sum() + moving_inside.sum())
    )


def montage(paths: list[Path], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(paths), len(COLUMNS), figsize=(24, 3.2 * len(paths)), squeeze=False
    )
    for line, path in zip(axes, paths, strict=True):
        image = Volume.load(image_path(path, folder)).canonical()
        mask = Volume.load(mask_path(path, folder)).canonical().data > 0
        low, high = _box(mask)
        bright = np.percentile(image.data[mask], 99.5) * 1.1
        for cell, (axis, share) in zip(line, COLUMNS, strict=True):
            index = int(low[axis] + share * (high[axis] - low[axis]))
            height = np.delete(image.spacings, axis)
            cell.imshow(
                np.take(image.data, index, axis).T,
                cmap="gray",
                vmin=0,
                vmax=bright,
                origin="lower",
                aspect=height[1] / height[0],
            )
            outline = np.take(mask, index, axis).T
            if outline.any() and not outline.all():
                cell.contour(outline, [0.5], colors="red", linewidths=0.8)
            cell.axis("off")
        line[0].set_title(path.name.split(".")[0], fontsize=9)
    figure.tight_layout(pad=0.2)
    figure.savefig(folder / "montage.png", dpi=60)


def _box(mask: Any) -> tuple[Any, Any]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return [part.start for part in box], [part.stop - 1 for part in box]


if __name__ == "__main__":
    main()
