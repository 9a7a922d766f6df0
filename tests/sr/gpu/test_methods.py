"""Every method that computes on a device gives there what it gives on the CPU.

The tolerances are shares of what a method adds to interpolation (root mean square), not of the
image, which is bright everywhere.  On CUDA devices float32 convolutions keep 11 bits (TF32).
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bids_sr.imaging import Acquisition, Grid, Volume, lay_out_grid, resample
from bids_sr.sr import METHODS, Reconstruction, reconstruct, super_resolve, super_resolve_labels
from bids_sr.sr.networks.edsr import EDSR

pytestmark = pytest.mark.gpu

# What the parameters are, and how far the device may be from the CPU.  A training goes its own
# way once its first steps differ by rounding.
CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "self": (
        "self",
        {"steps": 40, "channels": 16, "blocks": 4, "data_consistency": False},
        0.15,
    ),
    "weights as they are": ("finetuned", {"adapt": "none"}, 0.01),
    "adapted": ("finetuned", {"steps": 16}, 0.05),
    "pretrained": ("pretrained", {}, 0.01),
    "latent": ("latent", {"keep_detail": False}, 0.02),
}
# A latent network that learns; without its detail kept all of the result is what it decodes.
LEARNING = {"steps": 60, "width": 8, "learning_rate": 5e-3, "batch_size": 2, "keep_detail": False}
LOSS_TOLERANCE = 0.15
HALF_TOLERANCE = 0.05
RUN_TOLERANCE = 0.05

every_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def edsr(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stand for published weights: a small EDSR of random weights."""
    torch.manual_seed(0)
    network = EDSR(channels=16, blocks=4)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save({"model_weights": network.state_dict()}, path)
    return str(path)


@pytest.fixture(scope="module")
def grid(thick_head: Volume) -> Grid:
    return lay_out_grid(thick_head, slice_axis=2, output_resolution=1.0)


@pytest.fixture(scope="module")
def learning(thick_head: Volume, acquisition: Acquisition, grid: Grid) -> Any:
    """Return the function that lets a latent network learn from the head on a device."""

    def on(device: str, **more: Any) -> Reconstruction:
        parameters = {**LEARNING, "device": device, "threads": 1, **more}
        return reconstruct(
            thick_head, acquisition, method="latent", grid=grid, parameters=parameters
        )

    return on


@pytest.fixture(scope="module")
def learnt(learning: Any) -> Reconstruction:
    """Return what it learns on the CPU."""
    result: Reconstruction = learning("cpu", mixed_precision=False)
    return result


@pytest.fixture(scope="module")
def models(edsr: str, learnt: Reconstruction, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the weights of the methods that bring none, by their names."""
    assert learnt.learned is not None
    path = tmp_path_factory.mktemp("weights") / "latent.safetensors"
    return {"pretrained": edsr, "latent": str(learnt.learned.save(path))}


@pytest.fixture(scope="module")
def run(
    thick_head: Volume, acquisition: Acquisition, grid: Grid, models: Any, threads: int
) -> Any:
    """Return the function that reconstructs the head by a case on a device."""

    def on(case: str, device: str, **more: Any) -> Reconstruction:
        method, parameters, _ = CASES[case]
        more = {"mixed_precision": False, "threads": threads, "device": device} | more
        if method in models:
            more["model"] = models[method]
        return reconstruct(
            thick_head, acquisition, method=method, grid=grid, parameters={**parameters, **more}
        )

    return on


@pytest.fixture(scope="module")
def on_cpu(run: Any) -> Any:
    """Return the function that reconstructs by a case on the CPU, each once."""
    results: dict[str, Reconstruction] = {}

    def of(case: str) -> Reconstruction:
        if case not in results:
            results[case] = run(case, "cpu")
        return results[case]

    return of


def difference(
    actual: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    plain: npt.NDArray[np.float32],
) -> float:
    """Return how far a result is from another, as a share of what that adds to interpolation."""
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected - plain))


def test_every_method_with_a_device_has_a_case() -> None:
    with_device = {name for name, kind in METHODS.items() if "device" in map(_name, fields(kind))}
    assert {method for method, _, _ in CASES.values()} == with_device


def _name(entry: Any) -> str:
    return str(entry.name)


@every_case
def test_a_method_gives_what_it_gives_on_the_cpu(
    case: str, device: str, run: Any, on_cpu: Any, thick_head: Volume, grid: Grid, measure: Any
) -> None:
    expected, actual = on_cpu(case), run(case, device)
    assert expected.record.device == "cpu"
    assert actual.record.device == device
    assert not {"Fallback", "DeviceFallback", "AdaptationFallback"} & set(actual.record.to_dict())
    apart = difference(actual.volume.data, expected.volume.data, resample(thick_head, grid).data)
    seconds = {"seconds": actual.record.seconds, "cpu_seconds": expected.record.seconds}
    measure(difference=apart, tolerance=CASES[case][2], **seconds)
    assert apart <= CASES[case][2]
    if expected.uncertainty is not None:
        assert actual.uncertainty is not None
        np.testing.assert_allclose(
            actual.uncertainty.data.mean(), expected.uncertainty.data.mean(), rtol=0.1
        )


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_a_latent_network_learns_as_well(
    half: bool, device: str, learning: Any, learnt: Reconstruction, measure: Any
) -> None:
    """Judged by its loss: early in a training a little rounding changes much of a result."""
    actual = learning(device, mixed_precision=half)
    loss, on_cpu = actual.curve.points[-1].loss, learnt.curve.points[-1].loss
    measure(loss=loss, cpu_loss=on_cpu, seconds=actual.record.details["TrainingSeconds"])
    assert actual.record.device == device
    assert abs(loss / on_cpu - 1) <= LOSS_TOLERANCE


@pytest.mark.parametrize("case", ["weights as they are", "adapted", "self"])
def test_half_precision_changes_little(
    case: str, device: str, run: Any, on_cpu: Any, thick_head: Volume, grid: Grid, measure: Any
) -> None:
    """The default: bfloat16 on newer devices, float16 on older ones."""
    expected = on_cpu(case)
    actual = run(case, device, mixed_precision=True)
    apart = difference(actual.volume.data, expected.volume.data, resample(thick_head, grid).data)
    tolerance = max(HALF_TOLERANCE, 2 * CASES[case][2])
    measure(difference=apart, tolerance=tolerance)
    assert apart <= tolerance


@pytest.mark.parametrize("case", ["weights as they are", "adapted"])
def test_a_device_without_bfloat16_takes_float16(
    case: str,
    cuda: torch.device,
    run: Any,
    on_cpu: Any,
    thick_head: Volume,
    grid: Grid,
    measure: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Older GPUs: a training scales its loss, as float16 underflows."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: False)
    actual = run(case, str(cuda), mixed_precision=True)
    plain = resample(thick_head, grid).data
    apart = difference(actual.volume.data, on_cpu(case).volume.data, plain)
    # The first steps only find the scale of the loss, so fewer of them are left.
    tolerance = 4 * HALF_TOLERANCE if case == "adapted" else HALF_TOLERANCE
    measure(difference=apart, tolerance=tolerance)
    assert apart <= tolerance


@pytest.mark.parametrize("case", ["adapted", "self"])
def test_a_seed_gives_about_the_same_twice(
    case: str, device: str, run: Any, thick_head: Volume, grid: Grid, measure: Any
) -> None:
    """Sums on a GPU have no fixed order, so results are close, not equal."""
    first, second = (run(case, device, mixed_precision=True) for _ in range(2))
    plain = resample(thick_head, grid).data
    apart = difference(second.volume.data, first.volume.data, plain)
    measure(difference=apart, tolerance=RUN_TOLERANCE)
    assert apart <= RUN_TOLERANCE


def test_one_call_from_a_file_to_a_file(
    device: str, head: Volume, thick_head: Volume, tmp_path: Path, measure: Any
) -> None:
    """The default method with adaptation is better than cubic interpolation."""
    path = thick_head.save(tmp_path / "thick.nii.gz")
    acquisition = Acquisition(spacing=4.0, thickness=3.5)
    fine = super_resolve(Volume.load(path), acquisition, device=device, steps=24)
    fine = Volume.load(fine.save(tmp_path / "fine.nii.gz"))
    cubic = super_resolve(thick_head, acquisition, method="bspline")
    errors = [np.sqrt(np.mean((volume.data - head.data) ** 2)) for volume in (fine, cubic)]
    measure(rmse=float(errors[0]), cubic_rmse=float(errors[1]))
    assert errors[0] < 0.95 * errors[1]


def test_labels(device: str, head: Volume, acquisition: Acquisition) -> None:
    inside = Volume((head.data[:, :, 2::4] > 85).astype(np.int16), np.diag([1.0, 1.0, 4.0, 1.0]))
    actual, expected = (
        super_resolve_labels(inside, acquisition, method="finetuned", device=name)
        for name in (device, "cpu")
    )
    assert actual.data.dtype == np.int16
    assert np.mean(actual.data != expected.data) < 1e-3


@pytest.mark.parametrize("case", ["adapted", "latent"])
def test_a_result_that_is_let_go_frees_the_device(case: str, cuda: torch.device, run: Any) -> None:
    run(case, str(cuda), mixed_precision=True)  # libraries take memory once and for all
    before = torch.cuda.memory_allocated(cuda)
    run(case, str(cuda), mixed_precision=True)
    assert torch.cuda.memory_allocated(cuda) <= before + (1 << 20)
