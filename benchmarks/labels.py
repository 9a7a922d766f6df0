"""Measure how well label maps of thick slices come back on the fine grid.

    python benchmarks/labels.py LABELS ... --labels 2 3 4 10 17 --methods linear finetuned

Each map is degraded along z by what the slices would show: in every voxel the label with the
largest share of the slice profile.  Table: Dice of each label with the fine map.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.cli.evaluate_options import parse_spec
from bids_sr.evaluation.protocol import Protocol
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr import super_resolve_labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maps", nargs="+", type=Path, help="fine label maps, NIfTI")
    parser.add_argument("--labels", nargs="+", type=int, help="keep these, the rest is 0")
    parser.add_argument("--methods", nargs="+", default=["linear", "bspline", "finetuned"])
    parser.add_argument("--protocol", default="5/6", help="THICKNESS/SPACING[/PROFILE], mm")
    arguments = parser.parse_args()
    acquisition = Protocol(name=arguments.protocol).acquisition()
    for path in arguments.maps:
        fine = Volume.load(path, dtype=np.int32).canonical()
        if arguments.labels:
            fine = fine.with_data(np.where(np.isin(fine.data, arguments.labels), fine.data, 0))
        labels = np.unique(fine.data[fine.data != 0])
        thick = degraded(fine, acquisition)
        print(f"| {path.name}, {arguments.protocol} mm | {' | '.join(map(str, labels))} |")
        print("|" + " --- |" * (1 + labels.size))
        for text in arguments.methods:
            spec = parse_spec(text)
            estimate = super_resolve_labels(
                thick,
                acquisition,
                method=spec.method,
                output_resolution=float(fine.spacings[2]),
                **spec.parameters,
            )
            shared = tuple(
                slice(min(sizes)) for sizes in zip(estimate.shape, fine.shape, strict=True)
            )
            scores = [
                dice(estimate.data[shared] == label, fine.data[shared] == label)
                for label in labels
            ]
            cells = " | ".join(f"{score:.3f}" for score in scores)
            print(f"| {spec.label} | {cells} |", flush=True)


def degraded(fine: Volume, acquisition: Acquisition) -> Volume:
    """Return the label that fills most of each thick-slice voxel."""
    labels = np.unique(fine.data)
    shares = [
        degrade(fine.with_data((fine.data == label).astype(np.float32)), acquisition)
        for label in labels
    ]
    largest = np.argmax([share.data for share in shares], axis=0)
    return shares[0].with_data(labels[largest].astype(np.int32))


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return the Dice coefficient."""
    return 2 * float(np.count_nonzero(first & second)) / float(first.sum() + second.sum())


if __name__ == "__main__":
    main()
