"""Perceptual measures: known limits, and what happens without the package."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.evaluation import perceptual as module
from bids_sr.evaluation.perceptual import PERCEPTUAL, available, perceptual


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    rough = ndimage.gaussian_filter(np.random.default_rng(0).uniform(size=(64, 70)), 1.5)
    return np.asarray((rough - rough.min()) / np.ptp(rough))


@pytest.fixture
def piq() -> None:
    if not available().measures:
        pytest.skip(available().notes[0])


@pytest.mark.usefixtures("piq")
def test_they_fall_with_blur(plane: np.ndarray) -> None:
    measures = [name for name in available().measures if name != "dists"]
    assert measures
    blurred = [(ndimage.gaussian_filter(plane, sigma), plane) for sigma in (0.0, 0.7, 2.0)]
    same, mild, strong = (perceptual([pair], measures) for pair in blurred)
    for name in measures:
        assert same[name] == pytest.approx(1, abs=1e-3)
        assert strong[name] < mild[name] < same[name], name


@pytest.mark.usefixtures("piq")
def test_they_are_means_over_planes(plane: np.ndarray) -> None:
    pairs = [(ndimage.gaussian_filter(plane, sigma), plane) for sigma in (0.5, 2.0)]
    singles = [perceptual([pair], ["haarpsi"])["haarpsi"] for pair in pairs]
    both = perceptual(pairs, ["haarpsi"])["haarpsi"]
    assert both == pytest.approx(np.mean(singles), abs=1e-6)


@pytest.mark.usefixtures("piq")
def test_small_and_empty_planes(plane: np.ndarray) -> None:
    small = perceptual([(plane[:12, :15], plane[:12, :15])], ["vif"])
    assert small["vif"] == pytest.approx(1, abs=1e-3)
    empty = np.zeros((50, 50))
    assert np.isnan(perceptual([], ["vif"])["vif"])
    assert np.isnan(perceptual([(empty, empty)], ["haarpsi"])["haarpsi"])


def test_without_the_package_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piq", None)
    module._piq.cache_clear()
    try:
        availability = available()
    finally:
        module._piq.cache_clear()
    assert availability.measures == ()
    (note,) = availability.notes
    assert note.startswith(", ".join(PERCEPTUAL))
    assert "bids_sr[metrics]" in note
