from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from bids_sr.sr.together.judgement import LEAST_AGREEMENT, Judge, Registration
from bids_sr.sr.together.placement import Matrix

SIZE, SPACING = 40, 4.0


class Pair:
    """Compare two volumes of the same grid at all their voxels."""

    def __init__(self, fixed: Matrix, moving: Matrix) -> None:
        self.fixed = fixed
        self.points = np.argwhere(np.ones(moving.shape, bool)) * SPACING
        self.values = moving.ravel()

    def inside(self, to_fixed: Matrix) -> tuple[npt.NDArray[np.bool_], Matrix, Matrix]:
        places = self.points @ to_fixed[:3, :3].T + to_fixed[:3, 3]
        indices = (places / SPACING).T
        covered = np.all((indices >= 0) & (indices <= SIZE - 1), axis=0)
        return covered, places[covered], indices[:, covered]

    def sampled(self, indices: Matrix) -> Matrix:
        return np.asarray(ndimage.map_coordinates(self.fixed, indices, order=1))

    def overlap(self, to_fixed: Matrix) -> float:
        return float(np.mean(self.inside(to_fixed)[0]))

    def residual(self, to_fixed: Matrix) -> float:
        raise AssertionError("of different contrasts only")


def anatomy(seed: int) -> Matrix:
    noise = np.random.default_rng(seed).normal(size=(SIZE, SIZE, SIZE))
    return np.asarray(ndimage.gaussian_filter(noise, 1.2))


def judged(moving: Matrix) -> Registration:
    return Judge(pair=Pair(anatomy(0), moving), shift=6.0).judged(np.eye(4))


def test_the_same_anatomy_is_believed_however_it_is_shaded() -> None:
    shading = np.linspace(0.6, 1.4, SIZE)[:, None, None]
    fit = judged(3 * shading * anatomy(0) + 5)
    assert fit.believed
    assert fit.agreement > 0.95


def test_what_agrees_in_most_places_only_is_not_believed() -> None:
    moving = anatomy(0)
    moving[: 2 * SIZE // 5] = anatomy(1)[: 2 * SIZE // 5]
    fit = judged(moving)
    assert fit.residual <= fit.most_residual
    assert fit.agreement < LEAST_AGREEMENT
    assert not fit.believed
    assert "a part of it shows something else" in fit.reason


@pytest.mark.parametrize("spoilt", [1, 2])
def test_a_few_spoilt_planes_change_nothing(spoilt: int) -> None:
    moving = anatomy(0)
    for plane in range(spoilt):
        moving[8 + 15 * plane] *= -1
    assert judged(moving).believed


def test_what_cannot_be_judged_is_not_said_to_fit_badly() -> None:
    fit = Registration(to_fixed=np.eye(4), overlap=1.0, residual=float("inf"))
    assert not fit.believed
    assert fit.reason == "too little of it overlaps with the frame to judge how it fits"
