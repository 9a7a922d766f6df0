"""What a method of super-resolution did to an image, and what it warns of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bids_sr.files import text_digest
from bids_sr.imaging import Acquisition
from bids_sr.method_facts import methods_that
from bids_sr.records.guide_record import GuideRecord
from bids_sr.records.json_values import mapping, number, numbers, text, texts
from bids_sr.records.profile_record import RECORD as PROFILE
from bids_sr.records.profile_record import ProfileRecord
from bids_sr.records.slice_faults import SliceRecord, axes_from, faults_from
from bids_sr.records.uncertainty import RECORD as UNCERTAINTY
from bids_sr.records.uncertainty import UncertaintyRecord


@dataclass(frozen=True, kw_only=True)
class SlicesUsed:
    """State by which slices a result was made; lengths in mm."""

    spacing: float
    thickness: float
    gap: float
    axis: int | None
    profile: str
    fwhm: float

    @classmethod
    def of(cls, acquisition: Acquisition) -> SlicesUsed:
        """Take the facts of an acquisition."""
        return cls(
            spacing=acquisition.spacing,
            thickness=acquisition.nominal_thickness,
            gap=acquisition.gap,
            axis=acquisition.slice_axis,
            profile=acquisition.slice_profile.name,
            fwhm=acquisition.slice_profile.fwhm,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar."""
        return {key: getattr(self, name) for name, key in _SLICE_KEYS.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SlicesUsed | None:
        """Read what :meth:`to_dict` makes; None where a length is missing."""
        lengths = {name: number(values.get(_SLICE_KEYS[name])) for name in _LENGTHS}
        axis = number(values.get(_SLICE_KEYS["axis"]))
        known = {name: value for name, value in lengths.items() if value is not None}
        if len(known) < len(_LENGTHS):
            return None
        profile = text(values.get(_SLICE_KEYS["profile"]))
        return cls(**known, axis=None if axis is None else int(axis), profile=profile)


_LENGTHS = ("spacing", "thickness", "gap", "fwhm")
_SLICE_KEYS = {
    "spacing": "SpacingBetweenSlices",
    "thickness": "SliceThickness",
    "gap": "SliceGap",
    "axis": "SliceAxis",
    "profile": "SliceProfile",
    "fwhm": "SliceProfileFWHM",
}


@dataclass(frozen=True, kw_only=True)
class HeldOutSlices:
    """Result of the held-out-slice test of an assumed slice thickness and profile."""

    assumption: str
    """``kept``, ``thinner slices``, ``none: interpolated``, or why it was ``not tested``."""
    gain: float | None = None
    """Over cubic interpolation, dB."""
    least_gain: float | None = None
    """With slices as thin as they may be, dB; None where that was not tried."""
    reason: str = ""
    """Why the plan was changed, in words; empty where it was not."""

    @property
    def was_tested(self) -> bool:
        """Whether slices could be held out at all."""
        return not self.assumption.startswith("not tested")

    @property
    def changed(self) -> bool:
        """Whether the result assumes other slices than planned."""
        return self.was_tested and not self.assumption.startswith("kept")

    @classmethod
    def from_dict(cls, values: Any, warning: Any = None) -> HeldOutSlices | None:
        """Read the entries ``HeldOutSlices`` and ``AssumptionWarning`` of a file."""
        known = mapping(values)
        if not known:
            return None
        return cls(
            assumption=text(known.get("Assumption")),
            gain=number(known.get("GainDecibel")),
            least_gain=number(known.get("LeastGainDecibel")),
            reason=text(warning),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar."""
        gains = {"GainDecibel": self.gain} if self.was_tested else {}
        if self.least_gain is not None:
            gains["LeastGainDecibel"] = self.least_gain
        facts = {"HeldOutSlices": {"Assumption": self.assumption, **gains}}
        return facts | ({"AssumptionWarning": self.reason} if self.reason else {})


@dataclass(frozen=True, kw_only=True)
class Output:
    """Describe a result: grid, intensities, agreement with the slices."""

    shape: tuple[int, ...]
    spacings: tuple[float, ...]
    """Lengths of a voxel, mm."""
    intensities: tuple[float, float]
    """Lowest and highest."""
    residual_percent: float | None
    """Of the data consistency; None where it was not measured."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar."""
        return {
            "DataConsistencyResidualPercent": self.residual_percent,
            "OutputRange": list(self.intensities),
            "OutputShape": list(self.shape),
            "OutputSpacings": list(self.spacings),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Output | None:
        """Read what :meth:`to_dict` makes; None where the grid or the range is missing."""
        shape, spacings = numbers(values.get("OutputShape")), numbers(values.get("OutputSpacings"))
        intensities = numbers(values.get("OutputRange"))
        if not shape or not spacings or len(intensities) != 2:
            return None
        return cls(
            shape=tuple(int(size) for size in shape),
            spacings=spacings,
            intensities=(intensities[0], intensities[1]),
            residual_percent=number(values.get("DataConsistencyResidualPercent")),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class MethodRecord:
    """Say what a method did; :attr:`warnings` follow from it, so that none can be forgotten."""

    method: str = ""
    """Its registered name."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    device: str = ""
    """On which the network was applied."""
    fallback: str = ""
    """Interpolation that stood in for the method; empty where none did."""
    fallback_reason: str = ""
    device_fallback: str = ""
    """Why the CPU stood in for the device that was asked for."""
    adaptation: str = ""
    """What weights were adapted to."""
    adaptation_fallback: str = ""
    """Why they were not adapted, though it was asked for."""
    model: str = ""
    """File of the weights."""
    stop_reason: str = ""
    """Why a training ended."""
    not_measured: tuple[str, ...] = ()
    """What should be known of the result and could not be measured."""
    held_out: HeldOutSlices | None = None
    slices: SlicesUsed | None = None
    """By which the result was made, where that was looked into."""
    slice_record: SliceRecord = field(default_factory=SliceRecord)
    """Slices at fault."""
    output: Output | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else was done, by the names of the sidecar; nothing is decided by it."""
    remarks: tuple[str, ...] = ()
    """Warnings of what led to this: the estimate of the slice profile, other frames."""

    def __repr__(self) -> str:
        """Name the method, with a digest of all: Nipype knows a node again by it."""
        content = text_digest(repr([getattr(self, entry.name) for entry in fields(self)]))
        return f"MethodRecord({self.method!r}, sha256={content[:16]})"

    @property
    def passed_through(self) -> bool:
        """Whether the image stayed on its acquired grid."""
        return self.method in methods_that(lambda facts: facts.keeps_grid)

    @property
    def interpolated(self) -> bool:
        """Whether the result is an interpolation after all."""
        interpolations = methods_that(lambda facts: facts.interpolates)
        return self.method in interpolations or bool(self.fallback_reason)

    @property
    def uncertainty(self) -> UncertaintyRecord | None:
        """What the uncertainty of the result means; None where it has none."""
        return UncertaintyRecord.from_dict(self.details.get(UNCERTAINTY))

    @property
    def profile_estimate(self) -> ProfileRecord:
        """What is known of the slice profile; empty where it was not estimated."""
        return ProfileRecord.from_dict(self.details.get(PROFILE))

    @property
    def guide(self) -> GuideRecord | None:
        """What a guide did; None where none was tried."""
        return GuideRecord.from_dict(self.details.get("Guide"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the result must know, a sentence each."""
        return tuple(dict.fromkeys([*self.remarks, *self._own_warnings()]))

    def _own_warnings(self) -> list[str]:
        own = []
        if self.held_out and not self.held_out.was_tested:
            own.append(
                f"the assumptions about the slices were {self.held_out.assumption}, see the log"
            )
        if self.held_out and self.held_out.reason:
            own.append(self.held_out.reason)
        own += self.slice_record.sentences
        if self.device_fallback:
            own.append(f"computed on the CPU: {self.device_fallback}")
        if self.fallback_reason:
            own.append(f"interpolated instead of super-resolved: {self.fallback_reason}")
        if self.adaptation_fallback:
            own.append(f"not adapted to the image: {self.adaptation_fallback}")
        own += [
            f"the {name} was not measured: that failed, see the log" for name in self.not_measured
        ]
        return own

    def with_details(self, **details: Any) -> MethodRecord:
        """Return the record with further details, by the names of the sidecar."""
        return replace(self, details={**self.details, **details})

    def joined(self, other: MethodRecord) -> MethodRecord:
        """Return the record with all that another says, which wins where both say something."""
        said = {entry.name: getattr(other, entry.name) for entry in fields(other)}
        empty: tuple[Any, ...] = (None, "", (), {}, SliceRecord())
        said = {name: value for name, value in said.items() if value not in empty}
        together = {name: (*getattr(self, name), *said.get(name, ())) for name in _TOGETHER}
        details = {**self.details, **other.details}
        return replace(self, **{**said, **together, "details": details})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar, without what is not known."""
        named = {key: getattr(self, name) for name, key in _KEYS.items()}
        warnings = "; ".join(self.warnings)
        slices = self.slice_record
        checked = {key: value for key, value in slices.to_dict().items() if value and key in _SEEN}
        return {
            **{key: value for key, value in named.items() if value not in (None, "", (), {})},
            **({"NotMeasured": list(self.not_measured)} if self.not_measured else {}),
            **(self.held_out.to_dict() if self.held_out else {}),
            **checked,
            **self.details,
            **(self.slices.to_dict() if self.slices else {}),
            **({"Warning": warnings} if warnings else {}),
            **(self.output.to_dict() if self.output else {}),
        }

    @classmethod
    def from_dict(cls, values: Any) -> MethodRecord:
        """Read what :meth:`to_dict` makes; several warnings have become one text."""
        known = mapping(values)
        record = cls(
            parameters=mapping(known.get("Parameters")),
            seconds=number(known.get("Seconds")),
            not_measured=texts(known.get("NotMeasured")),
            held_out=HeldOutSlices.from_dict(
                known.get("HeldOutSlices"), known.get("AssumptionWarning")
            ),
            slices=SlicesUsed.from_dict(known),
            slice_record=SliceRecord(
                faults=faults_from(known.get("SliceFaults")),
                interpolated=axes_from(known.get("InterpolatedAxes")),
            ),
            output=Output.from_dict(known),
            details={key: value for key, value in known.items() if key not in _READ},
        )
        names: dict[str, Any] = {name: text(known.get(_KEYS[name])) for name in _TEXTS}
        record = replace(record, **names)
        own = "; ".join(record.warnings)
        others = text(known.get("Warning")).removesuffix(own).removesuffix("; ")
        return replace(record, remarks=(others,)) if others else record


_KEYS = {
    "method": "Method",
    "parameters": "Parameters",
    "seconds": "Seconds",
    "model": "Model",
    "adaptation": "Adaptation",
    "adaptation_fallback": "AdaptationFallback",
    "stop_reason": "StopReason",
    "fallback": "Fallback",
    "fallback_reason": "FallbackReason",
    "device": "Device",
    "device_fallback": "DeviceFallback",
}
_TEXTS = [name for name in _KEYS if name not in ("parameters", "seconds")]
_TOGETHER = ("not_measured", "remarks")
_SEEN = ("SliceFaults", "InterpolatedAxes")
_READ = {
    *_KEYS.values(),
    *_SLICE_KEYS.values(),
    *("NotMeasured", "HeldOutSlices", "AssumptionWarning", "Warning"),
    *_SEEN,
    *("DataConsistencyResidualPercent", "OutputRange", "OutputShape", "OutputSpacings"),
}
