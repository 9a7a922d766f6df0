"""Tissue priors: the tissue maps of a template, brought to a brain.

They distinguish grey from white matter where an image alone cannot (FLAIR), and name the
classes for any contrast.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from bids_sr.engines import BUNDLED_TEMPLATE as BUNDLED
from bids_sr.engines.itk import ants_session, to_ants
from bids_sr.engines.registration_image import isotropic
from bids_sr.engines.template import brain_template, tissue_maps
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume
from bids_sr.seed import DEFAULT_SEED

_RESOLUTION = 3  # mm, of the registration: tissue maps of a template are no sharper
_LEAST_TISSUE = 0.5  # share of the mask that the registered template must cover


@dataclass(frozen=True, kw_only=True)
class TissuePriors:
    """Hold the probability of each tissue, (X, Y, Z) float32 arrays that sum to 1 in the mask."""

    csf: npt.NDArray[np.float32]
    grey: npt.NDArray[np.float32]
    white: npt.NDArray[np.float32]


@lru_cache(maxsize=1)  # by identity: two tools in one process share them
def tissue_priors(
    volume: Volume,
    mask: Volume,
    *,
    threads: int = 1,
    seed: int = DEFAULT_SEED,
    template: str = BUNDLED,
) -> TissuePriors:
    """Bring the template's tissue maps to the brain of an image.

    Parameters
    ----------
    volume : Volume
        Of any contrast.
    mask : Volume
        Its brain mask, on its grid.
    threads : int
    seed : int
        Of the registration's sampling.
    template : str
        As in :func:`.require_template`.

    Returns
    -------
    priors : TissuePriors
        On the volume's grid, 0 outside of the mask.

    Raises
    ------
    EngineError
        If the registration fails or the template does not cover the brain.

    Notes
    -----
    Affine, then SyN, both with mutual information and at 3 mm, between the brains only:
    the mask decides what is brain.

    References
    ----------
    Avants et al. 2008, Symmetric diffeomorphic image registration with cross-correlation:
    evaluating automated labeling of elderly and neurodegenerative brain, Med Image Anal
    12:26-41, doi:10.1016/j.media.2007.06.004.
    Fonov et al. 2011, Unbiased average age-appropriate atlases for pediatric studies,
    NeuroImage 54:313-327, doi:10.1016/j.neuroimage.2010.07.033.
    """
    inside = mask.data > 0
    brain = np.where(inside, volume.data, 0).astype(np.float32)
    top = float(np.percentile(brain[inside], 99)) or 1.0
    fixed = isotropic(volume.with_data(np.clip(brain / top, 0, 1.1)), _RESOLUTION)
    t1w = brain_template(template, _RESOLUTION).image
    grey, white = tissue_maps(template, _RESOLUTION)
    with (
        ants_session(threads=threads, seed=seed) as (ants, _),
        TemporaryDirectory(prefix="bids_sr-") as folder,
    ):
        target, moving = to_ants(ants, fixed), to_ants(ants, t1w)
        affine = ants.registration(
            target,
            moving,
            "Affine",
            aff_iterations=(200, 100),
            aff_shrink_factors=(2, 1),
            aff_smoothing_sigmas=(1, 0),
            outprefix=str(Path(folder) / "affine_"),
        )
        warp = ants.registration(
            target,
            moving,
            "SyNOnly",
            initial_transform=affine["fwdtransforms"][0],
            syn_metric="mattes",
            reg_iterations=(40, 20, 10),
            outprefix=str(Path(folder) / "syn_"),
        )
        grid = to_ants(ants, volume)
        tissues = [
            np.clip(
                ants.apply_transforms(
                    grid, to_ants(ants, tissue), warp["fwdtransforms"], interpolator="linear"
                ).numpy(),
                0,
                1,
            )
            for tissue in (grey, white)
        ]
    return _normalised(tissues[0], tissues[1], inside)


def _normalised(
    grey: npt.NDArray[np.float32], white: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]
) -> TissuePriors:
    total = np.maximum(grey + white, 1)
    grey, white = grey / total, white / total
    csf = 1 - grey - white
    covered = float(np.mean(csf[inside] < 0.5))
    if covered < _LEAST_TISSUE:
        raise EngineError(
            f"Found template tissue in {covered:.0%} of the brain mask; expected at least "
            f"{_LEAST_TISSUE:.0%}: the registration of the template failed, or the mask holds no "
            "brain. Look at the mask in the report."
        )
    csf, grey, white = (
        np.where(inside, part, 0).astype(np.float32) for part in (csf, grey, white)
    )
    return TissuePriors(csf=csf, grey=grey, white=white)
