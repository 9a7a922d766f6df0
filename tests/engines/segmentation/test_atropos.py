"""Tissue classes of a brain whose tissues are known, in three contrasts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from bids_sr.engines.segmentation import atropos, make_segmentation
from bids_sr.engines.segmentation.tissue_priors import TissuePriors, tissue_priors
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

pytestmark = pytest.mark.engine
Tissues = tuple[Volume, TissuePriors]


def contrast(tissues: Tissues, csf: float, grey: float, white: float) -> Volume:
    mask, priors = tissues
    values = csf * priors.csf + grey * priors.grey + white * priors.white
    noise = np.random.default_rng(1).normal(0, 4, mask.shape)
    return mask.with_data(np.where(mask.data > 0, values + noise, 0).astype(np.float32))


@pytest.fixture
def _shifted_priors(tissues: Tissues, monkeypatch: pytest.MonkeyPatch) -> None:
    """Priors that are off by a voxel, as after a registration, without its minutes."""
    moved = {
        name: np.where(tissues[0].data > 0, np.roll(part, 1, axis=1), 0).astype(np.float32)
        for name, part in vars(tissues[1]).items()
    }
    monkeypatch.setattr(atropos, "tissue_priors", lambda *_, **__: TissuePriors(**moved))


@pytest.mark.usefixtures("_shifted_priors")
@pytest.mark.parametrize("levels", [(20, 70, 100), (120, 80, 50)], ids=["T1w", "T2w"])
def test_tissues_are_found_in_any_contrast(
    tissues: Tissues, levels: tuple[float, float, float]
) -> None:
    mask, priors = tissues
    truth = 1 + np.argmax([priors.csf, priors.grey, priors.white], axis=0)
    segmentation = make_segmentation("atropos").segment(contrast(tissues, *levels), mask)
    inside = mask.data > 0
    for label in segmentation.table:
        tissue, reference = (
            segmentation.labels.data == label.index,
            (truth == label.index) & inside,
        )
        overlap = 2 * np.count_nonzero(tissue & reference) / (tissue.sum() + reference.sum())
        # The fluid is a rim a voxel wide: much of it shares its voxels with grey matter.
        assert overlap > (0.65 if label.abbreviation == "CSF" else 0.85), label
    assert not segmentation.labels.data[~inside].any()
    total = sum(volume.data for volume in segmentation.maps.values())
    np.testing.assert_allclose(total[inside], 1, atol=0.02)
    volumes = {row["name"]: row["volume_ml"] for row in segmentation.volumes()}
    assert sum(volumes.values()) == pytest.approx(inside.sum() * 64 / 1000, rel=1e-3)


@pytest.mark.usefixtures("_shifted_priors")
def test_any_header_will_do_it_repeats_and_leaves_no_file(
    tissues: Tissues, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Origin, spacings and directions that a NIfTI header rounds."""
    mask, _ = tissues
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    angle = np.pi / 11
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([1 / 0.9, 1 / 1.1, 1 / 1.3, 1]) @ mask.affine
    affine[:3, 3] = 1000 / 7, -4000 / 9, 71.98860931396484
    plain = contrast(tissues, 20, 70, 100)
    tool = make_segmentation("atropos")
    sheared = tool.segment(Volume(plain.data, affine), Volume(mask.data, affine))
    np.testing.assert_array_equal(sheared.labels.affine, affine)
    same = sheared.labels.data == tool.segment(plain, mask).labels.data
    assert same[mask.data > 0].mean() > 0.98  # neighbours weigh by their distance
    assert not list(tmp_path.iterdir())
    again = tool.segment(Volume(plain.data, affine), Volume(mask.data, affine))
    np.testing.assert_array_equal(again.labels.data, sheared.labels.data)
    for name, probability in sheared.maps.items():
        np.testing.assert_array_equal(again.maps[name].data, probability.data)


def test_a_result_without_a_tissue_is_refused() -> None:
    atropos.check_shares(np.array([100, 500, 400]))
    with pytest.raises(EngineError, match=r"CSF 0.1%, GM 55.5%, WM 44.4% .*1% of each tissue"):
        atropos.check_shares(np.array([1, 500, 400]))


@pytest.mark.slow
def test_priors_come_to_a_brain_that_lies_elsewhere(tissues: Tissues) -> None:
    mask, priors = tissues
    image = contrast(tissues, 15, 100, 80)
    angle = 0.15
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = [8, -12, 25]
    affine = turn @ np.diag([0.95, 1.05, 1.0, 1.0]) @ mask.affine
    volume, brain = Volume(image.data, affine), Volume(mask.data, affine)
    moved = tissue_priors(volume, brain)
    inside = mask.data > 0
    for name in ("grey", "white"):
        moved_prior, prior = getattr(moved, name)[inside], getattr(priors, name)[inside]
        assert np.corrcoef(moved_prior, prior)[0, 1] > 0.8
    assert not moved.white[~inside].any()


def test_a_mask_that_is_no_brain_is_refused() -> None:
    from bids_sr.engines.segmentation.tissue_priors import _normalised

    nothing = np.zeros((4, 4, 4), np.float32)
    with pytest.raises(EngineError, match="template tissue in 0% of the brain mask"):
        _normalised(nothing, nothing, np.ones((4, 4, 4), bool))
