"""Nipype skins of the figures of a fused volume: its stacks to flip through, their slices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, traits

from bids_sr.imaging import Volume
from bids_sr.interfaces.fusion import OfStacks, StacksInputSpec
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep
from bids_sr.interfaces.reportlets import FigureOutputSpec
from bids_sr.records.fusion_record import FusedStack, FusionRecord

SHOWN_STACKS = 6


class _StacksFigureInputSpec(StacksInputSpec):
    fusion = traits.Dict(mandatory=True, desc="what became of the stacks")
    fused_file = traits.Either(
        None, File(exists=True), mandatory=True, desc="fused volume, or None"
    )


class StacksFigure(OfStacks):
    """Draw the stacks in the frame, their mean and the fused volume; nothing without one."""

    input_spec = _StacksFigureInputSpec
    output_spec = FigureOutputSpec
    without = "no figure of the fused volume"

    def __init__(self, count: int = 0, **inputs: Any) -> None:
        super().__init__(count, ("sr",), **inputs)

    def _run_step(self, runtime: Any) -> None:
        from bids_sr.reports.stack_figures import plot_layers

        self._results.update(out_file=None, record={})
        if not self.inputs.fused_file:
            return
        fused = Volume.load(self.inputs.fused_file)
        out_file = Path(runtime.cwd) / "figure.svg"
        plot_layers(fused, self._layers(fused), out_file)
        self._results["out_file"] = str(out_file)

    def _layers(self, fused: Volume) -> Iterator[tuple[str, Volume]]:
        """Yield the stacks one by one, as only one is held at a time, then their mean."""
        from bids_sr.sr.together.in_frame import in_frame

        record = FusionRecord.from_dict(self.inputs.fusion)
        total, count = (np.zeros(fused.shape, np.float32) for _ in range(2))
        for place, image in enumerate(self.inputs.images):
            parts = self.parts_of(place)
            stack = next(stack for stack in record.stacks if stack.image == image)
            if not (parts and stack.used):
                continue
            own = Volume.load(parts["sr"])
            volume, inside = in_frame(own, np.array(stack.to_frame), fused.grid)
            volume = volume.with_data(volume.data * np.float32(stack.scale or 1))
            total += volume.data
            count += inside
            if record.used.index(image) < SHOWN_STACKS:
                yield _name(stack, record), volume
        yield "Mean of the stacks", fused.with_data(total / np.maximum(count, 1))

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"out_file": None}


def _name(stack: FusedStack, record: FusionRecord) -> str:
    letter = "ABCDEF"[record.used.index(stack.image)]
    return f"{letter}: {stack.stem}" + (", the frame" if stack.image == record.frame else "")


class _SliceWeightsFigureInputSpec(OptionalInputSpec):
    fusion = traits.Dict(mandatory=True, desc="what became of the stacks")


class SliceWeightsFigure(OptionalStep):
    """Draw how much each slice counts, and how far each stack is from the fused volume."""

    input_spec = _SliceWeightsFigureInputSpec
    output_spec = FigureOutputSpec
    without = "no figure of the slices that count"

    def _run_step(self, runtime: Any) -> None:
        from bids_sr.reports.stack_figures import plot_slice_weights

        self._results.update(out_file=None, record={})
        record = FusionRecord.from_dict(self.inputs.fusion)
        if record.status == "done":
            out_file = plot_slice_weights(record, Path(runtime.cwd) / "figure.svg")
            self._results["out_file"] = str(out_file)

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"out_file": None}
