"""The checks behind the verdict on a fused volume: one table, an entry a check.

They read what became of the stacks.  Each stack has a verdict of its own
(:mod:`bids_sr.records.checks`), which is not repeated here.
"""

from __future__ import annotations

from collections.abc import Iterable

from bids_sr.records.checks import BRAIN_VOLUME_ML, LEAST_NOISE_PERCENT, CheckRule
from bids_sr.records.fusion_record import FusionRecord
from bids_sr.records.verdict import Verdict


def verdict_on_fused(record: FusionRecord) -> Verdict | None:
    """Check a fused volume by all rules whose values it has; None where nothing was fused."""
    if record.status != "done":
        return None
    checks = (rule.check(record) for rule in FUSION_RULES)
    return Verdict(checks=tuple(check for check in checks if check is not None))


def _left_out(record: FusionRecord) -> float | None:
    return float(len(record.stacks) - len(record.used))


def _failed_steps(record: FusionRecord) -> float | None:
    return float(sum(step.failed for step in record.segmentations))


def _registration(record: FusionRecord) -> float | None:
    return _largest(stack.registration_residual for stack in record.stacks if stack.used)


def _odd_slices(record: FusionRecord) -> float | None:
    return float(sum(len(stack.odd_slices) for stack in record.stacks if stack.used))


def _residual_per_noise(record: FusionRecord) -> float | None:
    ratios = _largest(
        stack.residual_percent / max(stack.noise_percent, LEAST_NOISE_PERCENT)
        for stack in record.stacks
        if stack.used and stack.residual_percent is not None and stack.noise_percent is not None
    )
    return None if ratios is None else round(ratios, 3)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


FUSION_RULES = (
    CheckRule[FusionRecord](
        name="stacks",
        title="Stacks left out",
        high=0,
        value=_left_out,
        ok="All stacks are in the fused volume.",
        look="A stack was left out because it has no result or does not fit to the others: read "
        "why in the table of the stacks.",
    ),
    CheckRule[FusionRecord](
        name="steps",
        title="Steps left out",
        high=0,
        value=_failed_steps,
        ok="All steps were done.",
        look="A segmentation of the fused volume failed: read the warnings.",
    ),
    CheckRule[FusionRecord](
        name="registration",
        title="Misfit of a stack after registration",
        unit="of that of shifted copies",
        high=0.45,
        value=_registration,
        ok="The stacks lie on each other.",
        look="A stack hardly fits better than if it were shifted: flip between the stacks, and "
        "look for double edges in the fused volume.",
    ),
    CheckRule[FusionRecord](
        name="slices",
        title="Slices that count less",
        high=2,
        value=_odd_slices,
        ok="The slices of the stacks agree.",
        look="Slices of a stack disagree with the other stacks (motion, lost signal) and count "
        "less: look at these slices.",
    ),
    CheckRule[FusionRecord](
        name="residual",
        title="Largest difference from the slices of a stack",
        unit="times the noise",
        high=3,
        value=_residual_per_noise,
        ok="The fused volume agrees with the acquired slices of all stacks.",
        look="The fused volume differs from the slices of a stack by more than their noise: that "
        "stack has another contrast, or the patient moved during it.",
    ),
    CheckRule[FusionRecord](
        name="mask_volume",
        title="Brain mask volume",
        unit="mL",
        low=BRAIN_VOLUME_ML[0],
        high=BRAIN_VOLUME_ML[1],
        value=lambda record: record.brain_mask_ml,
        ok="The brain mask has a plausible volume for a brain.",
        look="The brain mask has an implausible volume for a brain: look at its outline, and do "
        "not use volumes until it is right.",
    ),
)
"""All checks, in the order in which they are shown."""
