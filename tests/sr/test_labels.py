from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.imaging import Acquisition, Volume, resample
from bids_sr.sr import super_resolve_labels
from bids_sr.sr.registry import make_method

SMALL = {"steps": 150, "channels": 8, "blocks": 2, "device": "cpu", "threads": 1}
KEYS = np.array([0, 3, 1002], np.int16)


@pytest.fixture(scope="module")
def truth(reference: Volume) -> Volume:
    """Background, darker and brighter tissue of the reference."""
    edges = np.quantile(reference.data, [0.3, 0.7])
    return reference.with_data(KEYS[np.digitize(reference.data, edges)])


@pytest.fixture(scope="module")
def thick_labels(truth: Volume, thick: Volume) -> Volume:
    """Take the label in the middle of every slice."""
    return resample(truth, thick.grid, kernel="nearest")


@pytest.fixture(scope="module")
def learnt(
    tmp_path_factory: pytest.TempPathFactory,
    thick: Volume,
    reference: Volume,
    acquisition: Acquisition,
) -> Path:
    fine = make_method("self", SMALL).reconstruct(thick, acquisition, reference.grid)
    assert fine.learned is not None
    return fine.learned.save(tmp_path_factory.mktemp("learnt") / "model.safetensors")


def test_labels_are_finer_than_their_slices(
    truth: Volume, thick_labels: Volume, acquisition: Acquisition, learnt: Path
) -> None:
    fine = super_resolve_labels(
        thick_labels, acquisition, method="self", output_resolution=2.0, reuse=str(learnt)
    )
    check_finer(fine, truth, thick_labels)


def test_the_default_is_as_good(
    truth: Volume, thick_labels: Volume, acquisition: Acquisition
) -> None:
    fine = super_resolve_labels(thick_labels, acquisition, output_resolution=2.0)
    check_finer(fine, truth, thick_labels)


def check_finer(fine: Volume, truth: Volume, thick_labels: Volume) -> None:
    blocky = resample(thick_labels, truth.grid, kernel="nearest").data
    assert fine.data.dtype == np.int16
    assert fine.same_grid(truth)
    assert set(np.unique(fine.data)) == set(KEYS)
    right, before = (np.mean(data == truth.data) for data in (fine.data, blocky))
    assert right > before + 0.005


def test_a_single_label_stays(thick_labels: Volume, acquisition: Acquisition) -> None:
    flat = thick_labels.with_data(np.full(thick_labels.shape, 7, np.uint8))
    fine = super_resolve_labels(flat, acquisition, method="linear", output_resolution=2.0)
    assert np.unique(fine.data).tolist() == [7]
    assert fine.data.dtype == np.uint8


def test_interpolation_takes_labels_too(thick_labels: Volume, acquisition: Acquisition) -> None:
    fine = super_resolve_labels(thick_labels, acquisition, method="linear", output_resolution=2.0)
    assert set(np.unique(fine.data)) <= set(KEYS)


def test_order_of_labels_is_no_amount(thick_labels: Volume, acquisition: Acquisition) -> None:
    """Renaming the labels renames the result, where no two memberships are equal."""
    names = {0: 5, 3: 1, 1002: 2}
    renamed = np.vectorize(names.__getitem__, otypes=[np.int16])
    straight = super_resolve_labels(
        thick_labels, acquisition, method="bspline", output_resolution=2.0
    )
    other = super_resolve_labels(
        thick_labels.with_data(renamed(thick_labels.data)),
        acquisition,
        method="bspline",
        output_resolution=2.0,
    )
    assert np.mean(other.data == renamed(straight.data)) > 0.999


def test_nothing_to_reuse_is_refused(thick_labels: Volume, acquisition: Acquisition) -> None:
    with pytest.raises(ConfigError, match="nothing to reuse; expected weights"):
        super_resolve_labels(thick_labels, acquisition, method="self")


def test_an_image_is_no_label_map(thick: Volume, acquisition: Acquisition) -> None:
    with pytest.raises(InputDataError, match="in a label map; expected the integers"):
        super_resolve_labels(thick, acquisition, method="linear")
