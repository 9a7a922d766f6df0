"""Training on the image's own slices: what all self-supervised learners share.

Pairs, loss and score are here.  An in-plane direction plays the part of the missing one
(:mod:`.patches`); what the network is and where it begins is the caller's matter.
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
    """Say how pairs are taken from an image and how a prediction is judged."""

    patch_slices: int = 12
    """Thick slices a patch; fewer where the image is too small."""
    patch_width: int = 48
    """In-plane voxels a patch."""
    batch_size: int = 16
    """Patches a step."""
    sampling: str = "depth"
    """Where patches are taken: a name in :data:`SAMPLINGS`."""
    loss: str = "absolute"
    """A name in ``LOSSES``."""
    whole_patches: bool = False
    """Judge also the outer slice and columns, which lack neighbours that they have in the
    volume."""
    hold_out: int = 0
    """Every so many slices one is only validated on; 0: all are learnt from."""
    seed: int = 0
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
            What the pairs imitate.
        schedule : Schedule
        threads : int
        progress : callable

        Returns
        -------
        FitResult
            With the gain over cubic interpolation on held-out patches in its curve.
        """
        geometry = self.geometry(work, acquisition)
        device = next(network.parameters()).device
        upsampling = Upsampling.at(geometry.coordinates(), geometry.slices, network.factor)
        upsampling = upsampling.to(device)
        view = View.in_plane(work.slice_axis)
        stack = view.split(scaled).clip(-BRIGHTEST, BRIGHTEST)
        weigh = SAMPLINGS[self.sampling]
        weights = view.split(weigh(scaled, work.slices.spacings, work.slice_axis))
        learnt, kept = self._parted(weights)
        patches = SlicePatches(stack, learnt, geometry, seed=self.seed)
        others = SlicePatches(stack, kept, geometry, seed=self.seed + 1)
        held_out = others.draw(_VALIDATION_PATCHES)
        judged = self._judged(geometry)
        compare = LOSSES[self.loss]

        def predict(network: nn.Module, lr: Tensor) -> Tensor:
            predicted: Tensor = network(
                lr.contiguous(memory_format=torch.channels_last), upsampling
            )
            return predicted

        def loss(predicted: Tensor, target: Tensor) -> Tensor:
            return compare(predicted[judged], target[judged])

        def gain(network: nn.Module) -> float:
            with torch.inference_mode():
                lr, hr = (part.to(device) for part in held_out)
                learnt = mean_squared_error(predict(network, lr)[judged], hr[judged])
                cubic = mean_squared_error((upsampling.skip @ lr[:, 0])[judged], hr[judged])
            return float(10 * torch.log10(cubic / learnt.clamp_min(1e-12)))

        return fit(
            network,
            predict,
            patches.batches(self.batch_size),
            loss,
            schedule,
            threads=threads,
            validator=Validator(measure=GAIN_OVER_CUBIC, score=gain),
            progress=progress,
        )

    def _parted(
        self, weights: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the (N, H, W) weights of places to learn from and of those to validate on."""
        kept = np.zeros(len(weights), dtype=bool)
        if 1 < self.hold_out < len(weights):
            kept[self.hold_out // 2 :: self.hold_out] = True
        chosen = np.where(kept[:, None, None], weights, 0)
        if not chosen.any():
            return weights, weights
        return np.where(kept[:, None, None], 0, weights), chosen

    def _judged(self, geometry: PatchGeometry) -> tuple[slice, slice, slice]:
        if self.whole_patches:
            return slice(None), slice(None), slice(None)
        edge = ceil(geometry.scale - 1e-3)
        rows = slice(edge, geometry.rows - edge)
        return slice(None), rows, slice(_EDGE_COLUMNS, geometry.width - _EDGE_COLUMNS)


def has_learnt(result: FitResult) -> bool:
    """Tell whether training ended better than cubic interpolation on held-out patches."""
    if result.stop_reason == "diverged":
        return False
    gain = result.curve.last_score
    return gain is not None and bool(np.isfinite(gain)) and gain > 0
