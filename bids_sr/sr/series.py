"""A series frame by frame: a 4-D cine in, a finer one out.

What a method learns it learns once, from all frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bids_sr.compute.device import or_on_cpu
from bids_sr.compute.progress import Progress
from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Grid, Series
from bids_sr.method_facts import methods_that
from bids_sr.sr.contract.results import CurvePoint
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.registry import make_method


@dataclass(frozen=True, kw_only=True)
class SeriesReconstruction:
    """Hold what a method made of a series and how."""

    series: Series
    """The reconstruction, float32, every frame on the grid that was asked for."""
    record: dict[str, Any] = field(default_factory=dict)
    """What was done, as plain values for a sidecar; ``Frames`` has the record of each."""
    curve: tuple[CurvePoint, ...] = ()
    """Learning curve; empty for methods that do not learn."""
    learned: Weights | None = None
    """What was learnt from the frames, for reuse."""


def reconstruct_series(
    series: Series,
    acquisition: Acquisition,
    *,
    method: str,
    grid: Grid,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> SeriesReconstruction:
    """Reconstruct every frame of a series on a grid.

    Parameters
    ----------
    series : Series
        The acquired slices, frame by frame.
    acquisition : Acquisition
        How they were taken, the same for all frames.
    method : str
        A name in :data:`.METHOD_FACTS` of a method that takes series.
    grid : Grid
        The grid of the result, without time.
    parameters : mapping, optional
        Hyper-parameters of the method by name.
    progress : callable, optional
        Called with (steps done, steps in all, text).

    Returns
    -------
    SeriesReconstruction

    Raises
    ------
    ConfigError
        If the method does not take series.
    """
    chosen = make_method(method, parameters)
    able = methods_that(lambda facts: facts.takes_series)
    if method not in able:
        raise ConfigError(
            f"Found a series of {len(series)} frames for method {method!r}, which takes single "
            f"volumes; expected one of {', '.join(able)}. Choose one, or extract a frame."
        )
    tell = progress or _silent
    frames = list(series.frames())
    ready, reason = or_on_cpu(
        chosen.device_name,
        lambda name: chosen.on(name).prepared(frames, acquisition.for_volume(frames[0]), tell),
    )
    made = []
    for number, frame in enumerate(frames):
        made.append(ready.reconstruct(frame, acquisition, grid))
        tell(number + 1, len(frames), f"frame {number + 1} of {len(frames)}")
    record = {
        "Method": method,
        "Parameters": chosen.parameters(),
        "Seconds": round(sum(one.record["Seconds"] for one in made), 2),
        "Frames": [one.record for one in made],
        **({"DeviceFallback": reason} if reason else {}),
    }
    return SeriesReconstruction(
        series=Series.of([one.volume for one in made], series.frame_spacing),
        record=record,
        curve=made[0].curve,
        learned=made[0].learned,
    )


def _silent(step: int, total: int, message: str) -> None:
    """Show nothing."""
