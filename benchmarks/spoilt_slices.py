"""Slices of one stack spoilt on purpose: found or not, and what they cost the fused volume.

    python benchmarks/spoilt_slices.py REFERENCE --mask MASK [--spoilt 0.05] [--kept FOLDER]

REFERENCE is fine in all directions, MASK says where to score.  It is made into three stacks, 5 mm
thick every 6 mm, in three planes, with noise of 1 % and motion of 2 mm and 2 degrees between them.
Of one stack after the other the given share of the slices is spoilt, in turn one loses 70 % of its
signal, one shows the head shifted by 4 mm in its plane, one the head shifted by 4 mm in any
direction.  Only slices with at least half of the anatomy of the fullest one are chosen.  One table
row for each stack: PSNR (dB) of what is fused without spoilt slices and with them, and which
slices of which stack count less than 0.8.

FOLDER keeps reconstructions, which take most of the time, for the next call.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.metrics import psnr
from bids_sr.evaluation.protocol_name import ProtocolName
from bids_sr.evaluation.stacks import SimulatedStack, covered_by_all, simulated_stacks
from bids_sr.imaging import Volume
from bids_sr.sr import FusedReconstruction, Stack, fuse_stacks, make_method
from bids_sr.sr.together.placement import placed, rigid_motion

PROTOCOL = "5/6+5/6sagittal+5/6coronal"
SHIFT_MM = 4.0
KEPT_SIGNAL = 0.3
NOISE = 0.01
KINDS = ("lost", "shifted in plane", "shifted")


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """Name a slice that is spoilt, and how."""

    number: int
    kind: str


def main() -> None:
    parser = build_parser()
    arguments = parser.parse_args()
    reference = Volume.load(arguments.reference).canonical()
    mask = Volume.load(arguments.mask, dtype=np.int32).canonical().data > 0
    named = ProtocolName.read(PROTOCOL + arguments.motion)
    named = replace(
        named,
        stacks=tuple(
            replace(stack, slice_axis=2) if stack.slice_axis is None else stack
            for stack in named.stacks
        ),
    )
    stacks = simulated_stacks(reference, named, noise=NOISE, seed=arguments.seed)
    region = mask & covered_by_all(stacks, reference.grid)
    kept = Kept(arguments.kept, f"{arguments.reference.name}{arguments.motion}-{arguments.seed}")
    own = [kept.stack(str(number), stack) for number, stack in enumerate(stacks)]

    def score(fused: FusedReconstruction) -> float:
        values = placed(fused.volume, reference.grid, stacks[fused.frame].from_truth)
        return psnr(values, reference.data, region)

    print("| spoilt stack | spoilt slices | none spoilt | spoilt | loss | stack:slice, weight |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    fused = fuse_stacks(own)
    before = score(fused)
    print(f"| none | | {before:.2f} | | | {accused(fused)} |", flush=True)
    for number, stack in enumerate(stacks):
        if number not in arguments.stacks:
            continue
        chosen = choose(stack, arguments.spoilt, np.random.default_rng(arguments.seed + number))
        moved = shifted(reference, named, stack, number, arguments.seed)
        lr = spoil(stack.lr, moved, chosen, stack.acquisition.slice_axis or 0)
        name = f"{number}-{'-'.join(f'{one.number}{one.kind}' for one in chosen)}"
        spoilt = kept.stack(name, replace(stack, lr=lr))
        joined = [*own[:number], spoilt, *own[number + 1 :]]
        fused = fuse_stacks(joined)
        after = score(fused)
        words = ", ".join(f"{one.number} {one.kind}" for one in chosen)
        print(
            f"| {number} ({stack.lr.shape[stack.acquisition.slice_axis or 0]} slices) | {words} "
            f"| {before:.2f} | {after:.2f} | {before - after:.2f} | {accused(fused)} |",
            flush=True,
        )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("--mask", type=Path, required=True)
    parser.add_argument("--spoilt", type=float, default=0.05, help="share of the slices")
    parser.add_argument("--stacks", type=int, nargs="+", default=[0, 1, 2], help="spoilt in turn")
    parser.add_argument("--motion", default="@2mm2deg", help="between stacks; '' for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, help="folder of reconstructions")
    return parser


@dataclass(frozen=True)
class Kept:
    """Reconstruct stacks, or load what an earlier call made of them."""

    folder: Path | None
    prefix: str

    def stack(self, name: str, stack: SimulatedStack) -> Stack:
        file = self.folder and self.folder / f"{self.prefix}-{name}.pickle".replace(" ", "_")
        if file and file.is_file():
            joined: Stack = pickle.loads(file.read_bytes())
            return joined
        method = make_method("finetuned", {"adapt": "none", "threads": 1})
        result = method.reconstruct(stack.lr, stack.acquisition, stack.grid)
        joined = Stack.of(stack.lr, stack.acquisition, result)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(pickle.dumps(joined))
        return joined


def choose(stack: SimulatedStack, share: float, generator: np.random.Generator) -> list[Spoilt]:
    """Choose the slices of a stack that are spoilt."""
    axis = stack.acquisition.slice_axis or 0
    bright = stack.lr.data > 0.15 * np.percentile(stack.lr.data, 99)
    sizes = bright.sum(axis=tuple({0, 1, 2} - {axis}))
    full = np.flatnonzero(sizes >= 0.5 * sizes.max())
    count = max(1, round(share * len(sizes)))
    numbers = sorted(generator.choice(full, count, replace=False))
    return [
        Spoilt(number=int(number), kind=KINDS[place % len(KINDS)])
        for place, number in enumerate(numbers)
    ]


def shifted(
    reference: Volume, named: ProtocolName, stack: SimulatedStack, number: int, seed: int
) -> dict[str, Volume]:
    """Return the slices of a stack had the head been shifted, with the same noise."""
    generator = np.random.default_rng(seed + 100 + number)
    axis = stack.acquisition.slice_axis or 0
    slices = {}
    for kind in KINDS[1:]:
        direction = generator.normal(size=3)
        if kind == "shifted in plane":
            direction = stack.from_truth[:3, :3] @ direction
            direction[axis] = 0
            direction = stack.to_truth[:3, :3] @ direction
        shift = SHIFT_MM * direction / np.linalg.norm(direction)
        motion = rigid_motion(np.zeros(3), shift, np.zeros(3))
        moved = reference.with_data(placed(reference, reference.grid, motion, order=5))
        if reference.data.min() >= 0:
            np.maximum(moved.data, 0, out=moved.data)
        slices[kind] = simulated_stacks(moved, named, noise=NOISE, seed=seed)[number].lr
    return slices


def spoil(lr: Volume, moved: dict[str, Volume], chosen: Sequence[Spoilt], axis: int) -> Volume:
    """Return the slices of a stack with the chosen ones spoilt."""
    data = lr.data.copy()
    for one in chosen:
        plane = [slice(None)] * 3
        plane[axis] = slice(one.number, one.number + 1)
        place = tuple(plane)
        if one.kind == "lost":
            data[place] *= KEPT_SIGNAL
        else:
            data[place] = moved[one.kind].data[place]
    return lr.with_data(data)


def accused(fused: FusedReconstruction) -> str:
    """Say which slices of which stack count less, and how much."""
    words = []
    for number, stack in enumerate(fused.stacks):
        weights: npt.NDArray[np.float32] = stack.weights
        words += [
            f"{number}:{place} {weights[place]:.2f}" for place in np.flatnonzero(weights < 0.8)
        ]
    return ", ".join(words)


if __name__ == "__main__":
    main()
