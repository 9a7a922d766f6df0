from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr import Reconstruction, reconstruct
from bids_sr.sr.slices.consistency import agreement
from bids_sr.sr.together import registration, relation
from bids_sr.sr.together.guide import guided, super_resolve_guided
from bids_sr.sr.together.placement import rigid_motion
from bids_sr.sr.together.registration import register

PLAIN = {"adapt": "none", "device": "cpu", "threads": 1}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation, "STEPS", 150)
    monkeypatch.setattr(relation, "_BATCH", 4096)
    monkeypatch.setattr(registration, "_POINTS", 20_000)


@pytest.fixture(scope="session")
def unguided(thick: Volume, acquisition: Acquisition, reference: Volume) -> Reconstruction:
    return reconstruct(
        thick, acquisition, method="finetuned", grid=reference.grid, parameters=PLAIN
    )


@pytest.fixture(scope="session")
def other_contrast(reference: Volume) -> Volume:
    """Return the template with its tones in another order, and noise."""
    scaled = reference.data / np.percentile(reference.data, 99)
    tones = np.interp(scaled, [0, 0.1, 0.4, 0.7, 1.0], [0, 0.9, 1.0, 0.6, 0.3])
    noise = np.random.default_rng(0).normal(0, 0.01, tones.shape)
    return reference.with_data((500 * (tones + noise)).astype(np.float32))


@pytest.fixture(scope="session")
def motion(reference: Volume) -> np.ndarray:
    centre = (reference.affine @ np.append((np.array(reference.shape) - 1) / 2, 1))[:3]
    return rigid_motion(np.deg2rad([3, -2, 2]), [3, -2, 3], centre)


@pytest.fixture(scope="session")
def moved(other_contrast: Volume, motion: np.ndarray) -> Volume:
    """Return the same after the patient moved, which its header does not know."""
    return Volume(other_contrast.data, motion @ other_contrast.affine)


def gain(made: Volume, before: Volume, reference: Volume) -> float:
    after, without = (
        np.mean((volume.data - reference.data)[4:-4, 4:-4, 8:-8] ** 2) for volume in (made, before)
    )
    return float(10 * np.log10(without / after))


def test_a_guide_that_moved_helps(
    unguided: Reconstruction,
    thick: Volume,
    moved: Volume,
    reference: Volume,
    motion: np.ndarray,
) -> None:
    result = guided(unguided, thick, moved, threads=1)
    assert result.used
    assert result.record.warnings == unguided.record.warnings
    assert result.to_guide is not None
    assert np.abs(result.to_guide - motion)[:3, :3].max() < 0.01
    assert gain(result.volume, unguided.volume, reference) > 0.7
    assert result.unguided is unguided.volume
    facts = result.record.details["Guide"]
    assert facts["HeldOutGainDecibel"] > facts["HeldOutGainWithoutGuideDecibel"] + 0.5
    assert result.uncertainty is not None
    assert unguided.uncertainty is not None
    assert result.uncertainty.data.mean() < unguided.uncertainty.data.mean()
    assert result.volume.data.min() >= 0
    assert unguided.acquisition is not None
    consistency = result.record.details["DataConsistency"]
    measured = agreement(result.volume, thick, unguided.acquisition)
    assert consistency["Applied"] == unguided.record.parameters["data_consistency"]
    assert {name: consistency[name] for name in measured} == measured
    assert consistency != unguided.record.details["DataConsistency"]
    again = guided(unguided, thick, moved, threads=1)
    np.testing.assert_array_equal(result.volume.data, again.volume.data)


def test_a_guide_that_tells_nothing_changes_nothing(
    unguided: Reconstruction, thick: Volume, other_contrast: Volume
) -> None:
    """On slices held out a scan of noise adds nothing, wherever it lies."""
    noise = np.random.default_rng(1).normal(100, 10, other_contrast.shape).astype(np.float32)
    for data in (noise, np.full_like(noise, 7)):
        result = guided(unguided, thick, other_contrast.with_data(data), threads=1)
        assert not result.used
        assert result.volume is unguided.volume
        why = f"the guide is not used: {result.reason}"
        assert sorted(result.record.warnings) == sorted((*unguided.record.warnings, why))


def test_held_out_slices_decide(
    unguided: Reconstruction,
    thick: Volume,
    other_contrast: Volume,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A registration that is believed wrongly does no harm."""
    monkeypatch.setattr("bids_sr.sr.together.guide.LEAST_GAIN", 100.0)
    result = guided(unguided, thick, other_contrast, threads=1)
    assert not result.used
    assert "on held-out slices" in result.reason
    assert result.volume is unguided.volume


def test_a_guide_must_be_thin_across_the_slices(
    unguided: Reconstruction, thick: Volume, other_contrast: Volume, acquisition: Acquisition
) -> None:
    coarse = other_contrast.grid.with_planes(2, 15, step=4)
    thinned = Volume(np.ascontiguousarray(other_contrast.data[:, :, ::4]), coarse.affine)
    result = guided(unguided, thick, thinned, threads=1)
    assert not result.used
    assert "8 mm apart across the slices" in result.reason


def test_other_methods_have_nothing_to_learn_with(
    thick: Volume, acquisition: Acquisition, other_contrast: Volume, unguided: Reconstruction
) -> None:
    result = super_resolve_guided(thick, other_contrast, acquisition, method="bspline")
    assert not result.used
    assert "without a network" in result.reason
    assert unguided.learned is not None
    card = replace(unguided.learned.card, architecture={"Name": "other"})
    strange = replace(unguided, learned=replace(unguided.learned, card=card))
    assert "finetuned" in guided(strange, thick, other_contrast).reason


def test_two_contrasts_are_registered(
    reference: Volume, moved: Volume, motion: np.ndarray
) -> None:
    fit = register(moved, reference, contrasts=True)
    assert fit.believed
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in reference.shape])).reshape(3, -1)
    world = reference.affine @ np.vstack([corners, np.ones(8)])
    assert np.linalg.norm(((fit.to_fixed - motion) @ world)[:3], axis=0).max() < 0.3
