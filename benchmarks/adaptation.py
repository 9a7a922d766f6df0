"""Say whether adaptation to an image helps or harms, and whether the image could have told.

    python benchmarks/adaptation.py IMAGE ... --out TABLE.tsv [--protocols 5/6] [--model NAME]
    python benchmarks/adaptation.py STACK ... --out TABLE.tsv --protocols leave-slices-out

Each image is made thick, or every second slice is taken away, and reconstructed by `finetuned`
as it is and adapted.  Table: the gain of both over cubic interpolation where the image is
bright, dB; and that on the image's own slices that were held out, before and after adaptation.
The middle of heads is used, whole across the slices.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bids_sr.evaluation.protocol import Protocol, TestCase, make_case
from bids_sr.imaging import Volume, resample
from bids_sr.sr.registry import make_method

_BRIGHT = 0.05  # of the 99th percentile
_COLUMNS = ("image", "protocol", "as it is", "adapted", "own before", "own after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--protocols", nargs="+", default=["5/6"])
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--crop", type=float, default=0.6, help="share of a head's two axes")
    parser.add_argument("--model", help="weights; default: those of the method")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.write_text("\t".join(_COLUMNS) + "\n", encoding="utf-8")
    for image in arguments.images:
        for name in arguments.protocols:
            cells = [image.name.removesuffix(".nii.gz"), name, *measured(image, name, arguments)]
            line = "\t".join(cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells)
            print(line, flush=True)
            with arguments.out.open("a", encoding="utf-8") as table:
                table.write(line + "\n")


def measured(image: Path, name: str, arguments: argparse.Namespace) -> list[float]:
    """Return the numbers of a row, dB."""
    protocol = Protocol(name=name, noise=0.0 if name == "leave-slices-out" else arguments.noise)
    reference = Volume.load(image).canonical()
    if not protocol.leaves_out:
        reference = middle(reference, protocol.named().stacks[0].slice_axis or 0, arguments.crop)
    case = make_case(reference, protocol, seed=0)
    model = {"model": arguments.model} if arguments.model else {}
    gains, details = [], {}
    for adapt in ("none", "image"):
        parameters = {"adapt": adapt, "threads": arguments.threads, **model}
        method = make_method("finetuned", parameters)
        result = method.reconstruct(case.lr, case.acquisition, case.grid, judge_slices=False)
        gains.append(gain(case, result.volume))
        details = dict(result.record.details)
    known = ("ValidationGainBeforeDecibel", "ValidationGainDecibel")
    return [*gains, *(float(details.get(key) or np.nan) for key in known)]


def middle(reference: Volume, axis: int, share: float) -> Volume:
    """Cut out the middle of an image, whole along an axis."""
    box = []
    for current, size in enumerate(reference.shape):
        kept = size if current == axis else round(share * size)
        box.append(slice((size - kept) // 2, (size - kept) // 2 + kept))
    return reference.part(box)


def gain(case: TestCase, volume: Volume) -> float:
    """Return the gain over cubic interpolation where the truth is bright, dB."""
    truth = case.truth.data
    bright = case.region & (truth > _BRIGHT * np.percentile(truth, 99))
    errors = [
        float(np.mean((np.maximum(case.at_truth(estimate.data), 0) - truth)[bright] ** 2))
        for estimate in (resample(case.lr, case.grid), volume)
    ]
    return float(10 * np.log10(errors[0] / errors[1]))


if __name__ == "__main__":
    main()
