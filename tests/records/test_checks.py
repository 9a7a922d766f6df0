"""Each check is silent on a usual value and fires on one outside of its range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bids_sr.imaging import Acquisition
from bids_sr.records.checks import RULES, CheckRule, verdict_on
from bids_sr.records.fusion_checks import FUSION_RULES
from bids_sr.records.method_record import HeldOutSlices, MethodRecord, Output, SlicesUsed
from bids_sr.records.quality import QualityRecord
from bids_sr.records.slice_faults import (
    MISSING,
    MOTION,
    REPEATED,
    SIGNAL_LOSS,
    SliceFault,
    SliceRecord,
)
from bids_sr.records.step_record import StepRecord
from bids_sr.records.verdict import Check

REPOSITORY = Path(__file__).resolve().parents[2]

OUTPUT = Output(
    shape=(180, 216, 180),
    spacings=(1.0, 1.0, 1.0),
    intensities=(0.0, 1010.0),
    residual_percent=0.9,
)
METHOD = MethodRecord(
    method="finetuned",
    slices=SlicesUsed.of(Acquisition(spacing=6.0, thickness=5.0, slice_axis=2)),
    held_out=HeldOutSlices(assumption="kept", gain=1.1),
    output=OUTPUT,
    details={"DataConsistency": {"NoisePercent": 1.5}, "ValidationGainDecibel": 1.4},
)
GOOD = QualityRecord(
    image="sub-01/anat/sub-01_T1w.nii.gz",
    suffix="T1w",
    steps={
        "check": StepRecord({"InputRange": [0, 1000], "Spacings": [0.7, 0.7, 6.0]}),
        "brain_mask": StepRecord({"Method": "template", "VolumeMl": 1400}),
    },
    method=METHOD,
    measures=StepRecord(
        {
            "SharpnessRatio": 0.8,
            "StripesDecibel": 0.2,
            "UncertaintyPercent": 4.0,
            "ClippedPercent": 0.002,
            "BandingPercent": 0.3,
            "Snr": 7.0,
            "Cnr": 1.7,
            "BrainCutPercent": 3.0,
            "BrainCutBelowPercent": 18.0,
            "BothEdgesPercent": 0.0,
            "MaskDarkRimPercent": 9.0,
            "BrainOutsideMaskPercent": 20.0,
            "BrightTail": 1.3,
        }
    ),
)


def with_method(**changes: Any) -> QualityRecord:
    return replace(GOOD, method=replace(METHOD, **changes))


def moved(numbers: Iterable[int]) -> SliceRecord:
    faults = [SliceFault(slice_number=number, what="motion", size=2.0) for number in numbers]
    return SliceRecord(faults=tuple(faults), differences=(1.0,) * 30)


def at_fault(what: str, weight: float = 1.0) -> SliceRecord:
    fault = SliceFault(slice_number=12, what=what, size=5.0, weight=weight)
    return SliceRecord(faults=(fault,), differences=(1.0,) * 30)


def with_mask(volume: float) -> QualityRecord:
    mask = StepRecord({"Method": "template", "VolumeMl": volume})
    return replace(GOOD, steps={**GOOD.steps, "brain_mask": mask})


def measured(**changes: float) -> QualityRecord:
    return replace(GOOD, measures=StepRecord({**GOOD.measures.facts, **changes}))


def fired(quality: QualityRecord) -> list[str]:
    return [check.name for check in verdict_on(quality).looks]


def test_names_are_unique_and_sentences_end() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.low is not None or rule.high is not None
        assert rule.ok.endswith(".")
        assert rule.look.endswith(".")


def test_a_good_image_is_ok() -> None:
    verdict = verdict_on(GOOD)
    assert verdict.status == "ok"
    assert {check.name for check in verdict.checks} >= {
        "steps",
        "mask_volume",
        "noise",
        "residual",
    }


def test_what_is_not_known_is_not_checked() -> None:
    """An image of a knee has no brain mask, an old record has no measures."""
    known = verdict_on(QualityRecord(image="a_T1w.nii"))
    assert known.checks == ()
    assert known.status == "ok"


@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("mask_volume", with_mask(400)),
        ("mask_volume", with_mask(2600)),
        ("steps", with_method(fallback_reason="too few slices")),
        ("steps", with_method(not_measured=("data consistency",))),
        (
            "steps",
            replace(GOOD, steps={**GOOD.steps, "denoise": StepRecord({"Status": "failed"})}),
        ),
        (
            "steps",
            replace(GOOD, segmentations=(StepRecord({"Tool": "atropos", "Status": "failed"}),)),
        ),
        ("noise", with_method(details={"DataConsistency": {"NoisePercent": 12.0}})),
        ("residual", with_method(output=replace(OUTPUT, residual_percent=8.0))),
        ("overshoot", with_method(output=replace(OUTPUT, intensities=(0.0, 1900.0)))),
        ("own_slices", with_method(details={"ValidationGainDecibel": -0.2})),
        ("thickness", with_method(held_out=HeldOutSlices(assumption="thinner slices", gain=0.0))),
        ("in_plane", with_method(output=replace(OUTPUT, spacings=(3.0, 3.0, 1.0)))),
        ("mask_rim", measured(MaskDarkRimPercent=60)),
        ("mask_outside", measured(BrainOutsideMaskPercent=70)),
        ("noise", measured(NoisePercent=3.1)),
        ("brain_cut", measured(BrainCutPercent=40)),
        ("brain_cut_below", measured(BrainCutBelowPercent=80)),
        ("both_edges", measured(BothEdgesPercent=20)),
        ("clipped", measured(ClippedPercent=2)),
        ("bright_voxels", measured(BrightTail=2.2)),
        ("banding", measured(BandingPercent=6)),
        ("snr", measured(Snr=3)),
        ("cnr", measured(Cnr=0.4)),
        ("sharpness", measured(SharpnessRatio=2.5)),
        ("stripes", measured(StripesDecibel=9)),
        ("uncertainty", measured(UncertaintyPercent=20)),
        ("slices", with_method(slice_record=moved(range(3, 9)))),
        ("clear_faults", with_method(slice_record=at_fault(SIGNAL_LOSS, weight=0.0))),
        ("clear_faults", with_method(slice_record=at_fault(REPEATED))),
    ],
)
def test_a_check_fires_on_what_is_spoilt(name: str, spoilt: QualityRecord) -> None:
    assert name in fired(spoilt)


def test_single_faults_that_may_be_anatomy_are_ok() -> None:
    for what in (MISSING, MOTION, SIGNAL_LOSS):
        assert not fired(with_method(slice_record=at_fault(what)))


def test_bright_voxels_mean_something_in_a_t1w_only() -> None:
    """Fluid of a T2w and lesions of a FLAIR are bright by nature."""
    assert "bright_voxels" not in fired(replace(measured(BrightTail=2.6), suffix="T2w"))


def test_a_small_residual_is_compared_with_a_least_noise() -> None:
    """Without noise every residual would be large."""
    clean = {"DataConsistency": {"NoisePercent": 0.01}}
    assert "residual" not in fired(with_method(details=clean))


def test_the_check_of_slices_names_the_first_of_them() -> None:
    quality = with_method(slice_record=moved(range(3, 10)))
    (check,) = (check for check in verdict_on(quality).checks if check.name == "slices")
    assert "Counted from 0: slice 3: moved by about" in check.reason
    assert check.reason.endswith("; and 2 more.")


@pytest.mark.parametrize(("part", "rules"), [(0, RULES), (1, FUSION_RULES)])
def test_the_page_has_every_check_with_its_range(
    part: int, rules: Iterable[CheckRule[Any]]
) -> None:
    page = (REPOSITORY / "docs/explanation/verdict.md").read_text(encoding="utf-8")
    page = page.split("## Fused volumes")[part]
    for rule in rules:
        check = Check(
            name=rule.name, title=rule.title, value=0, unit=rule.unit, low=rule.low, high=rule.high
        )
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{rule.name}` |"))
        assert f"| {check.expected_words} |" in row
