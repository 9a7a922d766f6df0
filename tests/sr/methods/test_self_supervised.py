from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.imaging import Acquisition, Grid, Volume, degrade, resample
from bids_sr.records.learning_curve import NO_CURVE
from bids_sr.sr import data_consistency_residual, make_method, reconstruct
from bids_sr.sr.learning import own_slices
from bids_sr.sr.learning.loop import FitResult

SMALL: dict[str, Any] = {"steps": 60, "channels": 8, "blocks": 2, "device": "cpu", "threads": 1}


def mean_square(volume: Volume, reference: Volume) -> float:
    return float(np.mean((volume.data - reference.data) ** 2))


def test_learns_on_a_real_image(
    thick: Volume, reference: Volume, acquisition: Acquisition
) -> None:
    result = reconstruct(
        thick, acquisition, method="self", grid=reference.grid, parameters={**SMALL, "steps": 250}
    )
    cubic = reconstruct(thick, acquisition, method="bspline", grid=reference.grid).volume
    assert result.curve.points[-1].loss < result.curve.points[0].loss
    assert result.record.details["Steps"] == 250
    assert mean_square(result.volume, reference) < 0.9 * mean_square(cubic, reference)
    residuals = [data_consistency_residual(v, thick, acquisition) for v in (result.volume, cubic)]
    assert residuals[0] < residuals[1]


@pytest.mark.slow
def test_default_network_beats_cubic_by_a_decibel(mni152_2mm: Volume) -> None:
    acquisition = Acquisition(spacing=8.0, thickness=8.0, profile="gaussian", slice_axis=2)
    lr = degrade(mni152_2mm, acquisition)
    learned, cubic = (
        reconstruct(lr, acquisition, method=name, grid=mni152_2mm.grid, parameters=parameters)
        for name, parameters in (("self", {"steps": 500, "device": "cpu"}), ("bspline", {}))
    )
    errors = [mean_square(result.volume, mni152_2mm) for result in (cubic, learned)]
    assert 10 * np.log10(errors[0] / errors[1]) > 1.0


def test_in_plane_spacing_of_its_own(reference: Volume, acquisition: Acquisition) -> None:
    """Slices finer than the grid, and not square, are brought to the grid."""
    affine = reference.affine.copy()
    affine[:3, 3] -= reference.affine[:3, :2] @ [0.25, 0.125]
    affine[:, 0] *= 0.5
    affine[:, 1] *= 0.75
    fine = resample(reference, Grid((96, 74, 60), affine))
    lr = degrade(fine, acquisition)
    result = reconstruct(lr, acquisition, method="self", grid=reference.grid, parameters=SMALL)
    assert not result.record.fallback
    inner = (slice(4, -4),) * 3
    error = np.sqrt(np.mean((result.volume.data[inner] - reference.data[inner]) ** 2))
    assert error < 0.15 * reference.data.max()


def test_grid_need_not_be_isotropic(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    affine = reference.affine.copy()
    affine[:3, 3] += reference.affine[:3, 0] / 2
    affine[:, 0] *= 2
    grid = Grid((24, 56, 60), affine)
    result = reconstruct(thick, acquisition, method="self", grid=grid, parameters=SMALL).volume
    target = resample(reference, grid)
    assert np.abs(result.data - target.data).mean() < 0.1 * reference.data.max()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((20, 40, 60), "hold fewer than 4 thick slices"), ((48, 56, 60), "the image is constant")],
)
def test_too_little_to_learn_from(
    shape: tuple[int, int, int],
    reason: str,
    reference: Volume,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = reference.data[: shape[0], : shape[1], : shape[2]]
    if reason.endswith("constant"):
        data = np.full_like(data, 3.0)
    acquisition = Acquisition(spacing=12.0, slice_axis=2)
    fine = Volume(data, reference.affine)
    lr = degrade(fine, acquisition)
    with caplog.at_level(logging.WARNING):
        result = reconstruct(
            lr,
            acquisition,
            method="self",
            grid=fine.grid,
            parameters={**SMALL, "data_consistency": False},
        )
    assert result.record.fallback == "bspline"
    assert reason in result.record.fallback_reason
    assert reason in caplog.text
    cubic = reconstruct(lr, acquisition, method="bspline", grid=fine.grid).volume
    np.testing.assert_array_equal(result.volume.data, cubic.data)


def test_isotropic_grid_leaves_nothing_to_learn(thick: Volume, acquisition: Acquisition) -> None:
    result = reconstruct(thick, acquisition, method="self", grid=thick.grid, parameters=SMALL)
    assert "nothing to learn" in result.record.fallback_reason


def test_a_network_that_is_no_better_is_not_used(
    thick: Volume, reference: Volume, acquisition: Acquisition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def useless(*args: Any, **keywords: Any) -> FitResult:
        return FitResult(curve=NO_CURVE, steps=0, seconds=0.0, stop_reason="diverged")

    monkeypatch.setattr(own_slices, "fit", useless)
    result = reconstruct(thick, acquisition, method="self", grid=reference.grid, parameters=SMALL)
    assert "no better than interpolation" in result.record.fallback_reason
    assert result.record.stop_reason == "diverged"


def test_one_bright_voxel_does_not_dim_the_image(
    thick: Volume, reference: Volume, acquisition: Acquisition
) -> None:
    data = thick.data.copy()
    data[20, 20, 7] *= 500
    spoilt, clean = (
        reconstruct(
            volume, acquisition, method="self", grid=reference.grid, parameters=SMALL
        ).volume.data
        for volume in (thick.with_data(data), thick)
    )
    far = spoilt[:, 40:], clean[:, 40:]
    assert np.abs(far[0] - far[1]).mean() < 0.05 * clean.max()


def test_time_budget_bounds_the_training(
    thick: Volume, reference: Volume, acquisition: Acquisition
) -> None:
    result = reconstruct(
        thick,
        acquisition,
        method="self",
        grid=reference.grid,
        parameters={**SMALL, "steps": 10**7, "time_budget": 1.0},
    )
    assert result.record.stop_reason == "time"
    assert result.record.details["TrainingSeconds"] < 5


@pytest.mark.parametrize(
    "name",
    [
        "steps",
        "channels",
        "blocks",
        "batch_size",
        "patch_width",
        "fusion",
        "detail",
        "orientations",
    ],
)
def test_impossible_hyper_parameter_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        make_method("self", {name: 0})


def test_absent_device_is_refused(
    thick: Volume, acquisition: Acquisition, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="CUDA"):
        reconstruct(
            thick, acquisition, method="self", grid=thick.grid, parameters={"device": "cuda"}
        )


def test_no_dim_end_slices_and_no_shift(
    thick: Volume, reference: Volume, acquisition: Acquisition
) -> None:
    result = reconstruct(
        thick, acquisition, method="self", grid=reference.grid, parameters={**SMALL, "steps": 150}
    ).volume.data
    planes = reference.data.mean((0, 1)) > 0.5 * reference.data.mean()
    ratio = result.mean((0, 1))[planes] / reference.data.mean((0, 1))[planes]
    np.testing.assert_allclose(ratio, 1, atol=0.08)
    flat = result[:, :, 8:-8].ravel()
    correlations = [
        np.corrcoef(flat, np.roll(reference.data, shift, 2)[:, :, 8:-8].ravel())[0, 1]
        for shift in (-1, 0, 1)
    ]
    assert np.argmax(correlations) == 1


def test_preset_of_the_paper() -> None:
    method = make_method("self", {"preset": "smore", "steps": 3})
    parameters = method.parameters()
    expected = {"network": "wdsr", "channels": 256, "blocks": 16, "batch_size": 128, "steps": 3}
    assert expected.items() <= parameters.items()
    paper = make_method("self", {"preset": "smore"}).parameters()
    assert 1_000_000 <= paper["steps"] * paper["batch_size"] < 1_000_000 + 128
    assert make_method("self", {"preset": "fast"}) == make_method("self")
    with pytest.raises(ConfigError, match="expected fast or smore"):
        make_method("self", {"preset": "slow"})
    with pytest.raises(ConfigError, match="it has no presets"):
        make_method("linear", {"preset": "fast"})


@pytest.mark.parametrize("thickness", [8.0, 6.0], ids=["flat", "gap"])
def test_preset_learns_at_small_size(reference: Volume, thickness: float) -> None:
    acquisition = Acquisition(spacing=8.0, thickness=thickness, slice_axis=2)
    lr = degrade(reference, acquisition)
    small = {"preset": "smore", "channels": 16, "blocks": 2, "steps": 200, "batch_size": 16}
    small |= {"learning_rate": 2e-3, "device": "cpu", "threads": 1, "seed": 0}
    learned, cubic = (
        reconstruct(lr, acquisition, method=name, grid=reference.grid, parameters=parameters)
        for name, parameters in (("self", small), ("bspline", {}))
    )
    assert not learned.record.fallback
    assert mean_square(learned.volume, reference) < mean_square(cubic.volume, reference)


@pytest.mark.parametrize("network", ["thick_slice", "wdsr"])
def test_what_was_learnt_is_applied_without_training(
    network: str, thick: Volume, reference: Volume, acquisition: Acquisition, tmp_path: Path
) -> None:
    parameters = {**SMALL, "steps": 200, "network": network}
    first = reconstruct(
        thick, acquisition, method="self", grid=reference.grid, parameters=parameters
    )
    assert first.learned is not None
    path = first.learned.save(tmp_path / "model.safetensors")
    # Another image of the same geometry, in another unit of intensity.
    other = Volume(np.ascontiguousarray(thick.data[::-1]) * 50, thick.affine)
    again, cubic = (
        reconstruct(other, acquisition, method=name, grid=reference.grid, parameters=more)
        for name, more in (
            ("self", {"reuse": str(path), "device": "cpu", "threads": 1}),
            ("bspline", {}),
        )
    )
    assert again.record.stop_reason == "reused"
    assert again.record.details["ModelSHA256"] == first.learned.digest
    assert "TrainingSeconds" not in again.record.details
    truth = reference.with_data(np.ascontiguousarray(reference.data[::-1]) * 50)
    errors = [mean_square(result.volume, truth) for result in (again, cubic)]
    assert errors[0] < errors[1]
    same = reconstruct(
        thick,
        acquisition,
        method="self",
        grid=reference.grid,
        parameters={"reuse": str(path), "device": "cpu", "threads": 1},
    )
    np.testing.assert_array_equal(same.volume.data, first.volume.data)
    assert [point.step for point in same.curve.points] == [
        point.step for point in first.curve.points
    ]


def test_another_geometry_is_refused(
    thick: Volume, reference: Volume, acquisition: Acquisition, tmp_path: Path
) -> None:
    parameters = {**SMALL, "steps": 150}
    result = reconstruct(
        thick, acquisition, method="self", grid=reference.grid, parameters=parameters
    )
    assert result.learned is not None
    path = result.learned.save(tmp_path / "model.safetensors")
    thinner = Acquisition(spacing=8.0, thickness=4.0, profile="gaussian", slice_axis=2)
    reuse = {"reuse": str(path), "device": "cpu"}
    with pytest.raises(WeightsError, match="thickness of 4 mm, expected 6 mm"):
        reconstruct(thick, thinner, method="self", grid=reference.grid, parameters=reuse)
    card = replace(result.learned.card, architecture="unheard of")
    replace(result.learned, card=card).save(path)
    with pytest.raises(WeightsError, match="unheard of"):
        reconstruct(thick, acquisition, method="self", grid=reference.grid, parameters=reuse)


def test_nothing_is_learnt_from_a_constant_image(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    flat = thick.with_data(np.full_like(thick.data, 3.0))
    result = reconstruct(flat, acquisition, method="self", grid=reference.grid, parameters=SMALL)
    assert result.learned is None
