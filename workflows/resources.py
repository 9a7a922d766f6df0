"""Threads, GPU and memory that the nodes of one image declare.

Memory is a linear function of the numbers of voxels in and out, chosen above the measurements
of ``benchmarks/nodes.py``; Nipype's scheduler uses it.  That of HD-BET is an estimate: its
released weights were not available to measure it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from bids_sr.method_facts import METHOD_FACTS, NETWORK_GB


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the nodes of one image may use and are expected to need.

    Memory is in GB (1e9 bytes).  A step that declares more than the run has is run alone,
    and the user is warned beforehand.
    """

    acquired_megavoxels: float
    """Size of the acquired image, 1e6 voxels."""
    output_megavoxels: float
    """Size of the output grid, 1e6 voxels."""
    threads: int = 1
    """Threads of the heavy nodes."""
    gpu: bool = False
    """Whether torch nodes take a GPU slot."""

    @classmethod
    def of(
        cls,
        acquired: tuple[int, ...],
        output: tuple[int, ...],
        *,
        frames: int = 1,
        threads: int = 1,
        gpu: bool = False,
    ) -> Resources:
        """Compute the resources of an image from the shapes of its grids and its frames."""
        return cls(
            acquired_megavoxels=frames * prod(acquired) / 1e6,
            output_megavoxels=frames * prod(output) / 1e6,
            threads=threads,
            gpu=gpu,
        )

    def _gb(self, base: float, acquired: float, output: float) -> float:
        """Return GB, plus GB per million voxels acquired and per million voxels of the output."""
        of_grids = acquired * self.acquired_megavoxels + output * self.output_megavoxels
        return round(base + of_grids, 2)

    @property
    def light_gb(self) -> float:
        """Memory of a step that holds no image, such as the figure of a curve."""
        return 0.25

    @property
    def acquired_gb(self) -> float:
        """Memory of loading, drawing or saving the acquired image."""
        return self._gb(0.22, 0.015, 0.0)

    @property
    def result_gb(self) -> float:
        """Memory of loading, resampling or drawing an image on the output grid."""
        return self._gb(0.22, 0.004, 0.016)

    @property
    def measure_gb(self) -> float:
        """Memory of the measures on the acquired image and the result."""
        return self._gb(0.38, 0.03, 0.045)

    @property
    def labels_gb(self) -> float:
        """Memory of bringing labels onto the acquired slices."""
        return self.output_gb(0.3, 0.05)

    def output_gb(self, base: float, per_megavoxel: float) -> float:
        """Memory of a step on the output grid: GB, and GB per million voxels."""
        return self._gb(base, 0.0, per_megavoxel)

    def denoise_gb(self, method: str = "nlm") -> float:
        """Memory of denoising."""
        return {"nlm": self._gb(0.38, 0.062, 0.0), "none": self.acquired_gb}[method]

    def bias_gb(self, method: str = "n4") -> float:
        """Memory of bias field correction."""
        n4 = self._gb(0.38, 0.04, 0.0)
        return {"n4": n4, "auto": n4, "none": self.acquired_gb}[method]

    @property
    def estimate_gb(self) -> float:
        """Memory of the estimate of the slice profile, GB."""
        return self._gb(0.4, 0.015, 0.0)

    def slice_gain_gb(self, choice: str = "auto") -> float:
        """Memory of bringing slices to one brightness."""
        return {"auto": self._gb(0.36, 0.03, 0.0), "none": self.acquired_gb}[choice]

    @property
    def brain_gb(self) -> dict[str, float]:
        """Memory of the brain mask by engine."""
        return {
            "template": self._gb(0.62, 0.05, 0.0),
            "hdbet": self._gb(3.0, 0.3, 0.0),
            "existing": self._gb(0.22, 0.025, 0.0),
            "none": self._gb(0.22, 0.025, 0.0),
        }

    def super_resolution_gb(self, method: str) -> float:
        """Memory of super-resolution by a method."""
        return self._gb(*METHOD_FACTS[method].memory_gb)

    @property
    def guide_gb(self) -> float:
        """Memory of applying a guide."""
        return self._gb(1.6, 0.0, 0.07)

    def learning_gb(self, megavoxels: float) -> float:
        """Memory of training on several images, which are all held: 1e6 voxels."""
        return round(self._gb(*NETWORK_GB) + 0.03 * megavoxels, 2)

    def stages(
        self,
        engine: str,
        method: str,
        segmentations: Sequence[tuple[float, float]] = (),
        *,
        guided: bool = False,
    ) -> list[list[Demand]]:
        """List the sets of steps of an image that can run at the same time.

        Parameters
        ----------
        engine : str
            Of the brain mask.
        method : str
            Of super-resolution.
        segmentations : sequence of (base, per_megavoxel)
            Memory that each tool declares.
        guided : bool
            Whether a guide is applied to the result.
        """
        brain = Demand(self.brain_gb[engine], self.threads)
        resolve = Demand(self.super_resolution_gb(method), self.threads)
        tools = [Demand(self.output_gb(*declared), self.threads) for declared in segmentations]
        of_acquired = Demand(self.acquired_gb, 1)
        of_result, light = Demand(self.result_gb, 1), Demand(self.light_gb, 1)
        figures = [of_result, of_result, light, light, light]
        measures, to_slices = Demand(self.measure_gb, 1), Demand(self.labels_gb, 1)
        return [
            [Demand(self.denoise_gb(), self.threads)],
            [Demand(self.bias_gb(), self.threads)],
            [Demand(self.slice_gain_gb(), 1)],
            [brain, resolve, light],  # none waits for the others
            *([[brain, Demand(self.guide_gb, self.threads), light]] if guided else []),
            [resolve, of_acquired, light],  # the figure of the mask waits for that alone
            [brain, *figures],
            [of_acquired, measures, *figures, *(tools or [of_result])],  # wait for the mask there
            [of_acquired, measures, *figures, *[of_result, to_slices] * len(tools)],
        ]


def fusion_gb(megavoxels: float) -> float:
    """Return the memory of fusing stacks: GB, of 1e6 voxels of all of their reconstructions."""
    return round(0.4 + 0.11 * megavoxels, 2)


@dataclass(frozen=True)
class Demand:
    """Threads and memory of one step."""

    gb: float
    threads: int


def most_at_once_gb(images: Sequence[Sequence[Sequence[Demand]]], nprocs: int) -> float:
    """Return the maximum memory, GB, of steps that run together on `nprocs` CPUs.

    Parameters
    ----------
    images : sequence
        For each image its sets of steps: :meth:`Resources.stages`.
    nprocs : int
    """
    total = [0.0] * (nprocs + 1)
    for stages in images:
        busy_gb = [0.0] * (nprocs + 1)  # with so many CPUs for this image
        for stage in stages:
            step_gb = [0.0] * (nprocs + 1)
            for step in stage:
                threads = min(step.threads, nprocs)
                for cpus in range(nprocs, threads - 1, -1):
                    step_gb[cpus] = max(step_gb[cpus], step_gb[cpus - threads] + step.gb)
            busy_gb = list(map(max, busy_gb, step_gb))
        total = [
            max(total[cpus - part] + busy_gb[part] for part in range(cpus + 1))
            for cpus in range(nprocs + 1)
        ]
    return total[nprocs]
