"""Training on the image's own slices: the pairs, loss and score of self-supervised methods.

An in-plane axis stands in for the axis across the slices (:mod:`.patches`); the caller
provides the network and its initial weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bids_sr.compute.progress import Progress
from bids_sr.imaging import Acquisition, View
from bids_sr.records.learning_curve import GAIN_OVER_CUBIC
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.contract.settings import require
from bids_sr.sr.inference.workspace import Workspace
from bids_sr.sr.learning.loop import FitResult, Schedule, Validator, fit
from bids_sr.sr.learning.losses import LOSSES, mean_squared_error
from bids_sr.sr.learning.patches import PatchGeometry, SlicePatches
from bids_sr.sr.learning.saliency import gradient_magnitude, saliency
from bids_sr.sr.networks.thick_slice import BRIGHTEST, ThickSliceUpsampler, Upsampling

LEAST_SLICES_A_PATCH = 4
_VALIDATION_PATCHES = 64
_EDGE_COLUMNS = 2

Sampling = Callable[
    [npt.NDArray[np.float32], npt.NDArray[np.float64], int], npt.NDArray[np.float32]
]
"""(scaled slices, spacings in mm, slice axis) to weights of the places."""
SAMPLINGS: dict[str, Sampling] = {"depth": saliency, "gradient": gradient_magnitude}


@dataclass(frozen=True, kw_only=True)
class OwnSlices:
    """State how pairs are cut from an image and which of their rows enter the loss."""

    patch_slices: int = 12
    """Thick slices a patch; fewer where the image is too small."""
    patch_width: int = 48
    """In-plane voxels a patch."""
    batch_size: int = 16
    """Patches a step."""
    sampling: str = "depth"
    """Where patches are drawn: a name in :data:`SAMPLINGS`."""
    loss: str = "absolute"
    """A name in ``LOSSES``."""
    whole_patches: bool = False
    """Include the outer slice and columns in the loss, which lack neighbours that they have in
    the volume."""
    hold_out: int = 0
    """One of this many slices is held out for validation; 0: none."""
    seed: int = DEFAULT_SEED
    """The same seed draws the same pairs."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        least = LEAST_SLICES_A_PATCH
        require(self.patch_slices >= least, "patch_slices", self.patch_slices, f"{least} or more")
        require(self.patch_width >= 8, "patch_width", self.patch_width, "8 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.sampling in SAMPLINGS, "sampling", self.sampling, " or ".join(SAMPLINGS))
        require(self.loss in LOSSES, "loss", self.loss, " or ".join(LOSSES))

    def geometry(self, work: Workspace, acquisition: Acquisition) -> PatchGeometry:
        """Lay out the patches of an image."""
        longest = int(min(work.in_plane_shape) / acquisition.scale(work.spacing))
        return PatchGeometry.of(
            acquisition,
            work.spacing,
            slices=max(LEAST_SLICES_A_PATCH, min(self.patch_slices, longest)),
            width=min(self.patch_width, *work.in_plane_shape),
        )

    def train(
        self,
        network: ThickSliceUpsampler,
        scaled: npt.NDArray[np.float32],
        work: Workspace,
        acquisition: Acquisition,
        schedule: Schedule,
        *,
        threads: int,
        progress: Progress,
    ) -> FitResult:
        """Train a network in place, on the device where it is.

        Parameters
        ----------
        network : ThickSliceUpsampler
        scaled : (X, Y, K) array, slice axis where it is
            Acquired slices, intensities about 0 to 1.
        work : Workspace
            Where they lie.
        acquisition : Acquisition
            The acquisition that the pairs imitate.
        schedule : Schedule
        threads : int
        progress : callable

        Returns
        -------
        FitResult
            With the gain over cubic interpolation on held-out patches in its curve.
        """
        pairs = self._pairs(network, scaled, work, acquisition)
        compare = LOSSES[self.loss]

        def loss(predicted: Tensor, target: Tensor) -> Tensor:
            return compare(predicted[pairs.in_loss], target[pairs.in_loss])

        return fit(
            network,
            pairs.predict,
            pairs.patches.batches(self.batch_size),
            loss,
            schedule,
            threads=threads,
            validator=Validator(measure=GAIN_OVER_CUBIC, score=pairs.gain),
            progress=progress,
        )

    def gain(
        self,
        network: ThickSliceUpsampler,
        scaled: npt.NDArray[np.float32],
        work: Workspace,
        acquisition: Acquisition,
    ) -> float:
        """Return the gain over cubic interpolation on the held-out patches, dB.

        Parameters
        ----------
        network, scaled, work, acquisition
            As of :meth:`train`; nothing is trained.
        """
        return self._pairs(network, scaled, work, acquisition).gain(network)

    def _pairs(
        self,
        network: ThickSliceUpsampler,
        scaled: npt.NDArray[np.float32],
        work: Workspace,
        acquisition: Acquisition,
    ) -> _Pairs:
        geometry = self.geometry(work, acquisition)
        device = next(network.parameters()).device
        upsampling = Upsampling.at(geometry.coordinates(), geometry.slices, network.factor)
        view = View.in_plane(work.slice_axis)
        stack = view.split(scaled).clip(-BRIGHTEST, BRIGHTEST)
        weigh = SAMPLINGS[self.sampling]
        weights = view.split(weigh(scaled, work.slices.spacings, work.slice_axis))
        training, validation = self._parted(weights)
        held_out = SlicePatches(stack, validation, geometry, seed=self.seed + 1)
        lr, hr = held_out.draw(_VALIDATION_PATCHES)
        return _Pairs(
            patches=SlicePatches(stack, training, geometry, seed=self.seed),
            held_out=(lr.to(device), hr.to(device)),
            upsampling=upsampling.to(device),
            in_loss=self._in_loss(geometry),
        )

    def _parted(
        self, weights: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the (N, H, W) weights of places to learn from and of those to validate on."""
        is_held_out = np.zeros(len(weights), dtype=bool)
        if 1 < self.hold_out < len(weights):
            is_held_out[self.hold_out // 2 :: self.hold_out] = True
        chosen = np.where(is_held_out[:, None, None], weights, 0)
        if not chosen.any():
            return weights, weights
        return np.where(is_held_out[:, None, None], 0, weights), chosen

    def _in_loss(self, geometry: PatchGeometry) -> tuple[slice, slice, slice]:
        if self.whole_patches:
            return slice(None), slice(None), slice(None)
        edge = ceil(geometry.scale - 1e-3)
        rows = slice(edge, geometry.rows - edge)
        return slice(None), rows, slice(_EDGE_COLUMNS, geometry.width - _EDGE_COLUMNS)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Hold what is learnt from, and patches to validate on."""

    patches: SlicePatches
    held_out: tuple[Tensor, Tensor]
    """(N, 1, K, W) slices and (N, n, W) rows, on the device of the network."""
    upsampling: Upsampling
    in_loss: tuple[slice, slice, slice]

    def predict(self, network: nn.Module, lr: Tensor) -> Tensor:
        """Return the (N, n, W) rows that a network makes of (N, 1, K, W) slices."""
        lr = lr.contiguous(memory_format=torch.channels_last)
        predicted: Tensor = network(lr, self.upsampling)
        return predicted

    @torch.inference_mode()
    def gain(self, network: nn.Module) -> float:
        """Return the gain over cubic interpolation on the held-out patches, dB."""
        lr, hr = self.held_out
        wanted = hr[self.in_loss]
        error = mean_squared_error(self.predict(network, lr)[self.in_loss], wanted)
        cubic = mean_squared_error((self.upsampling.skip @ lr[:, 0])[self.in_loss], wanted)
        return float(10 * torch.log10(cubic / error.clamp_min(1e-12)))


def beats_interpolation(result: FitResult) -> bool:
    """Whether the network is better than cubic interpolation on held-out patches."""
    if result.stop_reason == "diverged":
        return False
    gain = result.curve.last_score
    return gain is not None and bool(np.isfinite(gain)) and gain > 0
