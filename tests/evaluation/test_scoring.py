"""Scores: each is what its definition says, computed here in the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from bids_sr.evaluation import MEASURES, Protocol, TestCase, make_case, psnr, score, ssim
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume, lay_out_grid, resample
from bids_sr.records.uncertainty import COVERAGE_FACTOR


@pytest.fixture(scope="module")
def brain(mni152_2mm: Volume) -> Volume:
    return Volume(1000 * mni152_2mm.data[24:68, 28:84, 24:66], mni152_2mm.affine)


@pytest.fixture(scope="module")
def mask(brain: Volume) -> np.ndarray:
    return np.asarray(brain.data > 200)


@pytest.fixture(scope="module")
def case(brain: Volume) -> TestCase:
    return make_case(brain, Protocol(name="7/8"))


@pytest.fixture(scope="module")
def cubic(case: TestCase) -> Volume:
    return resample(case.lr, case.grid)


def test_psnr_and_ssim_are_in_the_mask_within_the_slices(
    case: TestCase, cubic: Volume, mask: np.ndarray
) -> None:
    scores = score(case, cubic, mask=mask)
    inside = mask & case.region
    truth = case.truth.data
    peak = truth[inside].max() - truth[inside].min()
    mean_square = np.mean((cubic.data[inside] - truth[inside]) ** 2)
    assert scores["psnr"] == pytest.approx(10 * np.log10(peak**2 / mean_square), abs=1e-4)
    assert scores["ssim"] == pytest.approx(ssim(cubic.data, truth, inside), abs=1e-6)
    assert scores["sharpness"] < 0.5 < scores["reference_sharpness"] < 2
    assert set(scores) == {"psnr", "ssim", "sharpness", "reference_sharpness"}


def test_lesions_are_scored_with_the_range_of_the_brain(
    case: TestCase, cubic: Volume, mask: np.ndarray
) -> None:
    lesions = np.zeros_like(mask)
    lesions[20:26, 20:26, 15:21] = True
    scores = score(case, cubic, mask=mask, lesions=lesions)
    inside = mask & case.region
    peak = float(np.ptp(case.truth.data[inside]))
    expected = psnr(cubic.data, case.truth.data, lesions & case.region, peak)
    assert scores["lesion_psnr"] == pytest.approx(expected, abs=1e-4)
    assert "lesion_psnr" not in score(case, cubic, mask=mask, lesions=np.zeros_like(mask))


def test_an_estimate_on_another_grid_is_brought_to_the_reference(
    case: TestCase, brain: Volume, mask: np.ndarray
) -> None:
    finer = resample(brain, lay_out_grid(brain, slice_axis=2, output_resolution=1.3))
    quality = score(case, finer, mask=mask)
    assert quality["psnr"] > 30
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = finer.shape[0] - 1
    turned = Volume(finer.data[::-1].copy(), finer.affine @ flip)
    assert score(case, turned, mask=mask)["psnr"] == pytest.approx(quality["psnr"], rel=1e-3)


def test_left_out_slices_are_scored_plane_by_plane(brain: Volume) -> None:
    stack = Volume(brain.data[..., ::4].copy(), brain.affine @ np.diag([1, 1, 4.0, 1]))
    case = make_case(stack, Protocol(name="leave-slices-out"))
    estimate = resample(case.lr, case.grid)
    scores = score(case, estimate, mask=np.ones(case.truth.shape, dtype=bool))
    assert case.planes is not None
    pairs = [
        (estimate.data[..., plane], stack.data[..., 1 + 2 * number])
        for number, plane in enumerate(case.planes)
    ]
    errors = [(sr_plane - true_plane) ** 2 for sr_plane, true_plane in pairs]
    peak = max(truth.max() for _, truth in pairs) - min(truth.min() for _, truth in pairs)
    assert scores["psnr"] == pytest.approx(10 * np.log10(peak**2 / np.mean(errors)), abs=1e-3)
    slow = [
        structural_similarity(
            truth.astype(float),
            sr_plane.astype(float),
            data_range=peak,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1].mean()
        for sr_plane, truth in pairs
    ]
    assert scores["ssim"] == pytest.approx(np.mean(slow), abs=1e-5)
    assert "sharpness" not in scores


def test_perceptual_measures_see_the_mask_only(
    case: TestCase, cubic: Volume, mask: np.ndarray
) -> None:
    from bids_sr.evaluation.perceptual import available

    if "haarpsi" not in available().measures:
        pytest.skip(available().notes[0])
    haarpsi = score(case, cubic, mask=mask, measures=["haarpsi"])["haarpsi"]
    elsewhere = cubic.with_data(np.where(mask, cubic.data, 500).astype(np.float32))
    again = score(case, elsewhere, mask=mask, measures=["haarpsi"])["haarpsi"]
    assert haarpsi == pytest.approx(again, abs=1e-6)
    assert 0.2 < haarpsi < 0.95
    assert score(case, case.truth, mask=mask, measures=["haarpsi"])["haarpsi"] == pytest.approx(1)


def test_uncertainty_is_compared_with_the_error(
    case: TestCase, cubic: Volume, mask: np.ndarray
) -> None:
    error = np.abs(cubic.data - case.truth.data)
    scores = score(case, cubic, mask=mask, uncertainty=cubic.with_data(0.5 * error))
    assert scores["uncertainty_correlation"] == pytest.approx(1)
    assert scores["uncertainty_ratio"] == pytest.approx(2)
    errs = np.count_nonzero(error[mask & case.region]) / np.count_nonzero(mask & case.region)
    assert scores["uncertainty_coverage"] == pytest.approx(100 * (1 - errs))  # 0.5 x 1.645 < 1
    noise = np.random.default_rng(0).uniform(1, 2, error.shape).astype(np.float32)
    blind = score(case, cubic, mask=mask, uncertainty=cubic.with_data(noise))
    assert abs(blind["uncertainty_correlation"]) < 0.05
    constant = score(case, cubic, mask=mask, uncertainty=cubic.with_data(0 * error + 1))
    assert "uncertainty_correlation" not in constant


def test_coverage_is_the_share_of_voxels_within_the_interval(
    case: TestCase, cubic: Volume, mask: np.ndarray
) -> None:
    inside = mask & case.region
    error = np.abs(cubic.data - case.truth.data)
    width = float(np.quantile(error[inside], 0.7)) / COVERAGE_FACTOR
    stated = cubic.with_data(np.full(error.shape, width, np.float32))
    stated.data[0, 0, 0] *= 2  # a constant map ranks nothing and is not scored
    stated.data[inside] *= np.linspace(1, 1 + 1e-6, np.count_nonzero(inside))
    scores = score(case, cubic, mask=mask, uncertainty=stated)
    assert scores["uncertainty_coverage"] == pytest.approx(70, abs=0.1)


def test_a_mask_outside_of_the_slices_is_refused(case: TestCase, cubic: Volume) -> None:
    mask = ~case.region
    mask[:, :, :-1] = False
    with pytest.raises(InputDataError, match="no voxel of the mask within the slices"):
        score(case, cubic, mask=mask)


def test_every_measure_is_defined() -> None:
    for measure in MEASURES:
        assert measure.definition
        assert measure.title
