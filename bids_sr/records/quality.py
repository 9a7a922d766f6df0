"""The QC file of an image: what each step did, how good the result is, and what it warns of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bids_sr.files import read_json_or_empty
from bids_sr.records.json_values import mapping, number, text, texts
from bids_sr.records.learning_curve import NO_CURVE, LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.slice_faults import SliceRecord
from bids_sr.records.step_record import StepRecord
from bids_sr.records.verdict import Verdict

NOT_A_RESULT = "not a result: made with --sloppy, coarse settings for tests only"
STEPS = {
    "check": "CheckInput",
    "denoise": "Denoise",
    "bias_correction": "BiasCorrection",
    "slice_gain": "SliceGain",
    "brain_mask": "BrainMask",
}
"""Steps before super-resolution, and where each stands in the file."""


@dataclass(frozen=True, kw_only=True)
class QualityRecord:
    """Hold what is known of the result of one image."""

    image: str
    """Path below the root of the input dataset."""
    suffix: str = ""
    action: str = ""
    """``super-resolve`` or ``pass-through``."""
    sloppy: bool = False
    """Made with ``--sloppy``: not a result."""
    steps: Mapping[str, StepRecord] = field(default_factory=dict)
    """By the names in ``STEPS``."""
    method: MethodRecord = field(default_factory=MethodRecord)
    curve: LearningCurve = NO_CURVE
    segmentations: tuple[StepRecord, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each step took."""
    warnings: tuple[str, ...] = ()
    measures: StepRecord = field(default_factory=StepRecord)
    """What was measured on the volumes for the checks."""
    verdict: Verdict | None = None
    """None in files of earlier versions."""

    def step(self, name: str) -> StepRecord:
        """Return what a step before super-resolution did, by its name in ``STEPS``."""
        return self.steps.get(name, StepRecord())

    def segmentation(self, tool: str) -> StepRecord:
        """Return what a segmentation tool did; without facts where it was not asked for."""
        return next((step for step in self.segmentations if step.tool == tool), StepRecord())

    @property
    def left_out(self) -> list[StepRecord]:
        """Steps before super-resolution that failed, and without which the image went on."""
        return [step for step in self.steps.values() if step.failed]

    @classmethod
    def of(
        cls,
        *,
        image: str,
        suffix: str,
        action: str,
        sloppy: bool,
        steps: Mapping[str, StepRecord],
        method: MethodRecord,
        curve: LearningCurve,
        segmentations: tuple[StepRecord, ...] = (),
        later: tuple[StepRecord, ...] = (),
        measures: StepRecord | None = None,
    ) -> QualityRecord:
        """Gather the records of an image's steps, with times and warnings.

        Parameters
        ----------
        image, suffix, action, sloppy, steps, method, curve, segmentations
            As the fields.
        later : tuple of StepRecord
            What was made from the result, such as figures; read for the warnings.
        measures : StepRecord, optional
            What was measured on the volumes.
        """
        times = {name: step.seconds for name, step in steps.items()}
        times["super_resolution"] = method.seconds
        times["guide"] = method.guide.seconds if method.guide else None
        times |= {f"segmentation_{step.tool}": step.seconds for step in segmentations}
        said = [step.warning for step in steps.values()]
        measures = measures or StepRecord()
        after = (*segmentations, *later, measures)
        said += [*method.warnings, *(step.warning for step in after)]
        return cls(
            image=image,
            suffix=suffix,
            action=action,
            sloppy=sloppy,
            steps=steps,
            method=method,
            curve=curve,
            segmentations=segmentations,
            seconds={name: value for name, value in times.items() if value is not None},
            warnings=tuple(filter(None, [NOT_A_RESULT if sloppy else "", *said])),
            measures=measures,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``docs/reference/outputs.md`` documents the names."""
        output, mask = self.method.output, self.step("brain_mask")
        return {
            "Image": self.image,
            "Suffix": self.suffix,
            "Action": self.action,
            **({"Sloppy": True} if self.sloppy else {}),
            **(self.verdict.to_dict() if self.verdict else {}),
            "Shape": list(output.shape) if output else [],
            "Spacings": list(output.spacings) if output else [],
            "DataConsistencyResidualPercent": output.residual_percent if output else None,
            "InputRange": list(self.step("check").input_range),
            "OutputRange": list(output.intensities) if output else [],
            "BrainMaskMethod": mask.method,
            "BrainMaskVolumeMl": mask.volume_ml,
            **{key: dict(self.step(name).facts) for name, key in STEPS.items()},
            "SuperResolution": self.method.to_dict(),
            **self.method.slice_record.to_dict(),
            "LearningCurve": self.curve.to_columns(),
            "Segmentations": {step.tool: dict(step.facts) for step in self.segmentations},
            **({"Measures": dict(self.measures.facts)} if self.measures.facts else {}),
            "TimingsSeconds": dict(self.seconds),
            "Warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QualityRecord | None:
        """Read what :meth:`to_dict` makes; None where it does not say of which image it is."""
        image = text(values.get("Image"))
        if not image:
            return None
        times = mapping(values.get("TimingsSeconds"))
        seconds = {str(name): number(value) for name, value in times.items()}
        method = MethodRecord.from_dict(values.get("SuperResolution"))
        return cls(
            image=image,
            suffix=text(values.get("Suffix")),
            action=text(values.get("Action")),
            sloppy=bool(values.get("Sloppy")),
            steps={name: StepRecord.from_value(values.get(key)) for name, key in STEPS.items()},
            method=replace(method, slice_record=SliceRecord.from_dict(values)),
            curve=LearningCurve.from_columns(values.get("LearningCurve")),
            segmentations=tuple(
                StepRecord({"Tool": str(tool), **mapping(facts)})
                for tool, facts in mapping(values.get("Segmentations")).items()
            ),
            seconds={name: value for name, value in seconds.items() if value is not None},
            warnings=texts(values.get("Warnings")),
            measures=StepRecord.from_value(values.get("Measures")),
            verdict=Verdict.from_dict(values),
        )


def read_quality(path: Path) -> QualityRecord | None:
    """Read a QC file; None where there is none that can be read."""
    return QualityRecord.from_dict(read_json_or_empty(path))
