from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.engines.stripped_image import given_brain, stripped_brain
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

SPACINGS = np.array([2.0, 2.0, 6.0])
SHAPE = (96, 110, 32)


def _layered(*layers: tuple[float, float]) -> Volume:
    """Draw layers (thickness in mm, intensity) from the outside in, in air that is exactly 0."""
    index = np.indices(SHAPE).reshape(3, -1) * SPACINGS[:, None]
    centre = (np.array(SHAPE) - 1) / 2 * SPACINGS
    axes = np.array([86.0, 98.0, 88.0])
    share = np.linalg.norm((index - centre[:, None]) / axes[:, None], axis=0).reshape(SHAPE)
    depth = (1 - share) * axes.mean()
    data = np.zeros(SHAPE)
    top = 0.0
    noise = np.random.default_rng(0).normal(1, 0.05, SHAPE)
    for thickness, intensity in layers:
        data[depth > top] = intensity
        top += thickness
    return Volume((data * noise).astype(np.float32), np.diag([*SPACINGS, 1.0]))


HEAD = _layered((8, 100), (8, 15), (100, 70))


@pytest.fixture
def brain() -> Volume:
    """Strip the head, and make the fluid in its middle exactly zero."""
    inside = _layered((16, 0), (100, 70)).data > 0
    data = np.where(inside, HEAD.data, 0)
    data[44:52, 50:60, 14:18] = 0
    return HEAD.with_data(data.astype(np.float32))


def test_a_stripped_brain_is_recognised_and_its_holes_are_closed(brain: Volume) -> None:
    mask, record = stripped_brain(brain)
    assert mask is not None
    assert mask.data[brain.data > 0].all()
    assert mask.data[44:52, 50:60, 14:18].all()
    assert np.count_nonzero(mask.data) < 1.05 * np.count_nonzero(brain.data > 0)
    assert record["VolumeMl"] == pytest.approx(mask.data.sum() * 24 / 1000, abs=0.1)
    assert record["Skull"] < 1.1


def test_another_background_value_will_do(brain: Volume) -> None:
    moved = brain.with_data(np.where(brain.data == 0, -7, brain.data).astype(np.float32))
    first, second = stripped_brain(brain)[0], stripped_brain(moved)[0]
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.data, second.data)


def test_a_head_in_air_that_is_zero_is_not_stripped() -> None:
    """A small stack: the head is no larger than a brain may be, so its skull decides."""
    few = Volume(HEAD.data[:, :, 16:27].copy(), HEAD.affine)
    mask, record = stripped_brain(few)
    assert 600 < record["VolumeMl"] < 2200
    assert record["Skull"] > 2
    assert mask is None


def test_noise_around_it_is_no_background(brain: Volume) -> None:
    noise = np.random.default_rng(0).uniform(0.1, 3, SHAPE)
    assert stripped_brain(brain.with_data((brain.data + noise).astype(np.float32)))[0] is None


def test_what_is_said_to_be_stripped_must_have_the_volume_of_a_brain(brain: Volume) -> None:
    np.testing.assert_array_equal(given_brain(brain)[0].data, stripped_brain(brain)[0].data)
    with pytest.raises(EngineError, match=r"marked as skull-stripped; expected 600 to 2200 mL"):
        given_brain(HEAD)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "stripped"),
    [
        ("isotropic-hr/sub-msCS07/anat/sub-msCS07_FLAIR.nii.gz", True),
        ("isotropic-hr/sub-msCS26/anat/sub-msCS26_FLAIR.nii.gz", True),
        ("isotropic-hr/sub-adult01/anat/sub-adult01_T1w.nii.gz", True),
        ("isotropic-hr/sub-arc2208/anat/sub-arc2208_T2w.nii.gz", True),
        ("isotropic-hr/sub-arc2265/anat/sub-arc2265_T2w.nii.gz", False),
        ("isotropic-hr/sub-adult02/anat/sub-adult02_FLAIR.nii.gz", False),
        ("clinical-2d/sub-ms03/ses-01/anat/sub-ms03_ses-01_T2w.nii.gz", False),
        ("clinical-2d/sub-knee01/anat/sub-knee01_echo-1_MESE.nii.gz", False),
    ],
)
def test_real_images(shared_data: Path, image: str, stripped: bool) -> None:
    assert (stripped_brain(Volume.load(shared_data / image))[0] is not None) == stripped
