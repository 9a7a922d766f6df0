"""Spoil images in known ways and see which checks of the verdict notice it.

    python benchmarks/verdict.py ../shared/data/clinical-2d --masks MASKS --out FOLDER
    python benchmarks/verdict.py HEADS --masks MASKS --out FOLDER --thickness 5

Each image with a brain mask of its name in MASKS (on its grid) is checked as it is and spoilt in
each way and strength of ``bids_sr.evaluation.spoilt``; others in those that need no mask.
All are interpolated (``--method bspline``): the checks that need a network are left to
``--method finetuned:adapt=none``.  With ``--thickness`` the slices are known to be so thick, and
a wrong thickness is among the spoils.  Appended to ``values.jsonl``: one line an image and spoil,
with every value.  From one or several such files, the tables of hits and false alarms, by the
ranges of today:

    python benchmarks/verdict.py --tables FOLDER/values.jsonl ...
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.bids.sidecar import AcquisitionOverrides
from bids_sr.bids.training_set import read_acquisitions
from bids_sr.cli.evaluate_options import parse_spec
from bids_sr.evaluation.image_measures import MeasuredImage, measures_of
from bids_sr.evaluation.spoilt import SPOILS, Scan, thickness
from bids_sr.imaging import Volume, lay_out_grid, resample
from bids_sr.records.checks import RULES, verdict_on
from bids_sr.records.method_record import Output
from bids_sr.records.quality import QualityRecord
from bids_sr.records.step_record import StepRecord
from bids_sr.records.verdict import Verdict
from bids_sr.sr import data_consistency_residual, reconstruct

SET_ON = ("ms01", "ms03", "adult05", "adult01", "msCS07", "adult07", "knee02")
"""Subjects by which the ranges were set; all others only check them."""
WITHOUT_MASK = ("motion", "banding", "clipped", "noise", "wrap")
"""Spoils of images without a brain mask."""
GOOD = "as it is"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?", help="folder of thick-slice images")
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tables", type=Path, nargs="+", help="values.jsonl of earlier runs")
    parser.add_argument("--include", nargs="*", default=["*"])
    parser.add_argument("--spoils", nargs="*", default=["*"], help="patterns; 'none' for none")
    parser.add_argument("--thickness", type=float, help="mm, where it is known")
    parser.add_argument("--method", default="bspline")
    parser.add_argument("--resolution", type=float, default=1.0, help="of the result, mm")
    arguments = parser.parse_args()
    if arguments.tables:
        print(tables(arguments.tables))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "values.jsonl").open("a", encoding="utf-8") as stream:
        for path in sorted(arguments.images.rglob("*.nii.gz")):
            if not any(fnmatch(path.name, pattern) for pattern in arguments.include):
                continue
            for spoil, strength, scan in scans_of(path, arguments):
                start = time.process_time()
                verdict = judged(path, scan, arguments)
                line = {
                    "image": path.name.split(".")[0],
                    "spoil": spoil,
                    "strength": strength,
                    "method": arguments.method,
                    "seconds": round(time.process_time() - start, 1),
                    **verdict.to_dict(),
                }
                stream.write(json.dumps(line) + "\n")
                stream.flush()
                print(path.name, spoil, strength, verdict.cell, flush=True)


def tables(files: list[Path]) -> str:
    """Write which checks notice what, and which fire on images as they are."""
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    looks = {(line["image"], line["spoil"], line["strength"]): looks_of(line) for line in lines}
    text = ["| spoilt | set on: noticed | by | checked on: noticed | by |", "|" + " --- |" * 5]
    kinds = dict.fromkeys((spoil, strength) for _, spoil, strength in looks)
    for spoil, strength in sorted(kinds, key=lambda kind: (kind[0] != GOOD, kind)):
        cells = []
        for half in (True, False):
            new = [
                found - (looks.get((image, GOOD, 0.0), set()) if spoil != GOOD else set())
                for (image, *kind), found in looks.items()
                if kind == [spoil, strength] and is_set_on(image) == half
            ]
            names = ", ".join(sorted(set().union(*new)))
            cells += [f"{sum(map(bool, new))} of {len(new)}", names]
        name = spoil if spoil == GOOD else f"{spoil}: {strength:g}"
        text.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(text)


def is_set_on(image: str) -> bool:
    """Tell whether the ranges were set on an image."""
    return any(image.startswith(f"sub-{subject}_") for subject in SET_ON)


def looks_of(line: dict[str, Any]) -> set[str]:
    """Judge the values of a line by the ranges of today."""
    rules = {rule.name: rule for rule in RULES}
    checks = [
        (rules[check["Name"]], check["Value"])
        for check in line["Checks"]
        if check["Name"] in rules
    ]
    return {rule.name for rule, value in checks if not rule.expects(value)}


def scans_of(path: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, float, Scan]]:
    """Yield an image as it is, and spoilt."""
    overrides = AcquisitionOverrides(slice_thickness=arguments.thickness)
    volume = Volume.load(path)
    acquisition = read_acquisitions([path], [arguments.images], overrides)[path]
    file = arguments.masks / path.name
    mask = Volume.load(file, dtype=np.uint8) if file.is_file() else None
    scan = Scan(volume=volume, mask=mask, acquisition=acquisition.for_volume(volume))
    yield GOOD, 0.0, scan
    spoils = {"thickness, %": (thickness, (-30.0, 30.0))} if arguments.thickness else {}
    for name, (spoil, strengths) in {**spoils, **SPOILS}.items():
        needed = not name.startswith(WITHOUT_MASK)
        if (mask is None and needed) or not any(
            fnmatch(name, pattern) for pattern in arguments.spoils
        ):
            continue
        if name.startswith("contrast agent") and "T1w" not in path.name:
            continue
        for strength in strengths:
            yield name, strength, spoil(scan, strength)


def judged(path: Path, scan: Scan, arguments: argparse.Namespace) -> Verdict:
    """Reconstruct an image and return the verdict on it."""
    spec = parse_spec(arguments.method)
    grid = lay_out_grid(scan.volume, slice_axis=scan.axis, output_resolution=arguments.resolution)
    acquisition = replace(scan.acquisition, assumed=())  # the held-out test trains on its own
    result = reconstruct(
        scan.volume, acquisition, method=spec.method, grid=grid, parameters=spec.parameters
    )
    volume, mask = result.volume, scan.mask
    residual = data_consistency_residual(volume, scan.volume, acquisition)
    data = scan.volume.data
    record = replace(
        result.record,
        output=Output(
            shape=volume.shape,
            spacings=tuple(map(float, volume.spacings)),
            intensities=(float(volume.data.min()), float(volume.data.max())),
            residual_percent=residual,
        ),
    )
    steps = {
        "check": StepRecord(
            {
                "InputRange": [float(data.min()), float(data.max())],
                "Spacings": [float(spacing) for spacing in scan.volume.spacings],
            }
        )
    }
    inside = None
    if mask is not None:
        voxel = float(np.prod(mask.spacings)) / 1000
        steps["brain_mask"] = StepRecord({"VolumeMl": float(np.sum(mask.data > 0)) * voxel})
        share = resample(mask.with_data(mask.data.astype(np.float32)), grid, kernel="linear")
        inside = share.with_data((share.data >= 0.5).astype(np.uint8))
    measures = measures_of(
        MeasuredImage(
            acquired=scan.volume,
            result=volume,
            acquisition=acquisition,
            brain_mask=mask,
            result_mask=inside,
            uncertainty=result.uncertainty,
        )
    )
    suffix = path.name.split(".")[0].rpartition("_")[2]
    return verdict_on(
        QualityRecord(
            image=path.name,
            suffix=suffix,
            steps=steps,
            method=record,
            measures=StepRecord(measures),
        )
    )


if __name__ == "__main__":
    main()
