"""Calibrate the interval of `finetuned`, and check how many true values it holds.

    python benchmarks/interval_blocks.py FOLDER IMAGE ... --masks MASKS --rounds 12
    python benchmarks/interval.py FOLDER --out MODEL.json

A linear model learns, from the features of a voxel, the size that 90 % of the errors stay below.
One head after the other is left out of the fit; its errors, over what is predicted for it, set the
width of the interval for all other heads, and are checked by the width that those set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.stats import spearmanr

from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.uncertainty import COVERAGE
from bids_sr.sr.contract.weights import Weights, locate
from bids_sr.sr.inference.error_features import NAMES, error_features

Array = npt.NDArray[np.float32]
VOXELS = 30000
"""Voxels of a block that are kept, at most."""
VOXELS_A_FIT = 6000
SHRINKAGE = 1e-4
LEARNT_FROM = (
    "sub-adult01",
    "sub-adult02",
    "sub-adult11",
    "sub-adult12",
    "sub-arc2208",
    "sub-child01",
    "sub-msCS26",
)
"""Heads that `brain-5` learnt from."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Hold voxels of one simulated acquisition."""

    head: str
    image: str
    protocol: str
    axis: int
    noise: float
    profile: str
    features: Array
    """(N, F)"""
    log_scale: Array
    """(N,)"""
    errors: Array
    """(N,) absolute errors."""
    views: Array
    """(N,) standard deviation from the views alone."""
    around: Array
    """(N,) root mean square of the true errors of the 26 neighbours: what no map can know."""

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Compute the features of a block, and keep some of its voxels within the brain."""
        with np.load(path, allow_pickle=False) as content:
            facts = json.loads(str(content["facts"]))
            arrays = {key: content[key] for key in content if key != "facts"}
        axis = facts["axis"]
        acquisition = Acquisition(
            spacing=facts.pop("spacing"),
            thickness=facts.pop("thickness"),
            profile=facts["profile"],
            slice_axis=axis,
        )
        sr = Volume(arrays["sr"], arrays["affine"])
        lr = Volume(arrays["lr"], arrays["lr_affine"])
        errors = np.abs(arrays["sr"] - arrays["truth"])
        others = np.full((3, 3, 3), 1 / 26)
        others[1, 1, 1] = 0
        around = np.sqrt(ndimage.correlate(errors.astype(np.float64) ** 2, others))
        inside = np.flatnonzero(np.moveaxis(arrays["inside"], axis, 0))
        random = np.random.default_rng(0)
        kept = np.sort(random.choice(inside, min(VOXELS, inside.size), replace=False))
        features = np.empty((*np.moveaxis(errors, axis, 0).shape, len(NAMES)), np.float32)
        log_scale = np.empty(features.shape[:3], np.float32)
        for part in error_features(sr, lr, acquisition, sr.with_data(arrays["views"])):
            features[:, part.rows], log_scale[:, part.rows] = part.values, part.log_scale
        errors, views, around = (
            np.moveaxis(part, axis, 0).ravel()[kept].astype(np.float32)
            for part in (errors, arrays["views"], around)
        )
        return cls(
            **facts,
            features=features.reshape(-1, len(NAMES))[kept],
            log_scale=log_scale.ravel()[kept],
            errors=errors,
            views=views,
            around=around,
        )

    def logs(self) -> Array:
        """Return the logarithms of the errors over the first guess of their size."""
        return np.asarray(np.log(np.maximum(self.errors, 1e-9)) - self.log_scale, np.float32)


@dataclass(frozen=True, eq=False)
class Line:
    """A linear model of the log of the half-width over the first guess."""

    coefficients: Array
    """(F,)"""
    offset: float
    lowest: Array
    """(F,) values that the features had in the training."""
    highest: Array

    def scores(self, part: Samples) -> Array:
        """Return the log of each error over the half-width that is predicted."""
        features = np.clip(part.features, self.lowest, self.highest)
        return part.logs() - features @ self.coefficients - np.float32(self.offset)


def fitted(samples: Sequence[Samples], *, steps: int, seed: int = 0) -> Line:
    """Learn the 90 % quantile of the log errors; every acquisition counts alike.

    The pinball loss of a logarithm has its minimum at the same quantile as that of the error.
    """
    random = np.random.default_rng(seed)
    picks = [
        random.choice(len(part.errors), min(VOXELS_A_FIT, len(part.errors)), replace=False)
        for part in samples
    ]
    pairs = list(zip(samples, picks, strict=True))
    ranges = [np.quantile(part.features, (0.001, 0.999), axis=0) for part in samples]
    lowest = np.min([low for low, _ in ranges], axis=0).astype(np.float32)
    highest = np.max([high for _, high in ranges], axis=0).astype(np.float32)
    inputs = np.concatenate([part.features[pick] for part, pick in pairs]).clip(lowest, highest)
    wanted = np.concatenate([part.logs()[pick] for part, pick in pairs])
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-3
    scaled, target = torch.from_numpy((inputs - mean) / spread), torch.from_numpy(wanted)
    coefficients = torch.zeros(len(NAMES), requires_grad=True)
    offset = torch.tensor(float(np.quantile(wanted, COVERAGE)), requires_grad=True)
    optimizer = torch.optim.AdamW([coefficients, offset], lr=1e-2, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(steps):
        batch = torch.from_numpy(random.integers(0, len(target), 4096))
        missing = target[batch] - scaled[batch] @ coefficients - offset
        loss = torch.maximum(COVERAGE * missing, (COVERAGE - 1) * missing).mean()
        optimizer.zero_grad()
        (loss + SHRINKAGE * coefficients.square().sum()).backward()
        optimizer.step()
        schedule.step()
    slopes = coefficients.detach().numpy() / spread
    return Line(slopes, float(offset.detach()) - float(slopes @ mean), lowest, highest)


def log_factor(parts: Sequence[Array]) -> float:
    """Return the quantile of scores at which the interval holds its share, images alike.

    The mean over images stands for the quantile of all voxels: voxels of an image are not
    independent, images of different heads are.
    """
    return float(np.mean([np.quantile(part, COVERAGE) for part in parts]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="blocks, of interval_blocks.py")
    parser.add_argument("--also", type=Path, help="blocks that are only checked, of those heads")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--model", default="brain-5", help="the weights whose errors they are")
    parser.add_argument("--out", type=Path, help="where the model goes")
    arguments = parser.parse_args()
    samples, more = loaded(arguments.folder), loaded(arguments.also)
    heads = sorted({part.head for part in samples})
    lines = {
        head: fitted([part for part in samples if part.head != head], steps=arguments.steps)
        for head in heads
    }
    left_out = [(part, lines[part.head].scores(part)) for part in samples]
    factors = {
        head: log_factor([some for part, some in left_out if part.head != head]) for head in heads
    }
    print(table([(part, some - factors[part.head]) for part, some in left_out]))
    checked = [(part, lines[part.head].scores(part) - factors[part.head]) for part in more]
    if checked:
        print(f"\n{arguments.also}:\n\n{table(checked)}")
    if arguments.out:
        line = fitted(samples, steps=arguments.steps)
        factor = log_factor([some for _, some in left_out])
        values = as_values(line, factor, arguments.model, samples)
        print(f"wrote {write_json_atomic(arguments.out, values)}")


def loaded(folder: Path | None) -> list[Samples]:
    """Read all blocks of a folder."""
    return [Samples.load(path) for path in sorted(folder.glob("*.npz"))] if folder else []


def as_values(
    line: Line, factor: float, model: str, samples: Sequence[Samples]
) -> dict[str, object]:
    """Return what :meth:`.IntervalModel.from_dict` reads."""
    return {
        "Title": f"Half-width of the interval that holds 90 % of the true values, for {model}",
        "Weights": Weights.load(locate(model, None, offline=True)).digest,
        "Coverage": COVERAGE,
        "CalibratedOn": sorted({part.image for part in samples}),
        "Acquisitions": len(samples),
        "LogFactor": round(factor, 5),
        "Offset": round(line.offset, 5),
        "Features": {
            name: {
                "Coefficient": round(float(line.coefficients[place]), 5),
                "Lowest": round(float(line.lowest[place]), 4),
                "Highest": round(float(line.highest[place]), 4),
            }
            for place, name in enumerate(NAMES)
        },
    }


def table(rows: Sequence[tuple[Samples, Array]]) -> str:
    """Return coverage and rank correlation by group, and how many images are near 90 %."""
    lines = [
        "| images of | number | coverage, % | least | most | 86 to 94 % | rank | views | known |"
    ]
    lines.append("|" + " --- |" * 9)
    measured = [(part, measures(part, some)) for part, some in rows]
    groups: dict[str, list[Array]] = {}
    for part, row in measured:
        seen = "learnt from" if part.head in LEARNT_FROM else "unseen"
        contrast = part.image.split("_")[-1]
        noise = f"noise {100 * part.noise:g} %"
        for name in ("all", seen, contrast, part.protocol, f"axis {part.axis}", noise, part.image):
            groups.setdefault(name, []).append(row)
    for name in sorted(groups, key=lambda key: (key != "all", key.startswith("sub-"), key)):
        values = np.array(groups[name])
        inside = np.mean((values[:, 0] >= 86) & (values[:, 0] <= 94))
        cells = [name, str(len(values)), f"{values[:, 0].mean():.1f}"]
        cells += [
            f"{values[:, 0].min():.1f}",
            f"{values[:, 0].max():.1f}",
            f"{100 * inside:.0f} %",
        ]
        cells += [f"{value:.2f}" for value in values[:, 1:].mean(axis=0)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measures(part: Samples, scored: Array) -> Array:
    """Return coverage in percent and rank correlations with the error.

    Those of the interval, of the views alone, and of the true errors around each voxel.
    """
    width = np.log(np.maximum(part.errors, 1e-9)) - scored
    ranks = [spearmanr(part.errors, values)[0] for values in (width, part.views, part.around)]
    return np.array([100 * np.mean(scored <= 0), *ranks], np.float32)


if __name__ == "__main__":
    main()
