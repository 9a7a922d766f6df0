"""What an uncertainty map means: a promise that was checked, or a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_sr.records.json_values import mapping, number, text, texts

COVERAGE = 0.9
"""Share of the true values that the interval shall hold."""
COVERAGE_FACTOR = 1.645
"""Half-width of the interval in values of the map: that of a normal distribution whose standard
deviation the map is."""
RECORD = "Uncertainty"
"""Field of a sidecar that takes it."""


@dataclass(frozen=True, kw_only=True)
class UncertaintyRecord:
    """State whether value ± factor x map holds 90 % of the true values, and how that is known."""

    calibrated: bool = False
    model: str = ""
    """File of the model that predicts the size of errors."""
    calibrated_on: tuple[str, ...] = ()
    """Images whose errors set the width, each head left out of the fit in turn."""
    reason: str = ""
    """Why it is not calibrated, if so."""

    def in_words(self) -> str:
        """Say what a value of the map means."""
        if self.calibrated:
            return (
                f"value ± {COVERAGE_FACTOR:g} times the map holds {100 * COVERAGE:g} % of the "
                "true values of a head"
            )
        return "not calibrated: it ranks voxels and promises no interval"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar."""
        facts: dict[str, Any] = {"Calibrated": self.calibrated}
        if self.calibrated:
            facts |= {"CoverageTarget": COVERAGE, "CoverageFactor": COVERAGE_FACTOR}
        known = {
            "Model": self.model,
            "CalibratedOn": list(self.calibrated_on),
            "Reason": self.reason,
        }
        return facts | {key: value for key, value in known.items() if value}

    @classmethod
    def from_dict(cls, values: Any) -> UncertaintyRecord | None:
        """Read what :meth:`to_dict` makes; None where nothing is said."""
        known: Mapping[str, Any] = mapping(values)
        if "Calibrated" not in known:
            return None
        return cls(
            calibrated=known["Calibrated"] is True
            and number(known.get("CoverageTarget")) is not None,
            model=text(known.get("Model")),
            calibrated_on=texts(known.get("CalibratedOn")),
            reason=text(known.get("Reason")),
        )
