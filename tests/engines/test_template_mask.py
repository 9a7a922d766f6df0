from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.engines import template_mask
from bids_sr.engines.head_pose import find_head, mutual_information
from bids_sr.engines.head_template import HeadTemplate, head_template
from bids_sr.engines.registration_image import equalised, isotropic
from bids_sr.engines.template_mask import border_share, free_axes, template_brain_mask
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume


@pytest.fixture(scope="module")
def template() -> HeadTemplate:
    return head_template()


def head_and_mask(
    template: HeadTemplate,
    *,
    spacings: tuple[float, float, float],
    axes: tuple[int, int, int] = (0, 1, 2),
    inverted: bool = False,
) -> tuple[Volume, np.ndarray]:
    """Take a smaller, shifted and nodding head and its brain on a thick-slice grid.

    ``axes`` gives the world axis of each array axis.
    """
    angle = 0.25
    cosine, sine = np.cos(angle), np.sin(angle)
    nod = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    to_template = np.linalg.inv(0.9 * nod)
    fov = np.array([200.0, 240.0, 180.0])[list(axes)]
    shape = np.round(fov / spacings).astype(int)
    linear = np.zeros((3, 3))
    for axis, world_axis in enumerate(axes):
        linear[world_axis, axis] = spacings[axis]
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = -linear @ ((shape - 1) / 2) + [35.0, -20.0, 40.0]
    index = np.indices(shape).reshape(3, -1)
    world = linear @ index + affine[:3, 3:]
    centre = template.centre[:, None]
    there = to_template @ (world - centre - np.array([[33.0], [-15.0], [55.0]])) + centre
    inverse = np.linalg.inv(template.image.affine)
    voxel = inverse[:3, :3] @ there + inverse[:3, 3:]
    intensity = template.image.data.copy()
    intensity[intensity == 140] = 20  # a dark skull
    if inverted:
        intensity = np.where(template.brain.data, 150 - intensity, intensity)
    image = ndimage.map_coordinates(intensity, voxel, order=1).reshape(shape)
    brain = ndimage.map_coordinates(template.brain.data.astype(np.float32), voxel, order=1)
    noise = np.random.default_rng(0).normal(0, 4, shape)
    data = np.abs(image + noise).astype(np.float32)
    return Volume(data, affine), brain.reshape(shape) > 0.5


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (first.sum() + second.sum())


@pytest.mark.engine
def test_brain_of_a_thick_stack(template: HeadTemplate) -> None:
    volume, brain = head_and_mask(template, spacings=(2.0, 2.0, 6.0))
    mask, record = template_brain_mask(volume)
    assert mask.data.dtype == np.uint8
    np.testing.assert_array_equal(mask.affine, volume.affine)
    assert dice(mask.data > 0, brain) > 0.95
    assert record["VolumeMl"] == pytest.approx(brain.sum() * 24 / 1000, rel=0.05)
    assert record["Coverage"] > 0.95


@pytest.mark.engine
@pytest.mark.slow
def test_other_axes_and_contrast(template: HeadTemplate) -> None:
    volume, brain = head_and_mask(
        template, spacings=(5.0, 2.0, 2.0), axes=(0, 2, 1), inverted=True
    )
    first, _ = template_brain_mask(volume)
    assert dice(first.data > 0, brain) > 0.93
    second, _ = template_brain_mask(volume)
    np.testing.assert_array_equal(first.data, second.data)


@pytest.mark.engine
def test_knee_is_refused(shared_data: Path) -> None:
    knee = shared_data / "clinical-2d/sub-knee01/anat/sub-knee01_echo-1_MESE.nii.gz"
    with pytest.raises(EngineError, match="Check that the image shows a head"):
        template_brain_mask(Volume.load(knee))


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "least", "most"),
    [
        ("clinical-2d/sub-gap01/anat/sub-gap01_acq-HFS_T1w.nii.gz", 1250, 1370),
        ("clinical-2d/sub-adult04/anat/sub-adult04_T2w.nii.gz", 1230, 1400),
        ("clinical-2d/sub-ms03/ses-01/anat/sub-ms03_ses-01_FLAIR.nii.gz", 1330, 1460),
        ("isotropic-hr/sub-child01/anat/sub-child01_T1w.nii.gz", 1280, 1400),
    ],
)
def test_volume_of_masks_that_were_looked_at(
    shared_data: Path, image: str, least: float, most: float
) -> None:
    _, record = template_brain_mask(Volume.load(shared_data / image))
    assert least < record["VolumeMl"] < most


def test_pose_of_the_head(template: HeadTemplate) -> None:
    volume, brain = head_and_mask(template, spacings=(2.0, 2.0, 6.0))
    image = isotropic(equalised(isotropic(volume, 2.0)), 4.0)
    pose = find_head(image, template)
    index = np.argwhere(brain).mean(axis=0)
    centre = volume.affine[:3, :3] @ index + volume.affine[:3, 3]
    head_centre = pose.apply(template.centre[:, None])[:, 0]
    assert np.linalg.norm(head_centre - centre) < 12


def test_mutual_information() -> None:
    assert mutual_information(np.diag([1.0, 1.0])) == pytest.approx(np.log(2))
    assert mutual_information(np.ones((3, 4))) == pytest.approx(0, abs=1e-12)


def test_template_has_its_layers(template: HeadTemplate) -> None:
    millilitres = template.brain.data.sum() * np.prod(template.brain.spacings) / 1000
    assert millilitres == pytest.approx(1883, abs=15)
    outside = template.image.data[~template.brain.data]
    assert set(np.unique(outside)) == {0, 140, 180}
    assert template.head.data[template.brain.data].all()


def test_isotropic_keeps_place_and_size() -> None:
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    affine[:3, 3] = [3.0, -7.0, 11.0]
    x, _, z = np.indices((20, 24, 8))
    volume = Volume((2 * (x + 3) + 3 * (5 * z + 11)).astype(np.float32), affine)
    image = isotropic(volume, 2.0)
    np.testing.assert_allclose(image.spacings, 2)
    assert image.shape == (10, 12, 20)
    index = np.indices(image.shape).reshape(3, -1)
    world = image.affine[:3, :3] @ index + image.affine[:3, 3:]
    expected = (2 * world[0] + 3 * world[2]).reshape(image.shape)
    np.testing.assert_allclose(image.data[2:-2, 2:-2, 2:-2], expected[2:-2, 2:-2, 2:-2], rtol=1e-3)


def test_equalised_spreads_the_tissue() -> None:
    rng = np.random.default_rng(0)
    data = np.where(rng.random((20, 20, 20)) < 0.5, 0.0, rng.normal(50, 5, (20, 20, 20)))
    data[:4, :4, :4] = 5000  # fat
    image = equalised(Volume(data.astype(np.float32), np.eye(4)))
    brain = image.data[(data > 0) & (data < 1000)]
    assert image.data.min() >= 0
    assert image.data.max() <= 1
    assert brain.std() > 0.2
    monotone = equalised(Volume(np.exp(data / 1000).astype(np.float32), np.eye(4)))
    assert np.all(np.diff(monotone.data.ravel()[np.argsort(data.ravel())]) >= 0)


def test_border() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[0:5, 4:6, 4:6] = True
    assert border_share(mask, (2,)) == pytest.approx(0.2)
    assert border_share(mask, (0, 2)) == 0
    assert border_share(np.zeros_like(mask), (2,)) == 0
    sagittal = np.zeros((4, 4))
    sagittal[[0, 2, 1, 3], [0, 1, 2, 3]] = [5.0, 1.0, 1.0, 1.0]
    assert free_axes(Volume(np.zeros((3, 4, 5)), sagittal)) == (0, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"information": 0.02}, "0.02 nat"),
        ({"scales": (0.5, 1.0, 1.0)}, "scaled by 0.50"),
        ({"coverage": 0.1}, "10% of the brain"),
        ({"millilitres": 300.0}, "300 mL"),
        ({"millilitres": 2500.0}, "2500 mL"),
        ({"at_border": 0.2}, "20.0% of the brain mask"),
        ({"apart": 0.2}, "20% of the brain mask apart from its largest piece"),
    ],
)
def test_refusals(changed: dict[str, float], message: str) -> None:
    facts = {
        "information": 0.2,
        "scales": (0.9, 0.9, 0.9),
        "coverage": 1.0,
        "millilitres": 1300.0,
        "at_border": 0.0,
        "apart": 0.0,
    } | changed
    fit = template_mask._Fit(
        transform="",
        information=facts["information"],
        scales=facts["scales"],
        coverage=facts["coverage"],
    )
    with pytest.raises(EngineError, match=message):
        template_mask._check(fit, facts["millilitres"], facts["at_border"], facts["apart"])


def test_plausible_brain_is_let_through() -> None:
    fit = template_mask._Fit(transform="", information=0.12, scales=(0.9, 0.85, 0.8), coverage=0.9)
    template_mask._check(fit, 1300.0, 0.0, 0.0)
