"""The card of weights: their network, the images they are valid for, and their training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bids_sr.records.json_values import mapping, number, text
from bids_sr.records.learning_curve import NO_CURVE, LearningCurve


@dataclass(frozen=True, kw_only=True)
class RecipeUsed:
    """The recipe or method that trained weights, with its settings."""

    name: str
    """Of a recipe, or of the method that trained on an image."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Start:
    """Name the weights that a training began with."""

    sha256: str
    """Of their tensors."""
    card: WeightsCard


@dataclass(frozen=True, kw_only=True)
class WeightsCard:
    """Describe weights; cards of earlier versions are read as well."""

    architecture: str = ""
    """Name of the network."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the network's constructor."""
    geometry: Mapping[str, Any] = field(default_factory=dict)
    """What the network is valid for, as its kind writes and reads it; lengths in mm."""
    intensity_scaling: str = ""
    recipe: RecipeUsed | None = None
    data: str | Mapping[str, Any] = ""
    """The training data."""
    thick_planes: bool = False
    """Whether the last training was on planes as thick as slices."""
    licence: str = ""
    """Of the data."""
    seed: int | None = None
    command: str = ""
    start: Start | None = None
    """None for a new network."""
    steps: int | None = None
    """Training steps done."""
    stop_reason: str = ""
    validation: Mapping[str, Any] = field(default_factory=dict)
    """Scores on data left out of the training: a number, or one an image, by measure."""
    curve: LearningCurve = NO_CURVE
    device_fallback: str = ""
    """Why the training ended on the CPU, if so."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Other entries of a card."""

    @property
    def in_plane_voxel(self) -> float | None:
        """Voxel size of the slices that were learnt from, mm, where there was one."""
        return number(self.geometry.get("InPlaneVoxel"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without what is not known."""
        recipe, start = self.recipe, self.start
        architecture = {"Name": self.architecture} if self.architecture else {}
        known: dict[str, Any] = {
            "Architecture": {**architecture, **self.arguments},
            "Geometry": dict(self.geometry),
            "IntensityScaling": self.intensity_scaling,
            "Recipe": recipe and {"Name": recipe.name, "Parameters": dict(recipe.parameters)},
            "Data": self.data,
            "ThickPlanes": self.thick_planes,
            "Licence": self.licence,
            "Seed": self.seed,
            "Command": self.command,
            "Steps": self.steps,
            "StopReason": self.stop_reason,
            "Validation": dict(self.validation),
            "Curve": self.curve.to_rows(),
            "CurveMeasure": asdict(self.curve.validation) if self.curve.scores else None,
            "DeviceFallback": self.device_fallback,
        }
        stated = {
            key: value
            for key, value in known.items()
            if not (value is None or value is False or value in ("", {}, []))
        }
        origin = start and {"SHA256": start.sha256, "Card": start.card.to_dict()}
        return {**self.others, **stated, "Start": origin}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WeightsCard:
        """Read what :meth:`to_dict` makes, and what earlier versions made.

        These wrote the settings of a method beside the ``Name`` in ``Recipe``, and no
        ``CurveMeasure``.
        """
        architecture = dict(mapping(values.get("Architecture")))
        steps, seed = number(values.get("Steps")), number(values.get("Seed"))
        data = values.get("Data")
        return cls(
            architecture=text(architecture.pop("Name", "")),
            arguments=architecture,
            geometry=mapping(values.get("Geometry")),
            intensity_scaling=text(values.get("IntensityScaling")),
            recipe=_recipe(values.get("Recipe")),
            data=data if isinstance(data, Mapping) else text(data),
            thick_planes=bool(values.get("ThickPlanes")),
            licence=text(values.get("Licence")),
            seed=None if seed is None else int(seed),
            command=text(values.get("Command")),
            start=_start(values.get("Start")),
            steps=None if steps is None else int(steps),
            stop_reason=text(values.get("StopReason")),
            validation=mapping(values.get("Validation")),
            curve=LearningCurve.from_rows(values.get("Curve"), values.get("CurveMeasure")),
            device_fallback=text(values.get("DeviceFallback")),
            others={name: value for name, value in values.items() if name not in _KEYS},
        )


_KEYS = {
    *("Architecture", "Geometry", "IntensityScaling", "Recipe", "Data", "ThickPlanes", "Licence"),
    *("Seed", "Command", "Start", "Steps", "StopReason", "Validation", "Curve", "CurveMeasure"),
    "DeviceFallback",
}


def _recipe(values: Any) -> RecipeUsed | None:
    known = dict(mapping(values))
    name = text(known.pop("Name", ""))
    if not name:
        return None
    parameters = known.get("Parameters")
    return RecipeUsed(
        name=name, parameters=parameters if isinstance(parameters, Mapping) else known
    )


def _start(values: Any) -> Start | None:
    known = mapping(values)
    sha256 = text(known.get("SHA256"))
    if not sha256:
        return None
    return Start(sha256=sha256, card=WeightsCard.from_dict(mapping(known.get("Card"))))
