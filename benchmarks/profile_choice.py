"""Measure what it costs to assume one slice profile while another is true, and fit it.

    python benchmarks/profile_choice.py IMAGE ... --out FOLDER

Fine images are degraded along z with each true profile and reconstructed, unadapted, with each
of a few others assumed.  The loss against being told the truth (gain in dB over cubic
interpolation where the image is bright) is fitted by the squared difference of the shares of
slow waves that both profiles let through, with a factor for each sign: the two numbers of
:mod:`bids_sr.sr.slices.profile_distribution`.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from assumptions import middle
from scipy import optimize

from bids_sr.evaluation.protocol import covered
from bids_sr.imaging import Acquisition, Volume, degrade, resample
from bids_sr.sr import make_method
from bids_sr.sr.slices.profile_distribution import passed

TRUE = tuple(itertools.product(("gaussian", "slr", "rect"), (1.0, 0.8)))
ASSUMED = (
    *(("gaussian", width) for width in (0.7, 0.85, 1.0)),
    *(("slr", width) for width in (0.7, 0.8, 0.9, 1.0, 1.12)),
    *(("rect", width) for width in (0.8, 1.0)),
)
"""Kind, and width as a share of the slice spacing."""
_UNADAPTED = {
    "threads": 1,
    "adapt": "none",
    "mirrored": False,
    "calibrated_uncertainty": False,
}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A true profile, an assumed one, and what that costs."""

    image: str
    spacing: float
    true: tuple[str, float]
    assumed: tuple[str, float]
    loss: float
    """dB."""

    @property
    def difference(self) -> float:
        """Share of slow waves that the assumed profile passes beyond the true one."""
        return passed(*self.assumed) - passed(*self.true)


def measure(image: Volume, name: str, spacing: float, true: tuple[str, float]) -> list[Pair]:
    """Reconstruct an image with the truth and with each assumption."""

    def acquisition(kind: str, width: float) -> Acquisition:
        return Acquisition(spacing=spacing, thickness=width * spacing, profile=kind, slice_axis=2)

    lr = degrade(image, acquisition(*true), noise_fraction=0.01, seed=0)
    truth = image.data
    bright = covered(image.grid, lr.grid) & (truth > 0.05 * np.percentile(truth, 99))

    def decibel(assumed: tuple[str, float]) -> float:
        # Slices of such crops are not judged: too little of the head is there to compare them.
        made = network.reconstruct(
            lr, acquisition(*assumed), image.grid, judge_slices=False
        ).volume
        errors = [np.maximum(v.data, 0)[bright] - truth[bright] for v in (made, cubic)]
        return float(10 * np.log10(np.mean(errors[1] ** 2) / np.mean(errors[0] ** 2)))

    cubic, network = resample(lr, image.grid), make_method("finetuned", _UNADAPTED)
    told = decibel(true)
    return [
        Pair(image=name, spacing=spacing, true=true, assumed=other, loss=told - decibel(other))
        for other in ASSUMED
        if other != true
    ]


def fitted(pairs: list[Pair]) -> tuple[tuple[float, float], float]:
    """Return the factors for more and for less passed than true, and the RMS error, dB."""
    differences = np.array([pair.difference for pair in pairs])
    losses = np.maximum([pair.loss for pair in pairs], 0)
    squares = np.column_stack([np.maximum(differences, 0), np.minimum(differences, 0)]) ** 2
    (more, less), _ = optimize.nnls(squares, losses)
    error = float(np.sqrt(np.mean((squares @ [more, less] - losses) ** 2)))
    return (float(more), float(less)), error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+", help="NIfTI images of high resolution")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--spacings", nargs="+", type=float, default=[3.0, 4.0, 6.0], help="mm")
    parser.add_argument("--crop", type=float, default=0.36, help="share of each in-plane axis")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pairs: list[Pair] = []
    with (options.out / "profile_choice.tsv").open("w", encoding="utf-8") as table:
        for path in options.images:
            image = middle(Volume.load(path).canonical(), options.crop)
            for spacing, true in itertools.product(options.spacings, TRUE):
                for pair in measure(image, path.name, spacing, true):
                    words = (*pair.true, *pair.assumed, f"{pair.difference:.4f}")
                    print(pair.image, spacing, *words, f"{pair.loss:.3f}", sep="\t", file=table)
                    pairs.append(pair)
                table.flush()
    for spacing in (None, *options.spacings):
        some = [pair for pair in pairs if spacing in (None, pair.spacing)]
        (more, less), error = fitted(some)
        print(
            f"{spacing or 'all'}: {more:.0f} where more is assumed to pass than true, {less:.0f} "
            f"where less; RMS error {error:.2f} dB of {len(some)} pairs"
        )


if __name__ == "__main__":
    main()
