"""Threads, GPU and memory that the nodes of one image declare.

The memory figures are lines in the number of voxels, laid above what
``benchmarks/nodes.py`` measures; they are what Nipype's scheduler counts.  That of
HD-BET is an estimate: its released weights were not at hand to measure it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the nodes of one image may use and are expected to need.

    Memory is in GB (1e9 bytes).  A step that declares more than the run has is run alone,
    and the user is told beforehand.
    """

    acquired_megavoxels: float
    """Size of the acquired image, 1e6 voxels."""
    output_megavoxels: float
    """Size of the output grid, 1e6 voxels."""
    threads: int = 1
    """Threads of the heavy nodes."""
    gpu: bool = False
    """Whether torch nodes take a GPU slot."""

    def _gb(self, base: float, per_megavoxel: float, megavoxels: float) -> float:
        return round(base + per_megavoxel * megavoxels, 2)

    @property
    def light_gb(self) -> float:
        """Memory of loading, resampling and saving."""
        return self._gb(0.3, 0.03, self.output_megavoxels)

    def output_gb(self, base: float, per_megavoxel: float) -> float:
        """Memory of a step on the output grid: GB, and GB a million voxels."""
        return self._gb(base, per_megavoxel, self.output_megavoxels)

    @property
    def denoise_gb(self) -> float:
        """Memory of non-local means denoising."""
        return self._gb(0.4, 0.06, self.acquired_megavoxels)

    @property
    def bias_gb(self) -> float:
        """Memory of N4."""
        return self._gb(0.4, 0.04, self.acquired_megavoxels)

    @property
    def brain_gb(self) -> dict[str, float]:
        """Memory of the brain mask by engine."""
        return {
            "template": self._gb(0.6, 0.04, self.acquired_megavoxels),
            "hdbet": self._gb(3.0, 0.3, self.acquired_megavoxels),
            "existing": self.light_gb,
            "none": self.light_gb,
        }

    @property
    def super_resolution_gb(self) -> float:
        """Memory of super-resolution."""
        return self._gb(0.6, 0.1, self.output_megavoxels)
