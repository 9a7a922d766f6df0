"""Plant faults in slices and count which are found, and which good slices are accused.

    python benchmarks/slice_faults.py IMAGE ... [--protocol 5/6 4/4 3/3] [--in-turn] [--acquired]

Each image is degraded along z with 1 % of noise by all protocols, or by one of them in turn, or
taken as acquired; then 2, 5 and 10 % of its slices are spoilt (at least one), at random places
between the second and the last but one that show something.  Table for each share: slices found
(named with any fault) of those spoilt, named rightly, and good slices accused.  The row "nothing"
has no fault planted.
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.evaluation.protocol import Protocol
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.records import slice_faults as names
from bids_sr.sr.slices.neighbour_fit import CoarseSlices
from bids_sr.sr.slices.slice_faults import check_slices

Slices = npt.NDArray[np.float32]
SHARES = (0.02, 0.05, 0.1)
KINDS = {
    "nothing": "",
    "motion 2 mm": names.MOTION,
    "motion 4 mm": names.MOTION,
    "motion 3 degrees": names.MOTION,
    "signal loss 20 %": names.SIGNAL_LOSS,
    "signal loss 50 %": names.SIGNAL_LOSS,
    "signal loss 90 %": names.SIGNAL_LOSS,
    "repeated": names.REPEATED,
    "missing": names.MISSING,
    "reversed": names.REVERSED,
}
NOISE = 0.01


@dataclass
class Tally:
    """Count slices of one kind of fault."""

    spoilt: int = 0
    found: int = 0
    named: int = 0
    good: int = 0
    accused: int = 0
    examples: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, help="NIfTI images")
    parser.add_argument("--protocol", nargs="+", default=["5/6", "4/4", "3/3"], help="mm")
    parser.add_argument("--in-turn", action="store_true", help="one protocol an image")
    parser.add_argument("--acquired", action="store_true", help="images are thick slices already")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of the slices")
    parser.add_argument("--verbose", action="store_true", help="name what was missed")
    arguments = parser.parse_args()
    tallies = {
        (kind, share): Tally()
        for kind in arguments.kinds
        for share in (arguments.shares if kind != "nothing" else (0.0,))
    }
    for place, path in enumerate(arguments.images):
        protocols = ["acquired"] if arguments.acquired else arguments.protocol
        for protocol in [protocols[place % len(protocols)]] if arguments.in_turn else protocols:
            lr, acquisition = stack_of(path, protocol)
            for (kind, share), tally in tallies.items():
                seed = zlib.crc32(f"{path.name} {protocol} {kind} {share}".encode())
                count(tally, lr, acquisition, kind, share, seed)
    print("| fault | of the slices | found | named rightly | good slices accused |")
    print("|" + " --- |" * 5)
    for (kind, share), tally in tallies.items():
        found, named = (
            f"{part} of {tally.spoilt} ({100 * part / tally.spoilt:.0f} %)"
            if tally.spoilt
            else "-"
            for part in (tally.found, tally.named)
        )
        accused = f"{tally.accused} of {tally.good} ({100 * tally.accused / tally.good:.1f} %)"
        print(f"| {kind} | {100 * share:g} % | {found} | {named} | {accused} |")
    if arguments.verbose:
        print("\n".join(line for tally in tallies.values() for line in tally.examples))


def stack_of(path: Path, protocol: str) -> tuple[Volume, Acquisition]:
    """Return the thick slices of an image, degraded unless they are acquired."""
    volume = Volume.load(path)
    if protocol == "acquired":
        return volume, Acquisition.from_volume(volume)
    acquisition = replace(Protocol(name=protocol).acquisition(), slice_axis=2)
    canonical = volume.canonical()
    lr = degrade(canonical, acquisition, noise_fraction=NOISE, seed=zlib.crc32(path.name.encode()))
    return lr, acquisition.for_volume(lr)


def count(
    tally: Tally, lr: Volume, acquisition: Acquisition, kind: str, share: float, seed: int
) -> None:
    """Spoil a share of the slices of a stack, and add to the tally what is found of it."""
    axis = acquisition.slice_axis
    assert axis is not None
    random = np.random.default_rng(seed)
    slices = np.moveaxis(lr.data, axis, 0).astype(np.float32)
    pixel = [float(lr.spacings[other]) for other in range(3) if other != axis]
    places = np.flatnonzero(CoarseSlices.of(lr, axis).judged)[1:-1]
    spoilt, where = spoil(slices, kind, share, places, (random, pixel))
    image = Volume(np.ascontiguousarray(np.moveaxis(spoilt, 0, axis)), lr.affine)
    faults = check_slices(image, acquisition).record.faults
    accused = {fault.slice_number for fault in faults}
    named = {fault.slice_number for fault in faults if fault.what == KINDS[kind]}
    if kind == "repeated":  # either of the two is the repeated one
        for number in where & {fault.size for fault in faults if fault.what == names.REPEATED}:
            twin = {fault.slice_number for fault in faults if fault.size == number}
            named, accused = (named - twin) | {number}, (accused - twin) | {number}
    tally.spoilt += len(where)
    tally.found += len(where & accused)
    tally.named += len(where & named)
    tally.good += len(spoilt) - len(where)
    tally.accused += len(accused - where)
    if accused != where:
        words = [
            f"{fault.slice_number} {fault.what} {fault.size:.1f}"
            for fault in faults
            if fault.slice_number not in where
        ]
        missed = sorted(int(number) for number in where - accused)
        tally.examples.append(f"{kind} {share:g} of {lr.shape}: missed {missed}, accused {words}")


def spoil(
    slices: Slices,
    kind: str,
    share: float,
    places: npt.NDArray[np.int_],
    chance: tuple[np.random.Generator, list[float]],
) -> tuple[Slices, set[int]]:
    """Return (n, H, W) slices with a share of them spoilt, and the numbers of these."""
    random, pixel = chance
    if kind == "nothing":
        return slices, set()
    number = max(1, round(share * len(slices)))
    spoilt = slices.copy()
    if kind == "reversed":
        size = max(2, number)
        start = int(random.choice(places[: -size or None]))
        spoilt[start : start + size] = spoilt[start : start + size][::-1]
        return spoilt, set(range(start, start + size))
    chosen = sorted(int(place) for place in random.choice(places, number, replace=False))
    if kind in ("missing", "repeated"):
        chosen = apart(random.permutation(places[1:-1]), number)
    if kind == "missing":
        return np.delete(spoilt, chosen, axis=0), {
            place - before - 1 for before, place in enumerate(chosen)
        }
    for place in chosen:
        if kind == "repeated":
            spoilt[place] = slices[place - 1]
        elif kind.startswith("signal loss"):
            spoilt[place] *= 1 - float(kind.split()[2]) / 100
        else:
            spoilt[place] = moved(slices[place], kind, random, pixel)
    return spoilt, set(chosen)


def apart(places: npt.NDArray[np.int_], number: int) -> list[int]:
    """Choose places that are more than 3 slices apart, as many as asked for if they fit."""
    chosen: list[int] = []
    for place in places:
        if len(chosen) < number and all(abs(int(place) - other) > 3 for other in chosen):
            chosen.append(int(place))
    return sorted(chosen)


def moved(
    image: Slices, kind: str, random: np.random.Generator, pixel: list[float]
) -> npt.NDArray[np.float32]:
    """Return a slice that moved in its plane by a distance, in any direction, or turned."""
    amount, unit = float(kind.split()[1]), kind.split()[2]
    direction = random.uniform(0, 2 * np.pi)
    turn = np.deg2rad(amount) * random.choice([-1, 1]) if unit == "degrees" else 0.0
    shift = amount * np.array([np.cos(direction), np.sin(direction)]) if unit == "mm" else 0.0
    size = np.array(pixel)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.diag(1 / size) @ rotation @ np.diag(size)
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ centre - shift / size
    return ndimage.affine_transform(image, matrix, offset, order=1, mode="nearest")


if __name__ == "__main__":
    main()
