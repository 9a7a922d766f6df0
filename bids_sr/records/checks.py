"""The checks behind the verdict on an image: one table, an entry a check.

An entry says which value is read from the QC record, the range it is expected in, and in one
line of plain English what it means to be within or outside of it.  Nothing is measured here;
how the ranges were set is in ``benchmarks/RESULTS.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bids_sr.records.json_values import mapping, number
from bids_sr.records.quality import QualityRecord
from bids_sr.records.verdict import LOOK, OK, Check, Verdict

Record = TypeVar("Record")

LEAST_NOISE_PERCENT = 1.0
"""Noise below it says little: what a residual is compared with is never less."""
BRAIN_VOLUME_ML = (900, 2000)
"""Volumes that a brain mask may have."""


@dataclass(frozen=True, kw_only=True)
class CheckRule(Generic[Record]):
    """Say what one check reads, what it expects, and what follows."""

    name: str
    title: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    value: Callable[[Record], float | None]
    """Reads the value; None where the image does not have it, and the check is left out."""
    ok: str
    """What a value within the range means."""
    look: str
    """What a value outside of the range means, and what to do."""
    named: Callable[[Record], str] = lambda record: ""
    """Names what is outside of the range, for the end of the line."""

    def check(self, record: Record) -> Check | None:
        """Check an image; None where it does not have the value."""
        value = self.value(record)
        if value is None:
            return None
        expected = self.expects(value)
        return Check(
            name=self.name,
            title=self.title,
            value=value,
            unit=self.unit,
            low=self.low,
            high=self.high,
            status=OK if expected else LOOK,
            reason=self.ok if expected else f"{self.look} {self.named(record)}".strip(),
        )

    def expects(self, value: float) -> bool:
        """Tell whether a value is within the range."""
        below = self.low is not None and value < self.low
        return not below and (self.high is None or value <= self.high)


def verdict_on(quality: QualityRecord) -> Verdict:
    """Check an image by all rules whose values it has."""
    checks = (rule.check(quality) for rule in RULES)
    return Verdict(checks=tuple(check for check in checks if check is not None))


def measured(name: str) -> Callable[[QualityRecord], float | None]:
    """Return a function that reads what was measured on the volumes, by its name in the file."""
    return lambda quality: number(quality.measures.facts.get(name))


def _steps_left_out(quality: QualityRecord) -> float | None:
    method = quality.method
    if not method.method:
        return None
    instead = (method.fallback_reason, *method.not_measured)
    segmentations = [step for step in quality.segmentations if step.failed]
    return float(len(quality.left_out) + len(segmentations) + sum(map(bool, instead)))


def _mask_volume(quality: QualityRecord) -> float | None:
    return quality.step("brain_mask").volume_ml


def _noise(quality: QualityRecord) -> float | None:
    return number(mapping(quality.method.details.get("DataConsistency")).get("NoisePercent"))


def _acquired_noise(quality: QualityRecord) -> float | None:
    """Return the noise before denoising; of files of earlier versions that after it."""
    known = measured("NoisePercent")(quality)
    return _noise(quality) if known is None else known


def _residual_per_noise(quality: QualityRecord) -> float | None:
    output, noise = quality.method.output, _noise(quality)
    if output is None or output.residual_percent is None or noise is None:
        return None
    return round(output.residual_percent / max(noise, LEAST_NOISE_PERCENT), 3)


def _overshoot(quality: QualityRecord) -> float | None:
    output, acquired = quality.method.output, quality.step("check").input_range
    if output is None or len(acquired) != 2 or acquired[1] <= acquired[0]:
        return None
    (low, high), (least, most) = acquired, output.intensities
    return round(100 * max(low - least, most - high, 0.0) / (high - low), 2)


def _own_slices_gain(quality: QualityRecord) -> float | None:
    return number(quality.method.details.get("ValidationGainDecibel"))


def _held_out_gain(quality: QualityRecord) -> float | None:
    test = quality.method.held_out
    return None if test is None else test.gain


def _coarsening(quality: QualityRecord) -> float | None:
    output, slices = quality.method.output, quality.method.slices
    spacings = quality.step("check").facts.get("Spacings")
    if output is None or slices is None or slices.axis is None:
        return None
    if not isinstance(spacings, list) or not len(spacings) == 3 == len(output.spacings):
        return None
    pairs = [
        (number(before), after)
        for axis, (before, after) in enumerate(zip(spacings, output.spacings, strict=True))
        if axis != slices.axis
    ]
    shares = [after / before for before, after in pairs if before]
    return round(max(shares), 3) if shares else None


def _bright_tail(quality: QualityRecord) -> float | None:
    return measured("BrightTail")(quality) if quality.suffix == "T1w" else None


def _slice_faults(quality: QualityRecord) -> float | None:
    record = quality.method.slice_record
    if not record.differences:  # the slices were not examined
        return None
    return float(len({fault.slice_number for fault in record.faults}))


def _clear_faults(quality: QualityRecord) -> float | None:
    """Count clear faults where there are too few for the check of all faults."""
    if (_slice_faults(quality) or 0.0) > _TOLERATED_FAULTS:
        return None
    faults = quality.method.slice_record.faults
    return float(len({fault.slice_number for fault in faults if fault.clear})) or None


def _named_faults(quality: QualityRecord) -> str:
    """Name the first slices at fault, with what is wrong with each."""
    faults = quality.method.slice_record.faults
    words = [f"slice {fault.slice_number}: {fault.words}" for fault in faults[:_NAMED_FAULTS]]
    more = len(faults) - len(words)
    words += [f"and {more} more"] if more > 0 else []
    return f"Counted from 0: {'; '.join(words)}." if words else ""


_NAMED_FAULTS = 5
_TOLERATED_FAULTS = 2  # now and then a good slice is accused

RULES = (
    CheckRule[QualityRecord](
        name="steps",
        title="Steps left out",
        high=0,
        value=_steps_left_out,
        ok="All steps were done.",
        look="A step failed or was replaced by a simpler one: read the warnings of the image.",
    ),
    CheckRule[QualityRecord](
        name="mask_volume",
        title="Brain mask volume",
        unit="mL",
        low=BRAIN_VOLUME_ML[0],
        high=BRAIN_VOLUME_ML[1],
        value=_mask_volume,
        ok="The brain mask has a plausible volume for a brain.",
        look="The brain mask has an implausible volume for a brain: look at its outline, and do "
        "not use volumes until it is right.",
    ),
    CheckRule[QualityRecord](
        name="mask_rim",
        title="Dark voxels in the rim of the brain mask",
        unit="%",
        high=25,
        value=measured("MaskDarkRimPercent"),
        ok="The brain mask contains brain up to its surface.",
        look="The brain mask seems to reach into bone or air on one side: look at its outline.",
    ),
    CheckRule[QualityRecord](
        name="mask_outside",
        title="Brain beside the brain mask",
        unit="% of the voxels there",
        high=45,
        value=measured("BrainOutsideMaskPercent"),
        ok="The brain mask leaves no brain out.",
        look="On one side, what lies beside the brain mask looks like brain: the mask is shifted "
        "or too small. Look at its outline.",
    ),
    CheckRule[QualityRecord](
        name="brain_cut",
        title="Brain at the edge of the image",
        unit="% of its largest section",
        high=15,
        value=measured("BrainCutPercent"),
        ok="The image contains the whole brain.",
        look="The brain is cut off at an edge of the image: volumes are too small.",
    ),
    CheckRule[QualityRecord](
        name="brain_cut_below",
        title="Brain at the lower edge of the image",
        unit="% of its largest section",
        high=50,
        value=measured("BrainCutBelowPercent"),
        ok="The image reaches down to the brain stem.",
        look="The lower part of the brain is missing: volumes are too small.",
    ),
    CheckRule[QualityRecord](
        name="both_edges",
        title="Lines with anatomy at both edges",
        unit="%",
        high=2,
        value=measured("BothEdgesPercent"),
        ok="The head fits into the slices.",
        look="The head reaches both edges of the slices: it is cut off, or folded over "
        "(wrap-around). Look at the edges of the image.",
    ),
    CheckRule[QualityRecord](
        name="clipped",
        title="Tissue at the highest intensity",
        unit="%",
        high=0.1,
        value=measured("ClippedPercent"),
        ok="No intensities are clipped.",
        look="The brightest tissue is clipped to one intensity: its contrast is lost. Convert or "
        "export the image again.",
    ),
    CheckRule[QualityRecord](
        name="bright_voxels",
        title="Brightest voxels of the brain mask, relative to its median",
        unit="times",
        high=1.7,
        value=_bright_tail,
        ok="The brightest voxels of the brain are as bright as white matter.",
        look="Parts of the brain mask are much brighter than white matter: vessels after "
        "a contrast agent, or fat outside the brain. Look at the mask, and check whether a "
        "contrast agent was given.",
    ),
    CheckRule[QualityRecord](
        name="banding",
        title="Brightness of odd and even slices",
        unit="% apart",
        high=3,
        value=measured("BandingPercent"),
        ok="Odd and even slices are about equally bright.",
        look="Odd and even slices differ in brightness: look for stripes across the slices.",
    ),
    CheckRule[QualityRecord](
        name="slices",
        title="Slices at fault",
        high=_TOLERATED_FAULTS,
        value=_slice_faults,
        ok="No slice seems to have moved or lost signal.",
        look="Slices moved, lost signal, or are repeated or missing: look at these slices.",
        named=_named_faults,
    ),
    CheckRule[QualityRecord](
        name="clear_faults",
        title="Slices clearly at fault",
        high=0,
        value=_clear_faults,
        ok="No slice is clearly at fault.",
        look="A slice is repeated or out of order, or moved or lost signal so much that it "
        "counts less than half: look at this slice.",
        named=_named_faults,
    ),
    CheckRule[QualityRecord](
        name="snr",
        title="Signal-to-noise ratio of the tissues",
        low=4.5,
        value=measured("Snr"),
        ok="The tissues stand out from the noise.",
        look="Tissues hardly stand out from the noise: fine detail of the result may be noise.",
    ),
    CheckRule[QualityRecord](
        name="cnr",
        title="Contrast-to-noise ratio of grey and white matter",
        low=0.8,
        value=measured("Cnr"),
        ok="Grey and white matter differ by more than the noise.",
        look="Grey and white matter hardly differ: segmentations of tissues will be poor.",
    ),
    CheckRule[QualityRecord](
        name="noise",
        title="Noise",
        unit="% of the intensity range",
        high=2.7,
        value=_acquired_noise,
        ok="The acquired slices have usual noise.",
        look="The acquired slices are very noisy: fine detail of the result may be noise.",
    ),
    CheckRule[QualityRecord](
        name="residual",
        title="Difference from the acquired slices",
        unit="times the noise",
        high=3,
        value=_residual_per_noise,
        ok="The result agrees with the acquired slices.",
        look="The result differs from the acquired slices by more than their noise: flip between "
        "the acquired image and the result, and look for what is new or missing.",
    ),
    CheckRule[QualityRecord](
        name="sharpness",
        title="Fine detail across the slices, relative to within",
        unit="times",
        high=1.6,
        value=measured("SharpnessRatio"),
        ok="The result is about as sharp across the slices as within them, or smoother.",
        look="The result is sharper across the slices than within them: the slices may be thinner "
        "than stated, and edges exaggerated.",
    ),
    CheckRule[QualityRecord](
        name="stripes",
        title="Stripes at the slice spacing",
        unit="dB",
        high=4,
        value=measured("StripesDecibel"),
        ok="The slices do not show through in the result.",
        look="The slices show through in the result as stripes: look at the planes across them.",
    ),
    CheckRule[QualityRecord](
        name="uncertainty",
        title="Median uncertainty",
        unit="% of the intensity range",
        high=12,
        value=measured("UncertaintyPercent"),
        ok="The expected errors are small.",
        look="The expected errors are large: do not rely on fine detail.",
    ),
    CheckRule[QualityRecord](
        name="overshoot",
        title="Intensities beyond the acquired range",
        unit="% of the range",
        high=50,
        value=_overshoot,
        ok="The result has the intensities of the acquired image.",
        look="The result has intensities that the acquired image does not have: look for bright "
        "or dark edges.",
    ),
    CheckRule[QualityRecord](
        name="own_slices",
        title="Gain of the network over interpolation",
        unit="dB",
        low=0,
        value=_own_slices_gain,
        ok="On parts of this image that it did not see, the network is better than interpolation.",
        look="On parts of this image that it did not see, the network is no better than "
        "interpolation: compare it with --sr-method bspline.",
    ),
    CheckRule[QualityRecord](
        name="thickness",
        title="Gain on left-out slices with the assumed thickness",
        unit="dB",
        low=0.1,
        value=_held_out_gain,
        ok="The slice thickness was assumed; the reconstruction of left-out slices supports it.",
        look="The slice thickness was assumed, and the reconstruction of left-out slices does "
        "not support it: state SliceThickness in the sidecar, or give --slice-thickness.",
    ),
    CheckRule[QualityRecord](
        name="in_plane",
        title="Output voxel size within the slices",
        unit="times the acquired one",
        high=2.5,
        value=_coarsening,
        ok="Most of the detail within the slices is kept.",
        look="Detail within the slices was lost, because the output voxels are much larger than "
        "the acquired ones: use --output-resolution native to keep it.",
    ),
)
"""All checks, in the order in which they are shown."""
