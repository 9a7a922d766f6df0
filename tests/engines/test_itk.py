from __future__ import annotations

import logging
import os
import sys

import nibabel as nb
import numpy as np
import pytest

from bids_sr.engines import itk
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume


def oblique(orientation: str = "RAS", angle: float = 0.3) -> Volume:
    rng = np.random.default_rng(0)
    linear = nb.orientations.inv_ornt_aff(nb.orientations.axcodes2ornt(orientation), (5, 6, 7))[
        :3, :3
    ]
    cosine, sine = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ linear
    affine[:3, :3] *= [1.0, 1.5, 4.0]
    affine[:3, 3] = [-20.0, 11.0, 3.5]
    return Volume(rng.normal(size=(5, 6, 7)).astype(np.float32), affine)


@pytest.mark.engine
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "PSR"])
def test_voxels_lie_where_they_lay(orientation: str) -> None:
    volume = oblique(orientation)
    with itk.ants_session(threads=1, seed=0) as (ants, _):
        image = itk.to_ants(ants, volume)
        for index in ((0, 0, 0), (4, 1, 6), (2, 5, 3)):
            world = nb.affines.apply_affine(volume.affine, index)
            lps = ants.transform_index_to_physical_point(image, index)
            np.testing.assert_allclose(np.asarray(lps) * [-1, -1, 1], world, atol=1e-5)
            assert image.numpy()[index] == volume.data[index]


@pytest.mark.engine
def test_types_of_voxels() -> None:
    volume = oblique()
    with itk.ants_session(threads=1, seed=0) as (ants, _):
        assert itk.to_ants(ants, volume.with_data(volume.data > 0)).pixeltype == "unsigned char"
        assert itk.to_ants(ants, volume.with_data(volume.data.astype(int))).pixeltype == "float"


def test_header_of_a_sheared_grid() -> None:
    volume = oblique()
    sheared = volume.affine.copy()
    sheared[:3, 1] += 0.2 * sheared[:3, 0]
    with pytest.raises(EngineError, match="not orthogonal"):
        itk.itk_header(sheared)


def test_rounding_of_the_header_is_no_shear() -> None:
    affine = oblique().affine.astype(np.float32).astype(np.float64)
    _, _, directions = itk.itk_header(affine)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-12)


def test_session_leaves_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTS_RANDOM_SEED", "77")
    monkeypatch.delenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", raising=False)
    before = dict(os.environ)
    with itk.ants_session(threads=1, seed=3) as (ants, _):
        assert os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "1"
        assert ants.config._random_seed == 4
    assert ants.config._random_seed is None
    assert dict(os.environ) == before


def test_other_number_of_threads_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with itk.ants_session(threads=1, seed=0) as (_, first):
        pass
    with (
        caplog.at_level(logging.WARNING, logger=itk.__name__),
        itk.ants_session(threads=first + 1, seed=0) as (_, used),
    ):
        assert used == first
    assert "fixes the number at its first call" in caplog.text


def test_failure_of_ants_is_an_engine_error() -> None:
    with (
        pytest.raises(EngineError, match="ANTs failed: boom"),
        itk.ants_session(threads=1, seed=0),
    ):
        raise RuntimeError("boom")


def test_ants_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    with (
        pytest.raises(EngineError, match="antspyx cannot be imported"),
        itk.ants_session(threads=1, seed=0),
    ):
        pass
