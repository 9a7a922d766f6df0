"""A brain with known tissues: the tissue maps of the template that nilearn bundles."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.engines.segmentation.tissue_priors import TissuePriors
from bids_sr.imaging import Volume


@pytest.fixture(scope="session")
def tissues() -> tuple[Volume, TissuePriors]:
    """Brain mask at 4 mm and the probability of each tissue."""
    from nilearn import datasets

    grey = datasets.load_mni152_gm_template(resolution=4)
    white = np.asarray(datasets.load_mni152_wm_template(resolution=4).dataobj, np.float32)
    mask = np.asarray(datasets.load_mni152_brain_mask(resolution=4).dataobj) > 0
    parts = [np.clip(np.asarray(grey.dataobj, np.float32), 0, 1), np.clip(white, 0, 1)]
    total = np.maximum(sum(parts), 1)
    first, second = (np.where(mask, part / total, 0).astype(np.float32) for part in parts)
    csf = np.where(mask, 1 - first - second, 0).astype(np.float32)
    volume = Volume(mask.astype(np.uint8), np.asarray(grey.affine, float))
    return volume, TissuePriors(csf=csf, grey=first, white=second)
