"""Each check is silent on a real head that was degraded, and fires on its spoilt copies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.evaluation.field_of_view import at_both_edges_percent, brain_cut
from bids_sr.evaluation.image_measures import MeasuredImage, measures_of
from bids_sr.evaluation.mask_fit import dark_rim_percent
from bids_sr.evaluation.spoilt import SPOILS, Scan
from bids_sr.evaluation.tissue_contrast import tissue_contrast
from bids_sr.imaging import Acquisition, Volume, degrade, lay_out_grid, resample
from bids_sr.imaging.noise import estimate_noise
from bids_sr.records.checks import verdict_on
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.quality import QualityRecord
from bids_sr.records.step_record import StepRecord


@pytest.fixture(scope="module")
def scan(mni152_2mm: Volume) -> Scan:
    """Return axial slices of a brain with a scalp around it and a little noise, in air."""
    padded = Volume(np.pad(mni152_2mm.data, 12), mni152_2mm.affine)
    away = 2 * ndimage.distance_transform_edt(padded.data <= 0)
    padded = padded.with_data(np.where((away > 6) & (away < 14), np.float32(0.8), padded.data))
    acquisition = Acquisition(spacing=4.0, thickness=4.0, slice_axis=2)
    volume = degrade(padded, acquisition, noise_fraction=0.01, seed=3)
    brain = padded.with_data((away == 0).astype(np.float32))
    inside = degrade(brain, acquisition).data > 0.5
    inside = ndimage.binary_erosion(inside, iterations=2)  # the template has fluid around it
    mask = volume.with_data(inside.astype(np.uint8))
    return Scan(volume=volume, mask=mask, acquisition=acquisition)


def fired(scan: Scan) -> set[str]:
    """Return the names of the checks that ask for a look at an interpolated scan."""
    grid = lay_out_grid(scan.volume, slice_axis=scan.axis, output_resolution=2.0)
    image = MeasuredImage(
        acquired=scan.volume,
        result=resample(scan.volume, grid),
        acquisition=scan.acquisition,
        brain_mask=scan.mask,
    )
    noise = 100 * estimate_noise(scan.volume, scan.axis) / float(np.ptp(scan.volume.data))
    quality = QualityRecord(
        image="sub-01_T1w.nii.gz",
        suffix="T1w",
        method=MethodRecord(
            method="bspline", details={"DataConsistency": {"NoisePercent": noise}}
        ),
        measures=StepRecord(measures_of(image)),
    )
    return {check.name for check in verdict_on(quality).looks}


def test_a_good_scan_is_ok(scan: Scan) -> None:
    assert fired(scan) == set()


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        ("banding, %", {"banding"}),
        ("mask shifted, mm", {"mask_rim"}),
        ("mask grown, mm", {"mask_rim"}),
        ("brain cut within the slices, mm", {"brain_cut"}),
        ("slices missing at the end, mm", {"brain_cut"}),
        ("contrast agent, times", {"bright_voxels"}),
        ("clipped tissue, %", {"clipped"}),
        ("wrap-around, mm", {"both_edges"}),
        ("noise, %", {"noise"}),
    ],
)
def test_the_strongest_spoil_is_noticed(scan: Scan, spoil: str, names: set[str]) -> None:
    function, strengths = SPOILS[spoil]
    assert names <= fired(function(scan, strengths[-1]))


def test_a_spoil_leaves_the_scan_as_it_is(scan: Scan) -> None:
    assert scan.mask is not None
    before, mask = scan.volume.data.copy(), scan.mask.data.copy()
    for function, strengths in SPOILS.values():
        function(scan, strengths[0])
    np.testing.assert_array_equal(scan.volume.data, before)
    np.testing.assert_array_equal(scan.mask.data, mask)


def test_ratios_of_known_tissues() -> None:
    """Three Gaussian classes: the ratios follow from their means and deviations."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(mean, 5, size) for mean, size in ((50, 10000), (100, 40000), (150, 30000))]
    inside = np.concatenate(parts).astype(np.float32)
    air = np.abs(rng.normal(0, 4, 5000)).astype(np.float32)
    ratios = tissue_contrast(inside, air)
    assert ratios.snr == pytest.approx((50 + 100 + 150) / 3 / 5, rel=0.03)
    assert ratios.cnr == pytest.approx(50 / np.sqrt(25 + 25 + air.std() ** 2), rel=0.03)
    assert ratios.snr_air == pytest.approx(100 / (1.526 * air.std()), rel=0.03)


def test_without_tissue_or_air_there_is_no_ratio() -> None:
    nothing = tissue_contrast(np.zeros(10, np.float32), np.zeros(0, np.float32))
    assert (nothing.snr, nothing.snr_air, nothing.cnr) == (None, None, None)
    rng = np.random.default_rng(0)
    stripped = tissue_contrast(
        rng.normal(100, 9, 2000).astype(np.float32), np.zeros(9, np.float32)
    )
    assert stripped.snr_air is None
    assert stripped.snr is not None


def ball(affine: np.ndarray) -> Volume:
    axes = np.meshgrid(*(np.arange(48) - 23.5,) * 3, indexing="ij")
    data = np.asarray(sum(axis**2 for axis in axes) < 18**2)
    return Volume(data.astype(np.uint8), affine)


@pytest.mark.parametrize("turned", [1, -1])
def test_the_lowest_face_is_told_from_the_others(turned: int) -> None:
    whole = ball(np.diag([1, 1, turned, 1]))
    assert brain_cut(whole).elsewhere_percent == brain_cut(whole).below_percent == 0
    first, last = (whole.planes(2, span) for span in (slice(20, None), slice(None, 28)))
    below, above = (first, last) if turned == 1 else (last, first)
    assert brain_cut(below).below_percent > 90
    assert brain_cut(below).elsewhere_percent == 0
    assert brain_cut(above).elsewhere_percent > 90
    assert brain_cut(above).below_percent == 0


def test_anatomy_at_one_edge_only_is_no_matter() -> None:
    data = np.zeros((40, 40, 10), np.float32)
    data[:30, 10:30] = 100
    data[::7, ::7] += 1
    assert at_both_edges_percent(Volume(data, np.eye(4)), 2) == 0
    data[:, 10:30] = 100
    assert at_both_edges_percent(Volume(data, np.eye(4)), 2) > 90


def test_a_mask_at_the_border_of_the_image_can_be_measured() -> None:
    mask = ball(np.eye(4))
    data = 100 * mask.data.astype(np.float32) + np.arange(48, dtype=np.float32) / 48
    volume = Volume(data, np.eye(4))
    assert dark_rim_percent(volume, mask) == 0
    moved = mask.with_data(np.roll(mask.data, 4, axis=0))
    share = dark_rim_percent(volume, moved)
    assert share is not None
    assert share > 30
    assert (
        dark_rim_percent(volume.planes(0, slice(20, None)), mask.planes(0, slice(20, None))) == 0
    )
