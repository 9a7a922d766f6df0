"""What is assumed of slices is tested on slices left out; what is stated is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Grid, Volume, degrade, lay_out_grid, resample
from bids_sr.records.method_record import HeldOutSlices
from bids_sr.sr import reconstruct
from bids_sr.sr.methods.finetuned import Finetuned
from bids_sr.sr.methods.self_supervised import SelfSupervised
from bids_sr.sr.slices.held_out import TESTED_SHARE, THINNER_SHARE, check_assumption, held_out_gain

HEARTS = Path(__file__).parents[4] / "shared" / "data" / "cardiac-cine"
NOTHING = Acquisition(spacing=6.0, slice_axis=2)
STATED = Acquisition(spacing=6.0, thickness=5.1, profile="slr", slice_axis=2)
UNADAPTED = {"adapt": "none", "threads": 1, "device": "cpu"}


class Method:
    """Adds an error to cubic interpolation, which depends on the stated thickness."""

    def __init__(self, thick: float, thin: float) -> None:
        self.noise = {TESTED_SHARE: thick, THINNER_SHARE: thin}
        self.acquisitions: list[Acquisition] = []

    def __call__(self, slices: Volume, stated: Acquisition, grid: Grid) -> Volume:
        self.acquisitions.append(stated)
        share = round(stated.nominal_thickness / stated.spacing, 6)
        cubic = resample(slices, grid)
        noise = np.random.default_rng(0).normal(0, self.noise[share], cubic.shape)
        return cubic.with_data((cubic.data + noise).astype(np.float32))


@pytest.fixture(scope="module")
def slices() -> Volume:
    texture = np.random.default_rng(1).uniform(50, 150, (40, 36, 9)).astype(np.float32)
    return Volume(texture, np.diag([1.0, 1.0, 6.0, 1.0]))


def test_what_is_stated_is_not_looked_at(slices: Volume) -> None:
    method = Method(1e3, 1e3)
    known = Acquisition(spacing=6.0, thickness=6.0, slice_axis=2)  # its profile is assumed
    for acquisition in (STATED, known):
        check = check_assumption(slices, acquisition, 1.0, method)
        assert (check.acquisition, check.held_out, check.interpolate) == (acquisition, None, "")
    assert method.acquisitions == []


def test_an_assumption_that_does_no_harm_is_kept(
    slices: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bids_sr.sr.slices.held_out.LEAST_GAIN", -0.1)
    method = Method(1.0, 0.0)
    check = check_assumption(slices, NOTHING, 1.0, method)
    assert check.acquisition == NOTHING
    assert check.held_out is not None
    assert (check.held_out.assumption, check.held_out.reason) == ("kept", "")
    assert {stated.spacing for stated in method.acquisitions} == {12.0}
    assert {round(stated.nominal_thickness, 6) for stated in method.acquisitions} == {8.4}
    assert all(stated.assumed == () for stated in method.acquisitions), (
        "or the test would be tested"
    )


def test_where_it_can_do_harm_thinner_slices_are_assumed(
    slices: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    check = check_assumption(slices, NOTHING, 1.0, Method(60.0, 5.0))
    assert check.acquisition.nominal_thickness == 3.0
    assert not check.interpolate
    test = check.held_out
    assert test is not None
    assert test.assumption == "thinner slices"
    assert test.gain is not None
    assert test.gain < 0
    assert "the slices are taken as 3 mm thick, 0.5 of their spacing" in caplog.text
    assert "--slice-thickness" in test.reason


def test_in_the_end_the_image_is_interpolated(slices: Volume) -> None:
    check = check_assumption(slices, NOTHING, 1.0, Method(60.0, 60.0))
    assert "too little to rely on" in check.interpolate
    assert check.held_out is not None
    assert check.held_out.assumption == "none: interpolated"


def test_too_few_slices_and_flat_ones_tell_nothing(slices: Volume) -> None:
    method = Method(60.0, 60.0)
    two = Volume(slices.data[..., :2], slices.affine)
    assert held_out_gain(two, NOTHING, 1.0, TESTED_SHARE, method) is None
    flat = slices.with_data(np.ones_like(slices.data))
    assert held_out_gain(flat, NOTHING, 1.0, TESTED_SHARE, Method(0.0, 0.0)) is None
    assert check_assumption(two, NOTHING, 1.0, method).acquisition == NOTHING


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_gain_is_that_of_the_slices_left_out(slices: Volume, axis: int) -> None:
    """The oracle: cubic interpolation itself gains nothing, whatever the axis."""
    turned = np.ascontiguousarray(np.moveaxis(slices.data, 2, axis))
    affine = np.diag([*np.roll([6.0, 1.0, 1.0], axis), 1.0])
    acquisition = Acquisition(spacing=6.0, slice_axis=axis)
    gain = held_out_gain(Volume(turned, affine), acquisition, 1.0, TESTED_SHARE, Method(0, 0))
    assert gain == pytest.approx(0.0, abs=1e-6)


def test_who_is_tested() -> None:
    tester = SelfSupervised().tester()
    assert isinstance(tester, Finetuned)
    assert tester.adapt == "none"
    assert Finetuned(model="own").tester() == Finetuned(
        model="own",
        adapt="none",
        mirrored=False,
        calibrated_uncertainty=False,
    )
    assert SelfSupervised(reuse="model.safetensors").tester() is None
    assert Finetuned().for_labels().tester() is None


@pytest.fixture(scope="module")
def thick_head(mni152_2mm: Volume) -> Volume:
    return degrade(mni152_2mm, Acquisition(spacing=6.0, thickness=5.1, profile="slr"))


def test_an_assumption_that_is_kept_gives_what_stating_it_gives(
    thick_head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bids_sr.sr.slices.held_out.LEAST_GAIN", -1.0)  # a template is smooth
    grid = lay_out_grid(thick_head, slice_axis=2, output_resolution=2.0)
    assumed, stated = (
        reconstruct(thick_head, acquisition, method="finetuned", grid=grid, parameters=UNADAPTED)
        for acquisition in (NOTHING, STATED)
    )
    assert assumed.record.held_out is not None
    assert assumed.record.held_out.assumption == "kept"
    assert stated.record.held_out is None
    np.testing.assert_array_equal(assumed.volume.data, stated.volume.data)


def test_interpolation_in_place_of_harm_is_interpolation(
    thick_head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bids_sr.sr.slices.held_out.LEAST_GAIN", 99.0)
    monkeypatch.setattr("bids_sr.sr.slices.held_out.WORST_GAIN", 99.0)
    grid = lay_out_grid(thick_head, slice_axis=2, output_resolution=2.0)
    result = reconstruct(
        thick_head,
        NOTHING,
        method="finetuned",
        grid=grid,
        parameters=UNADAPTED,
    )
    cubic = np.maximum(resample(thick_head, grid).data, 0)
    np.testing.assert_array_equal(result.volume.data, cubic)
    assert result.record.fallback == "bspline"
    assert "left-out slices" in result.record.fallback_reason


@pytest.mark.skipif(not HEARTS.is_dir(), reason="no hearts here")
@pytest.mark.parametrize("name", ["sub-chla03_phase-ES", "sub-chla19_phase-ED"])
def test_hearts_of_which_half_is_missing_are_not_made_worse(name: str) -> None:
    """Half of each spacing is gap; at the assumed 0.85 spacings cubic would be better."""
    stack = Volume.load(next(HEARTS.rglob(f"{name}_cine.nii.gz"))).canonical()
    from bids_sr.evaluation.protocol import LEAVE_OUT, Protocol, make_case

    case = make_case(stack, Protocol(name=LEAVE_OUT))
    assumed = Acquisition(spacing=case.acquisition.spacing, slice_axis=case.acquisition.slice_axis)

    def error(volume: Volume) -> float:
        return float(np.mean((case.at_truth(volume.data) - case.truth.data) ** 2))

    result = reconstruct(
        case.lr, assumed, method="finetuned", grid=case.grid, parameters=UNADAPTED
    )
    assert result.record.held_out.assumption == "thinner slices"
    assert result.acquisition is not None
    assert result.acquisition.nominal_thickness == assumed.spacing / 2
    for kernel in ("bspline", "linear"):
        assert error(result.volume) < error(resample(case.lr, case.grid, kernel=kernel))


def test_a_test_that_fails_costs_nothing_else(
    thick_head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("bids_sr.sr.methods.base.check_assumption", broken)
    grid = lay_out_grid(thick_head, slice_axis=2, output_resolution=2.0)
    result = reconstruct(thick_head, NOTHING, method="finetuned", grid=grid, parameters=UNADAPTED)
    assert result.record.held_out == HeldOutSlices(assumption="not tested: the test failed")
    assert result.acquisition == NOTHING
