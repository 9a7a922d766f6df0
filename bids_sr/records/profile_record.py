"""What is known of a slice profile: what was told, what the image shows, and what was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bids_sr.records.json_values import mapping, number, numbers, text

RECORD = "SliceProfileEstimate"
"""Field of a sidecar that takes it."""
METHOD = "in-plane and through-plane spectra"


@dataclass(frozen=True, kw_only=True)
class ProfileRecord:
    """State how likely an image makes each slice profile, and which one was used; mm."""

    widths: tuple[float, ...] = ()
    """Widths (FWHM) that were tried; empty where nothing could be estimated."""
    shares: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Probability of each width, by kind."""
    fwhm: float | None = None
    """Mean of the width over the distribution."""
    deviation: float | None = None
    """Its standard deviation."""
    interval: tuple[float, ...] = ()
    """Between these widths lie 80 % of the probability."""
    stated_thickness: float | None = None
    stated_profile: str = ""
    used_thickness: float | None = None
    used_profile: str = ""
    loss: float | None = None
    """dB that the choice is expected to cost against the true profile."""
    sequence: str = ""
    """``2D``, ``SE``, ``GR`` or ``3D``, as the sidecar says; empty where it does not."""
    warning: str = ""
    """If nothing could be estimated, or the estimate contradicts what is told; else empty."""

    @property
    def kind_shares(self) -> dict[str, float]:
        """Probability of each kind."""
        return {kind: sum(row) for kind, row in self.shares.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar, without what is not known."""
        known: dict[str, Any] = {
            "Method": METHOD if self.widths else "",
            "SliceProfileFWHM": self.fwhm,
            "FWHMDeviation": self.deviation,
            "FWHMInterval80": list(self.interval),
            "KindShares": {kind: round(share, 3) for kind, share in self.kind_shares.items()},
            "Told": _filled(
                SliceThickness=self.stated_thickness,
                SliceProfile=self.stated_profile,
                Sequence=self.sequence,
            ),
            "Used": _filled(SliceThickness=self.used_thickness, SliceProfile=self.used_profile),
            "ExpectedLossDecibel": self.loss,
            "Widths": list(self.widths),
            "WidthShares": {kind: list(row) for kind, row in self.shares.items()},
            "Warning": self.warning,
        }
        return _filled(**known)

    @classmethod
    def from_dict(cls, values: Any) -> ProfileRecord:
        """Read what :meth:`to_dict` makes; what is missing stays unknown."""
        known = mapping(values)
        told, used = mapping(known.get("Told")), mapping(known.get("Used"))
        rows = mapping(known.get("WidthShares"))
        return cls(
            widths=numbers(known.get("Widths")),
            shares={str(kind): numbers(row) for kind, row in rows.items()},
            fwhm=number(known.get("SliceProfileFWHM")),
            deviation=number(known.get("FWHMDeviation")),
            interval=numbers(known.get("FWHMInterval80")),
            stated_thickness=number(told.get("SliceThickness")),
            stated_profile=text(told.get("SliceProfile")),
            used_thickness=number(used.get("SliceThickness")),
            used_profile=text(used.get("SliceProfile")),
            loss=number(known.get("ExpectedLossDecibel")),
            sequence=text(told.get("Sequence")),
            warning=text(known.get("Warning")),
        )


def _filled(**values: Any) -> dict[str, Any]:
    """Leave out what is not known."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
