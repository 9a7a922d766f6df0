"""Slices between the acquired ones, interpolated in the latent space of an autoencoder.

The acquired slices are encoded, and weighted means of neighbours are decoded.  Nothing here
trains, and no blur is removed: slices stay as thick as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.compute.device import single_core_workers
from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Grid, RobustScaler, View, Volume, resample
from bids_sr.imaging.resample import apply_along_axis, interpolation_matrix
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.networks.autoencoder import Autoencoder

ARCHITECTURE = "autoencoder"
_PERCENTILES = (1.0, 99.0)  # that become 0 and 1
_AT_A_SLICE = 1e-4  # of the slice spacing: a plane so near to a slice is that slice


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentSpace:
    """Hold a trained autoencoder and the voxel size of its training."""

    network: Autoencoder
    in_plane_spacing: float | None
    """Voxel size that slices are brought to, mm; None: as acquired."""

    @classmethod
    def from_weights(cls, weights: Weights, name: str) -> LatentSpace:
        """Build the network of trained weights.

        Parameters
        ----------
        weights : Weights
        name : str
            Where they come from, for the error.

        Raises
        ------
        WeightsError
            If they are not those of an autoencoder.
        """
        kind = weights.card.architecture or "unknown"
        try:
            if kind != ARCHITECTURE:
                raise KeyError(f"it is for {kind}")
            spacing = weights.card.geometry["InPlaneSpacing"]
            network = Autoencoder(**weights.card.arguments)
            network.load_state_dict(weights.tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"Found weights in {name} that are not those of an autoencoder of slices "
                f"({error}); expected what `bids_sr-tools train autoencoder` writes, or what the "
                "method latent keeps."
            ) from error
        return cls(network=network, in_plane_spacing=spacing)

    def card(self) -> WeightsCard:
        """Return what :meth:`from_weights` needs to know, for the card of the weights."""
        return WeightsCard(
            architecture=ARCHITECTURE,
            arguments=self.network.arguments,
            geometry={"InPlaneSpacing": self.in_plane_spacing},
            intensity_scaling="0 to 1: 1st percentile to 99th of what is above it; clamped",
        )

    def between(
        self,
        lr: Volume,
        slice_axis: int,
        grid: Grid,
        *,
        keep_detail: bool = True,
        device: torch.device,
        threads: int = 1,
    ) -> Volume:
        """Evaluate a stack on a grid; planes at the acquired slices are these slices.

        Parameters
        ----------
        lr : Volume
            The acquired slices.
        slice_axis : int
        grid : Grid
            Parallel to `lr`; beyond the outer slices these are continued.
        keep_detail : bool
            Interpolate linearly the detail that the network cannot restore; see Notes.
        device : torch.device
        threads : int
            Number of planes at once, on a CPU.

        Returns
        -------
        Volume

        Notes
        -----
        A plane at the fraction a between the slices x0 and x1, whose latent images are z0
        and z1, is

            (1 - a) x0 + a x1 + D((1 - a) z0 + a z1) - (1 - a) D(z0) - a D(z1),

        with D the decoder: linear interpolation, plus the difference that interpolating in
        latent space makes.  Noise and the finest detail, which an autoencoder loses, are
        therefore those of the slices, intensities outside of its range are kept, and at a = 0
        nothing changes.  Without `keep_detail` it is D((1 - a) z0 + a z1), as in the paper.
        The network works on the voxels that it was trained on, whatever the grid, and never
        in half precision, whose steps the difference of two decoded slices would show.
        """
        planes = _Planes.at(lr.grid.coordinates_of(grid, slice_axis), lr.shape[slice_axis])
        slices = resample(lr, grid.with_planes_of(lr.grid, slice_axis))
        result = planes.linear(slices.data, slice_axis)
        inner = planes.between
        if not inner.size:
            return Volume(result, grid.affine)
        scaler = clamping_scaler(lr.data)
        resampled = in_plane_resampled(lr, slice_axis, self.in_plane_spacing)
        stack = clamped(View.in_plane(slice_axis).split(resampled.data), scaler)
        decoded = self._decode(stack, planes, keep_detail, device, threads)
        # From the network's voxels to those of the grid; across slices it is on the grid already.
        intermediate = View.in_plane(slice_axis).join(decoded)
        target = grid.with_planes(slice_axis, inner.size)
        source = resampled.grid.with_planes_of(target, slice_axis)
        intermediate = resample(Volume(intermediate, source.affine), target, kernel="bspline").data
        intermediate *= np.float32(scaler.width)
        here: list[Any] = [slice(None)] * 3
        here[slice_axis] = inner
        if keep_detail:
            result[tuple(here)] += intermediate
        else:
            result[tuple(here)] = intermediate + np.float32(scaler.offset)
        return Volume(result, grid.affine)

    def _decode(
        self,
        stack: npt.NDArray[np.float32],
        planes: _Planes,
        keep_detail: bool,
        device: torch.device,
        threads: int,
    ) -> npt.NDArray[np.float32]:
        """Return the planes between slices, or what they add to linear interpolation."""
        network = self.network.to(device).eval()
        # Trained or loaded, the same weights give the same bits only in the same layout.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (int(stack.shape[1]), int(stack.shape[2]))
        slices = torch.from_numpy(stack)[:, None]  # (K, 1, H, W)
        workers = threads if device.type == "cpu" else 1

        def encode(index: int) -> Tensor:
            with torch.inference_mode():
                acquired = slices[index : index + 1].to(device)
                return network.encode(acquired.contiguous(memory_format=torch.channels_last))

        def decode(latent: Tensor) -> Tensor:
            with torch.inference_mode():
                return network.decode(latent, shape)[0, 0].float().cpu()

        with single_core_workers(workers) as pool:
            indices = sorted({*planes.below.tolist(), *(planes.below + 1).tolist()})
            latent = dict(zip(indices, pool.map(encode, indices), strict=True))
            mixed: Iterable[Tensor] = (
                torch.lerp(latent[below], latent[below + 1], fraction)
                for below, fraction in zip(
                    planes.below.tolist(), planes.fraction.tolist(), strict=True
                )
            )
            decoded = torch.stack(list(pool.map(decode, mixed)))
            if keep_detail:
                restored = dict(zip(indices, pool.map(decode, latent.values()), strict=True))
                for plane, below, fraction in zip(
                    decoded, planes.below.tolist(), planes.fraction.tolist(), strict=True
                ):
                    plane -= torch.lerp(restored[below], restored[below + 1], fraction)
        return decoded.numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Planes:
    """Say of each plane of a grid which slices it lies between."""

    coordinates: npt.NDArray[np.float64]
    """(n,) in units of slices, none outside, those at a slice exactly there."""
    slices: int
    between: npt.NDArray[np.int_]
    """(m,) planes that are at no slice."""
    below: npt.NDArray[np.int_]
    """(m,) the slice below each of these."""
    fraction: npt.NDArray[np.float64]
    """(m,) the way to the slice above."""

    @classmethod
    def at(cls, coordinates: npt.NDArray[np.float64], slices: int) -> _Planes:
        inside = np.clip(coordinates, 0, slices - 1)
        near = np.rint(inside)
        inside = np.where(np.abs(inside - near) < _AT_A_SLICE, near, inside)
        between = np.flatnonzero(inside != np.rint(inside))
        below = np.floor(inside[between]).astype(int)
        return cls(
            coordinates=inside,
            slices=slices,
            between=between,
            below=below,
            fraction=inside[between] - below,
        )

    def linear(self, slices: npt.NDArray[np.floating], slice_axis: int) -> npt.NDArray[np.float32]:
        matrix = interpolation_matrix(self.coordinates, self.slices, "linear")
        interpolated = apply_along_axis(matrix, slices.astype(np.float32, copy=False), slice_axis)
        return np.array(interpolated, dtype=np.float32, order="C")


def clamping_scaler(data: npt.NDArray[np.floating]) -> RobustScaler:
    """Return the scaler of the intensities that the network sees; see :func:`clamped`."""
    return RobustScaler.fit(data, lower=_PERCENTILES[0], upper=_PERCENTILES[1])


def clamped(data: npt.NDArray[np.floating], scaler: RobustScaler) -> npt.NDArray[np.float32]:
    """Return intensities from 0 to 1, what is outside of the percentiles clamped."""
    return np.ascontiguousarray(scaler.apply(data).clip(0, 1), dtype=np.float32)


def in_plane_resampled(volume: Volume, slice_axis: int, spacing: float | None) -> Volume:
    """Bring slices to voxels of about `spacing` mm in-plane, of which whole ones tile them."""
    if spacing is None:
        return volume
    grid = volume.grid
    for axis in {0, 1, 2} - {slice_axis}:
        grid = grid.tiled(axis, spacing)
    return resample(volume, grid)
