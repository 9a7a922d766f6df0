"""Tissue classes by Atropos (antspyx): cerebrospinal fluid, grey and white matter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.engines.itk import ants_session, to_ants
from bids_sr.engines.segmentation.base import Label, Segmentation, SegmentationTool
from bids_sr.engines.segmentation.tissue_priors import tissue_priors
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

TISSUES = (
    Label(index=1, name="cerebrospinal fluid", abbreviation="CSF", colour="#3b82f6"),
    Label(index=2, name="grey matter", abbreviation="GM", colour="#22c55e"),
    Label(index=3, name="white matter", abbreviation="WM", colour="#facc15"),
)
_PRIOR_WEIGHT = 0.25
_MRF = 0.1
_ITERATIONS = 5
_LEAST_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Atropos(SegmentationTool):
    """Classify the voxels of a brain by intensity, place and neighbours.

    References
    ----------
    Avants et al. 2011, An open source multivariate framework for n-tissue segmentation with
    evaluation on public data, Neuroinformatics 9:381-400, doi:10.1007/s12021-011-9109-y.
    """

    needs_mask: ClassVar[bool] = True
    tissue_maps: ClassVar[bool] = True
    maps: ClassVar[tuple[str, ...]] = ("CSF", "GM", "WM")
    memory_gb: ClassVar[tuple[float, float]] = (0.45, 0.2)
    text: ClassVar[str] = (
        "Cerebrospinal fluid, grey and white matter were segmented on the super-resolved image "
        "within the brain mask with Atropos [ANTs, @avants2011atropos], with the tissue maps of "
        "{template}, registered, as priors. "
    )

    def segment(self, volume: Volume, mask: Volume | None = None) -> Segmentation:
        """Segment an image; see :class:`.SegmentationTool`.

        Notes
        -----
        The priors initialise the classes and have a weight of a quarter; the intensities have
        the rest.  There is no class for lesions: a lesion joins the class with its
        intensity.
        """
        assert mask is not None
        inside = mask.data > 0
        priors = tissue_priors(
            volume, mask, threads=self.threads, seed=self.seed, template=self.template
        )
        box = ndimage.find_objects(inside.astype(np.uint8))[0]  # the rest would only take time
        # antspyx passes the priors to Atropos in files, whose header rounds; ITK then refuses an
        # origin that is off by 1e-6 mm.  This grid survives it, and only the spacings matter.
        affine = np.diag([*np.asarray(volume.spacings, np.float32), 1.0]).astype(float)
        parts = [Volume(share[box], affine) for share in (priors.csf, priors.grey, priors.white)]
        limits = np.percentile(volume.data[inside], (0.1, 99.9))
        image = Volume(np.clip(volume.data[box], *limits).astype(np.float32), affine)
        with (
            _own_temporary_folder(),
            ants_session(threads=self.threads, seed=self.seed) as (ants, threads_used),
        ):
            result = ants.atropos(
                a=to_ants(ants, image),
                x=to_ants(ants, image.with_data(inside[box].astype(np.float32))),
                i=[to_ants(ants, part) for part in parts],
                m=f"[{_MRF},1x1x1]",
                c=f"[{_ITERATIONS},0]",
                priorweight=_PRIOR_WEIGHT,
                r=0,  # else Atropos seeds itself from the clock
            )
            labels = np.zeros(volume.shape, np.uint8)
            labels[box] = np.where(inside[box], result["segmentation"].numpy(), 0)
            posteriors = [posterior.numpy() for posterior in result["probabilityimages"]]
        check_shares(np.bincount(labels[inside], minlength=4)[1:])
        maps = {}
        for label, part in zip(TISSUES, posteriors, strict=True):
            share = np.zeros(volume.shape, np.float32)
            share[box] = np.where(inside[box], np.clip(part, 0, 1), 0)
            maps[label.abbreviation] = volume.with_data(share)
        return Segmentation(
            labels=volume.with_data(labels),
            table=TISSUES,
            maps=maps,
            record={
                "Method": "Atropos (ANTs)",
                "Priors": f"tissue maps of {self.template}, registered (affine, SyN)",
                "PriorWeight": _PRIOR_WEIGHT,
                "MRFWeight": _MRF,
                "Iterations": _ITERATIONS,
                "Threads": threads_used,
                "Seed": self.seed,
            },
        )


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """Remove the maps that antspyx leaves in the temporary folder."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="bids_sr-atropos-") as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def check_shares(voxels: npt.NDArray[np.integer]) -> None:
    """Refuse a result in which a tissue is missing.

    Parameters
    ----------
    voxels : (3,) int array
        Of each tissue.

    Raises
    ------
    EngineError
    """
    shares = voxels / max(int(voxels.sum()), 1)
    if shares.min() < _LEAST_SHARE:
        words = ", ".join(
            f"{tissue.abbreviation} {share:.1%}"
            for tissue, share in zip(TISSUES, shares, strict=True)
        )
        raise EngineError(
            f"Atropos found {words} of the brain; expected at least {_LEAST_SHARE:.0%} of each "
            "tissue. Look at the image and its mask in the report."
        )
