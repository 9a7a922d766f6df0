"""PSNR and SSIM against what their papers write, within a mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bids_sr.evaluation import peak_range, psnr, ssim
from bids_sr.exceptions import InputDataError


def _pair() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 100, (16, 17, 18)).astype(np.float32)
    estimate = (reference + rng.normal(0, 10, reference.shape)).astype(np.float32)
    mask = np.zeros(reference.shape, dtype=bool)
    mask[4:12, 5:13, 6:14] = True
    return estimate, reference, mask


def _slow_ssim(
    estimate: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    data_range: float,
) -> float:
    """Equation 13 of Wang et al. at every voxel, window by window, edges mirrored."""
    ramp = np.arange(-5, 6)
    line = np.exp(-0.5 * (ramp / 1.5) ** 2)
    window = line[:, None, None] * line[None, :, None] * line[None, None, :]
    window /= window.sum()
    x, y = (np.pad(image.astype(float), 5, mode="symmetric") for image in (reference, estimate))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for i, j, k in np.argwhere(mask):
        a, b = (image[i : i + 11, j : j + 11, k : k + 11] for image in (x, y))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        variance_a = (window * (a - mean_a) ** 2).sum()
        variance_b = (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        values.append(
            (2 * mean_a * mean_b + c1)
            * (2 * covariance + c2)
            / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
        )
    return float(np.mean(values))


def test_psnr_by_hand() -> None:
    reference = np.zeros((3, 3, 3))
    reference[1, 1, 1] = 100
    estimate = reference + 10
    mask = np.ones((3, 3, 3), dtype=bool)
    assert psnr(estimate, reference, mask) == pytest.approx(20.0)
    assert psnr(estimate, reference, mask, data_range=1000) == pytest.approx(40.0)
    assert psnr(reference, reference, mask) == np.inf


def test_psnr_looks_at_the_mask_only() -> None:
    estimate, reference, mask = _pair()
    inside = psnr(estimate, reference, mask)
    estimate[~mask] = 1e6
    reference[~mask] = -1e6
    assert psnr(estimate, reference, mask) == inside


@pytest.mark.parametrize("corner", [False, True])
def test_ssim_by_hand(corner: bool) -> None:
    estimate, reference, mask = _pair()
    if corner:
        mask[:] = False
        mask[:3, :2, -2:] = True
    expected = _slow_ssim(estimate, reference, mask, peak_range(reference, mask))
    assert ssim(estimate, reference, mask) == pytest.approx(expected, rel=1e-6)


def test_ssim_of_a_box_in_a_large_image_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    reference = rng.uniform(0, 100, (60, 50, 40))
    estimate = reference + rng.normal(0, 10, reference.shape)
    mask = np.zeros(reference.shape, dtype=bool)
    mask[25:30, 20:26, 15:22] = True
    cut = (slice(19, 36), slice(14, 32), slice(9, 28))
    small = ssim(estimate[cut], reference[cut], mask[cut])
    assert ssim(estimate, reference, mask) == pytest.approx(small, rel=1e-9)


def test_ssim_of_equal_images_is_one_and_falls_with_noise() -> None:
    estimate, reference, mask = _pair()
    assert ssim(reference, reference, mask) == pytest.approx(1.0)
    noisier = reference + 3 * (estimate - reference)
    assert ssim(noisier, reference, mask) < ssim(estimate, reference, mask) < 1


def test_peak_range_is_that_within_the_mask() -> None:
    _, reference, mask = _pair()
    reference[0, 0, 0] = 1e6
    assert peak_range(reference, mask) == pytest.approx(np.ptp(reference[mask]))


def test_constant_references_are_refused() -> None:
    _, reference, mask = _pair()
    with pytest.raises(InputDataError, match="constant within the mask"):
        psnr(reference, np.ones_like(reference), mask)


def test_shapes_and_masks_are_checked() -> None:
    estimate, reference, mask = _pair()
    with pytest.raises(InputDataError, match="one 3-D shape"):
        psnr(estimate[1:], reference, mask)
    with pytest.raises(InputDataError, match="with 0 voxels set"):
        ssim(estimate, reference, np.zeros_like(mask))
    with pytest.raises(InputDataError, match="type uint8"):
        psnr(estimate, reference, mask.astype(np.uint8))  # type: ignore[arg-type]
    with pytest.raises(InputDataError, match="at least 11 voxels"):
        ssim(estimate[:9], reference[:9], mask[:9])
