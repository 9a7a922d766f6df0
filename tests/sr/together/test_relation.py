from __future__ import annotations

import numpy as np
import pytest

from bids_sr.compute.progress import silent
from bids_sr.sr.together.degraded_slices import _spots
from bids_sr.sr.together.relation import Examples, Relation, Scene


def scene(along: int, across: int) -> Scene:
    generator = np.random.default_rng(0)
    made, guide = generator.normal(size=(2, 12, 14, 16)).astype(np.float32)
    phase = np.linspace(-0.5, 0.5, made.shape[along]).astype(np.float32)
    return Scene(made, guide, phase, along=along, across=across)


def test_inputs_are_the_neighbours_along_and_across() -> None:
    """All voxels of an ellipse, 4 by 3 of the reconstruction and 5 by 4 of the guide."""
    whole = scene(along=0, across=2)
    inputs = whole.inputs(np.array([[6, 1], [7, 7], [8, 15]]))
    made, guide = whole.reconstruction, whole.guide
    for row, (x, z) in enumerate(((6, 8), (1, 15))):
        expected = []
        for values, reach in ((made, (4, 3)), (guide, (5, 4))):
            for along in range(-reach[0], reach[0] + 1):
                for across in range(-reach[1], reach[1] + 1):
                    radius = np.hypot(along / (reach[0] + 0.5), across / (reach[1] + 0.5))
                    if 0 < radius <= 1:
                        there = np.clip(x + along, 0, 11), 7, np.clip(z + across, 0, 15)
                        expected.append(3 * (values[there] - values[x, 7, z]))
            expected.append(values[x, 7, z])
            expected.append(2 * whole.phase[x] if values is made else 1)
        np.testing.assert_allclose(inputs[row], expected, rtol=1e-5, atol=1e-6)


def test_axes_turn_with_the_arrays() -> None:
    whole = scene(along=0, across=2)
    turned = Scene(
        whole.reconstruction.transpose(2, 0, 1),
        whole.guide.transpose(2, 0, 1),
        whole.phase,
        along=1,
        across=0,
    )
    places = np.array([[1, 6, 11], [0, 7, 13], [0, 8, 15]])
    np.testing.assert_array_equal(whole.inputs(places), turned.inputs(places[[2, 0, 1]]))


@pytest.fixture(scope="module")
def taught() -> tuple[Relation, Examples]:
    """Return a relation in which a guide tells all."""
    whole = scene(along=0, across=2)
    places = np.array(np.nonzero(np.ones(whole.guide.shape, bool)))
    examples = Examples(whole.inputs(places), 0.3 * whole.guide.ravel())
    return Relation.learnt(examples, seed=1, progress=silent, steps=60), examples


def test_what_a_guide_tells_is_learnt(taught: tuple[Relation, Examples]) -> None:
    relation, examples = taught
    assert relation.gain(examples) > 6
    assert relation.gain(examples, blind=True) < 1


def test_a_seed_gives_the_same_again(taught: tuple[Relation, Examples]) -> None:
    relation, examples = taught
    again = Relation.learnt(examples, seed=1, progress=silent, steps=60)
    np.testing.assert_array_equal(
        again.missing(examples.inputs), relation.missing(examples.inputs)
    )


def test_corrections_stay_where_they_are_wanted(taught: tuple[Relation, Examples]) -> None:
    whole = scene(along=0, across=2)
    wanted = np.zeros(whole.guide.shape, bool)
    wanted[3:6] = True
    correction = taught[0].correction(whole, wanted)
    assert not correction[~wanted].any()
    assert np.corrcoef(correction[wanted], whole.guide[wanted])[0, 1] > 0.8


def test_spots_are_planted_in_the_foreground_only() -> None:
    foreground = np.zeros((3, 60, 60), bool)
    foreground[:2, 20:40, 20:40] = True
    spots = _spots(foreground, np.random.default_rng(0))
    assert np.abs(spots[:2, 20:40, 20:40]).max() > 0.1
    assert not spots[2].any()
    assert not spots[:, :8].any()
