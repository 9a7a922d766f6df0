"""A learning curve: loss and validation during the training of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bids_sr.files import text_digest
from bids_sr.records.json_values import mapping, number, text


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Hold one point of a learning curve.

    Attributes
    ----------
    step : int
        Training steps done.
    seconds : float
        Time since training began, s.
    loss : float
        Mean training loss since the point before.
    validation : float, optional
        Score on held-out data, higher is better; None where not measured.
    """

    step: int
    seconds: float
    loss: float
    validation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Say what the validation of a learning curve is.

    Attributes
    ----------
    quantity : str
        ``gain``, or what else is measured; higher is better.
    baseline : str
        What it is a gain over; empty where it is none, or is not recorded.
    unit : str
    held_out : str
        What it is measured on.
    """

    quantity: str = "validation"
    baseline: str = ""
    unit: str = ""
    held_out: str = ""

    @property
    def title(self) -> str:
        """Quantity, baseline and unit in words.

        >>> GAIN_OVER_LINEAR.title
        'gain over linear interpolation (dB)'
        """
        return self.name + (f" ({self.unit})" if self.unit else "")

    @property
    def name(self) -> str:
        """Quantity and baseline in words."""
        return self.quantity + (f" over {self.baseline}" if self.baseline else "")

    @classmethod
    def from_dict(cls, values: Any) -> Validation:
        """Read what :func:`dataclasses.asdict` makes; files of earlier versions have nothing."""
        known = mapping(values)
        return cls(
            quantity=text(known.get("quantity")) or "validation",
            baseline=text(known.get("baseline")),
            unit=text(known.get("unit")),
            held_out=text(known.get("held_out")),
        )


_NAMES = ("step", "seconds", "loss", "validation")
_PATCHES = "held-out patches, degraded by the same model"
GAIN_OVER_CUBIC = Validation(
    quantity="gain", baseline="cubic interpolation", unit="dB", held_out=_PATCHES
)
GAIN_OVER_LINEAR = Validation(
    quantity="gain",
    baseline="linear interpolation",
    unit="dB",
    held_out="slices left out, made from their neighbours",
)
MINUS_CONTENT_LOSS = Validation(quantity="minus the content loss", held_out=_PATCHES)


@dataclass(frozen=True, kw_only=True, repr=False)
class LearningCurve:
    """Hold the points of a training, and what was validated in it.

    Attributes
    ----------
    points : tuple[CurvePoint, ...]
        Empty for methods that do not learn.
    validation : Validation
    """

    points: tuple[CurvePoint, ...] = ()
    validation: Validation = Validation()

    def __repr__(self) -> str:
        """Say how long it is, with a digest: Nipype knows a node again by it."""
        content = text_digest(repr((self.points, self.validation)))
        return f"LearningCurve({len(self.points)} points, sha256={content[:16]})"

    @property
    def scores(self) -> list[float]:
        """Validation at the points where it was measured."""
        return [point.validation for point in self.points if point.validation is not None]

    @property
    def last_score(self) -> float | None:
        """Validation where it was measured last; None where it never was."""
        return self.scores[-1] if self.scores else None

    def to_columns(self) -> dict[str, Any]:
        """Return the curve as plain values, a list a quantity."""
        columns = {name: [getattr(point, name) for point in self.points] for name in _NAMES}
        return columns | ({"measure": asdict(self.validation)} if self.scores else {})

    @classmethod
    def from_columns(cls, values: Any) -> LearningCurve:
        """Read what :meth:`to_columns` makes; points that are not whole are left out."""
        known = mapping(values)
        columns = [known.get(name) for name in _NAMES]
        lists = [column if isinstance(column, list) else [] for column in columns]
        rows = [dict(zip(_NAMES, row, strict=True)) for row in zip(*lists, strict=False)]
        return cls(
            points=_points(rows),
            validation=Validation.from_dict(known.get("measure")),
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the points as plain values, a dictionary each."""
        return [asdict(point) for point in self.points]

    @classmethod
    def from_rows(cls, rows: Any, validation: Any = None) -> LearningCurve:
        """Read what :meth:`to_rows` makes, and what the validation is."""
        return cls(
            points=_points(rows if isinstance(rows, Sequence) else ()),
            validation=Validation.from_dict(validation),
        )


NO_CURVE = LearningCurve()


def _points(rows: Sequence[Any]) -> tuple[CurvePoint, ...]:
    points = []
    for row in rows:
        values: Mapping[str, Any] = mapping(row)
        step, seconds, loss, score = (number(values.get(name)) for name in _NAMES)
        if step is not None and seconds is not None and loss is not None:
            points.append(CurvePoint(step=int(step), seconds=seconds, loss=loss, validation=score))
    return tuple(points)
