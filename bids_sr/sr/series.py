"""An image of one frame or many: a 3-D image or a 4-D cine in, a finer one out.

Methods that train do so once, on all frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_sr.compute.device import or_on_cpu
from bids_sr.compute.progress import Progress
from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Grid, Series, Volume
from bids_sr.method_facts import methods_that
from bids_sr.records.learning_curve import NO_CURVE, LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.registry import make_method, reconstruct


@dataclass(frozen=True, kw_only=True)
class SeriesReconstruction:
    """Hold the reconstruction of a series and the record of how it was made."""

    series: Series
    """The reconstruction, float32, every frame on the given grid."""
    record: MethodRecord
    """What was done to all frames together."""
    frames: tuple[MethodRecord, ...]
    """What was done to each."""
    acquisition: Acquisition
    """The acquisition that was used for the first frame."""
    curve: LearningCurve = NO_CURVE
    """Without points for methods that do not train."""
    learned: Weights | None = None
    """Weights trained on the frames, for reuse."""
    uncertainty: None = None
    """Frames have none."""

    @property
    def image(self) -> Series:
        """What is saved: all frames."""
        return self.series

    @property
    def volume(self) -> Volume:
        """The first frame."""
        return next(self.series.frames())


def reconstruct_image(
    image: Series,
    acquisition: Acquisition,
    *,
    method: str,
    grid: Grid,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Reconstruction | SeriesReconstruction:
    """Reconstruct an image: by :func:`.reconstruct` or :func:`reconstruct_series`.

    Both commands call it; the result has the same fields for one frame and for many.
    """
    keywords: dict[str, Any] = {"method": method, "grid": grid, "parameters": parameters}
    if len(image) > 1:
        return reconstruct_series(image, acquisition, **keywords, progress=progress)
    return reconstruct(next(image.frames()), acquisition, **keywords, progress=progress)


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
    reconstructions = []
    for number, frame in enumerate(frames):
        reconstructions.append(ready.reconstruct(frame, acquisition, grid))
        tell(number + 1, len(frames), f"frame {number + 1} of {len(frames)}")
    records = tuple(frame.record for frame in reconstructions)
    warnings = [warning for record in records for warning in record.warnings]
    record = MethodRecord(
        method=method,
        parameters=chosen.parameters(),
        seconds=round(sum(record.seconds or 0.0 for record in records), 2),
        device_fallback=reason,
        remarks=tuple(dict.fromkeys(warnings)),
    )
    return SeriesReconstruction(
        series=Series.of([frame.volume for frame in reconstructions], series.frame_spacing),
        record=record,
        frames=records,
        acquisition=reconstructions[0].acquisition or acquisition,
        curve=reconstructions[0].curve,
        learned=reconstructions[0].learned,
    )


def _silent(step: int, total: int, message: str) -> None:
    """Show nothing."""
