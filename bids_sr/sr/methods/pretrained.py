"""Pretrained networks over triplets of slices, as published with PRETTIER.

The network is applied along both in-plane directions, to three neighbouring slices at a time;
overlapping triplets of a slice are averaged, and so are the two directions.

References
----------
Giraldo et al. 2024, Perceptual super-resolution in multiple sclerosis MRI, Front
Neurosci 18, doi:10.3389/fnins.2024.1473132.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import nibabel as nb
import numpy as np
import torch

from bids_sr.compute.device import limited_threads, resolve_device
from bids_sr.compute.progress import Progress
from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Grid, View, Volume, lay_out_grid, resample
from bids_sr.records.method_record import MethodRecord
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.side_results import side_result
from bids_sr.sr.inference.fusion import FUSIONS
from bids_sr.sr.inference.tiles import InferenceSettings, run_over_slices
from bids_sr.sr.inference.triplets import (
    Enlarging,
    Resizing,
    TripletScaling,
    slices_of,
    triplets_of,
)
from bids_sr.sr.inference.uncertainty import Disagreement, half_squared_difference
from bids_sr.sr.inference.workspace import Workspace, foreground_box
from bids_sr.sr.methods.base import Method, interpolated
from bids_sr.sr.networks.triplet_networks import (
    ARCHITECTURES,
    SCALE,
    TrainedNetwork,
    load_network,
    network_file,
)

LOGGER = logging.getLogger(__name__)
TRAINED_AT = 1.0
"""Voxel size of the images that PRETTIER was trained on, mm."""
_AS_IT_IS = 0.25  # grids whose spacing differs by less from that of the training
_BRIGHTEST = 4.0  # of the inputs of a network; most of an image is 0 to 0.8
_LEAST_SCALE = 1.05
_MARGIN = 16  # voxels around the part of the image that is not exactly 0
_PIXELS = {"cpu": 1 << 13}  # a batch, unless one slice has more
_GPU_PIXELS = 1 << 17


@dataclass(frozen=True, kw_only=True)
class Pretrained(Method):
    """Apply a network that was trained on other people's images.

    Attributes
    ----------
    model : str
        ``edsr``, ``realesrgan`` or ``shufflemixer`` as PRETTIER published them, or the path
        of a checkpoint or of weights of this package.
    architecture : str, optional
        Architecture of a file given by its path; None: read from the file.
    weights_dir : str, optional
        Folder of published weights.
    offline : bool
        Download nothing.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    seed : int
        Accepted as by every network; has no effect here.
    fusion : str
        How the two directions are combined; the paper's is ``mean``.
    working_spacing : float, optional
        Voxel size that the network works at, mm; None: that of its training.  Grids up to a
        quarter finer or coarser are used as they are; on finer ones the detail that the
        network adds is added to the interpolated image.
    mixed_precision : bool
        Convolve in half precision where the device does so faster; 8 bits of a whole image.
    """

    name = "pretrained"

    model: str = "edsr"
    architecture: str | None = None
    weights_dir: str | None = None
    offline: bool = False
    device: str = "auto"
    seed: int = DEFAULT_SEED
    fusion: str = "mean"
    working_spacing: float | None = None
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        require(self.fusion in FUSIONS, "fusion", self.fusion, " or ".join(FUSIONS))
        known = (None, *ARCHITECTURES)
        require(
            self.architecture in known,
            "architecture",
            self.architecture,
            " or ".join(ARCHITECTURES),
        )
        spacing = self.working_spacing
        require(spacing is None or spacing > 0, "working_spacing", spacing, "above 0 mm")

    def required_files(self) -> tuple[Path, ...]:
        """Return the file of the network, fetched if need be."""
        path, _ = network_file(self.model, self._weights_folder, offline=self.offline)
        return (path,)

    def for_labels(self) -> Method:
        """Refuse labels (ConfigError)."""
        raise ConfigError(
            "Found labels and method 'pretrained'; expected an image, as its networks were "
            "trained on. Use linear for labels."
        )

    def _reconstruct(
        self, lr: Volume, acquisition: Acquisition, grid: Grid, progress: Progress
    ) -> Reconstruction:
        device = resolve_device(self.device)
        trained = load_network(
            self.model,
            architecture=self.architecture,
            weights_dir=self._weights_folder,
            offline=self.offline,
            report=lambda have, total: progress(have, total or have, "fetching weights"),
        )
        assert acquisition.slice_axis is not None
        axis = acquisition.slice_axis
        work = Workspace.of(lr, axis, self._working_grid(grid, axis, trained))
        scaling = TripletScaling.of(work.slices.data)
        refusal = _refusal(scaling, acquisition.scale(work.spacing))
        facts = {**trained.record, "WorkingSpacing": round(work.spacing, 4)}
        record = MethodRecord(details=facts)
        if refusal:
            fallback = interpolated(lr, grid, refusal)
            return replace(fallback, record=record.joined(fallback.record))
        start = time.perf_counter()
        with limited_threads(self.threads) as threads:
            output = self._apply(trained, scaling, work, device, threads, progress)
        record = record.with_details(
            IntensityScale=scaling.width,
            InferenceSeconds=round(time.perf_counter() - start, 2),
        )
        volume = resample(output.volume, grid)
        if work.spacing > (1 + _AS_IT_IS) * grid.spacings[axis]:
            added = output.volume.data - resample(lr, work.grid).data
            detail = resample(output.volume.with_data(added), grid)
            volume = detail.with_data(resample(lr, grid).data + detail.data)
        deviation = output.uncertainty
        uncertainty = None
        if deviation is not None:
            uncertainty = side_result(
                "uncertainty", lambda: resample(deviation, grid, kernel="linear")
            )
        missing = () if uncertainty else ("uncertainty",)
        record = replace(record, device=output.device, not_measured=missing)
        return Reconstruction(volume=volume, record=record, uncertainty=uncertainty)

    @property
    def _weights_folder(self) -> Path | None:
        return Path(self.weights_dir) if self.weights_dir else None

    def _working_grid(self, grid: Grid, axis: int, trained: TrainedNetwork) -> Grid:
        """Return the grid itself, or one over the same field of view as in the training."""
        trained_at = trained.card.in_plane_voxel if trained.card else None
        spacing = self.working_spacing or trained_at or TRAINED_AT
        if abs(grid.spacings[axis] / spacing - 1) <= _AS_IT_IS:
            return grid
        return lay_out_grid(grid, slice_axis=axis, output_resolution=spacing)

    def _apply(
        self,
        trained: TrainedNetwork,
        scaling: TripletScaling,
        work: Workspace,
        device: torch.device,
        threads: int,
        progress: Progress,
    ) -> _Output:
        """Run the network along both in-plane directions of the workspace."""
        axis, network = work.slice_axis, trained.network
        scaled = scaling.apply(work.slices.data)
        clipped = scaled.clip(-_BRIGHTEST, _BRIGHTEST)
        # As in the training: axes towards right, anterior and superior, the first of them rows.
        world, direction = nb.orientations.io_orientation(work.slices.affine).T
        flipped = tuple(np.flatnonzero(direction < 0).tolist())
        canonical, coordinates = np.flip(clipped, flipped), work.coordinates
        if axis in flipped:
            coordinates = scaled.shape[axis] - 1 - coordinates[::-1]
        resizing = Resizing(coordinates, scaled.shape[axis], SCALE)
        box = foreground_box(canonical, axis, margin=_MARGIN, threshold=0.0)
        views, device_used = [], str(device)
        for number, view in enumerate(View.through_plane(axis)):
            stack = triplets_of(torch.from_numpy(view.split(canonical[box])))
            usual = _PIXELS.get(device.type, _GPU_PIXELS)
            settings = InferenceSettings(
                device=device,
                halo=network.halo + 1,  # one more for the resizing
                batch_pixels=max(usual, stack.shape[2] * stack.shape[3]),
                half=self.mixed_precision,
                threads=threads,
                allow_cpu=not self.device.startswith("cuda"),
                report=_reporter(progress, number),
            )
            upright = bool(world[axis] < world[view.columns])
            predict = Enlarging(resizing, network.input_range, upright)
            rows, device_used = run_over_slices(network, predict, stack, settings)
            views.append((view, view.join(slices_of(rows).numpy())))
        interpolated = resample(Volume(clipped, work.slices.affine), work.grid).data
        data = np.array(np.flip(interpolated, flipped))
        data[box] = FUSIONS[self.fusion](views, work.grid.spacings)
        data = np.flip(data, flipped)
        half_squared = np.zeros_like(data)
        half_squared[box] = half_squared_difference(views[0][1], views[1][1])
        disagreement = Disagreement()
        disagreement.add(np.flip(half_squared, flipped))
        added, width = data - interpolated, np.float32(scaling.width)
        deviation = side_result("uncertainty", lambda: disagreement.standard_deviation(added))
        if np.abs(scaled).max() > _BRIGHTEST:
            hidden = Volume(scaled - clipped, work.slices.affine)
            data = data + resample(hidden, work.grid, kernel="linear").data
        return _Output(
            Volume(np.ascontiguousarray(scaling.inverse(data)), work.grid.affine),
            None if deviation is None else Volume(deviation * width, work.grid.affine),
            device_used,
        )


class _Output(NamedTuple):
    """Hold the output of the network on the grid of the workspace."""

    volume: Volume
    uncertainty: Volume | None
    device: str


def _refusal(scaling: TripletScaling, scale: float) -> str | None:
    """Say why the network cannot be applied, if so."""
    if scale < _LEAST_SCALE:
        return f"the scale is {scale:.3g}: nothing to add"
    if not scaling.width > 0:
        return "the image is empty: its 99.5th percentile is 0"
    return None


def _reporter(progress: Progress, number: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        progress(number * total + done, 2 * total, f"direction {number + 1} of 2")

    return report
