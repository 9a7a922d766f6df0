"""The model card for people: what is in the card of weights, with a picture of the curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_sr.files.writing import write_text_atomic
from bids_sr.records.learning_curve import LearningCurve
from bids_sr.sr.contract.card import Start
from bids_sr.sr.contract.weights import Weights

_MOST_NAMES = 50


def write_card(weights: Weights, path: Path) -> Path:
    """Write the card of weights next to them: ``.md``, and ``.png`` if there is a curve.

    Parameters
    ----------
    weights : Weights
    path : Path
        Of the weights.

    Returns
    -------
    Path
        The ``.md`` file.
    """
    card, text = weights.card, path.with_suffix(".md")
    parts = card.to_dict()
    number = sum(tensor.numel() for tensor in weights.tensors.values())
    lines = [
        f"# {path.stem}",
        "",
        f"Weights for `bids_sr` with {number:,} numbers, SHA-256 of the tensors",
        f"`{weights.digest}`.",
        "",
        "```",
        card.command,
        "```",
        "",
        f"- Licence of the data: {card.licence or 'not stated'}",
        f"- Seed: {card.seed}",
        f"- Begun with: {_start(card.start)}",
    ]
    for title in ("Architecture", "Geometry", "Recipe", "Data", "Validation"):
        if title in parts:
            lines += ["", f"## {title}", "", *_items(parts[title])]
    if card.curve.points:
        picture = path.with_suffix(".png")
        draw_curve(card.curve, picture)
        lines += ["", "## Curve", "", f"![loss and validation by step]({picture.name})"]
    write_text_atomic(text, "\n".join(lines) + "\n")
    return text


def draw_curve(curve: LearningCurve, path: Path) -> None:
    """Draw loss and validation over the steps into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    points = curve.points
    steps, losses = [point.step for point in points], [point.loss for point in points]
    axes.plot(steps, losses, color="#4477aa", label="loss")
    axes.set(xlabel="step", ylabel="training loss", yscale="log")
    if curve.scores:
        right = axes.twinx()
        known = [point.step for point in points if point.validation is not None]
        right.plot(known, curve.scores, color="#ee6677", label="validation")
        right.set(ylabel=curve.validation.title)
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path)


def _items(values: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}- {name}:", *_items(value, indent + "  ")]
        elif isinstance(value, list) and len(value) > _MOST_NAMES:
            shown = ", ".join(map(str, value[:_MOST_NAMES]))
            lines.append(f"{indent}- {name}: {len(value)}: {shown}, ...")
        elif isinstance(value, list):
            lines.append(f"{indent}- {name}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{indent}- {name}: {value}")
    return lines


def _start(start: Start | None) -> str:
    if start is None:
        return "a new network"
    recipe = start.card.recipe.name if start.card.recipe else "unknown"
    return f"weights of the recipe {recipe}, SHA-256 `{start.sha256}`"
