"""Each check of a fused volume is silent on a usual value and fires outside of its range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bids_sr.records.fusion_checks import FUSION_RULES, verdict_on_fused
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.records.step_record import StepRecord

GOOD = FusionRecord(
    status="done",
    product="sub-01_desc-fused_T2w",
    frame="a",
    brain_mask_ml=1350.0,
    stacks=tuple(
        FusedStack(
            image=image,
            used=True,
            registration_residual=0.3,
            noise_percent=1.2,
            residual_percent=1.9,
        )
        for image in "abc"
    ),
)


def with_stack(**changes: Any) -> FusionRecord:
    return replace(GOOD, stacks=(*GOOD.stacks[:2], replace(GOOD.stacks[2], **changes)))


def test_a_good_volume_is_ok_by_all_checks() -> None:
    verdict = verdict_on_fused(GOOD)
    assert verdict is not None
    assert verdict.status == "ok"
    assert [check.name for check in verdict.checks] == [rule.name for rule in FUSION_RULES]


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (with_stack(used=False, reason="no result", residual_percent=None), {"stacks"}),
        (with_stack(registration_residual=0.47), {"registration"}),
        (with_stack(residual_percent=4.0), {"residual"}),
        (with_stack(odd_slices=((1, "moved"), (2, "moved"), (3, "moved"))), {"slices"}),
        (with_stack(odd_slices=((1, "moved"), (2, "moved"))), set()),
        (replace(GOOD, brain_mask_ml=500.0), {"mask_volume"}),
        (replace(GOOD, segmentations=(StepRecord({"Status": "failed"}),)), {"steps"}),
    ],
)
def test_what_is_wrong_is_named(record: FusionRecord, names: set[str]) -> None:
    verdict = verdict_on_fused(record)
    assert verdict is not None
    assert {check.name for check in verdict.looks} == names
    assert FusionRecord.from_dict(replace(record, verdict=verdict).to_dict()).verdict == verdict


def test_what_was_not_fused_has_no_verdict() -> None:
    assert verdict_on_fused(replace(GOOD, status="skipped")) is None


def test_a_volume_without_a_brain_mask_is_judged_by_the_rest() -> None:
    verdict = verdict_on_fused(replace(GOOD, brain_mask_ml=None))
    assert verdict is not None
    assert "mask_volume" not in {check.name for check in verdict.checks}
