"""What every registered method must keep to."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.exceptions import AcquisitionError, ConfigError, InputDataError
from bids_sr.imaging import Acquisition, Grid, Series, Volume, lay_out_grid
from bids_sr.method_facts import METHOD_FACTS
from bids_sr.sr import METHODS, Reconstruction, make_method, reconstruct, super_resolve
from bids_sr.sr.networks.shufflemixer import ShuffleMixer
from bids_sr.sr.recipes.registry import RECIPES
from bids_sr.sr.registry import parameters_for
from bids_sr.sr.series import reconstruct_series

QUICK: dict[str, dict[str, Any]] = {
    "self": {
        "steps": 40,
        "channels": 6,
        "blocks": 1,
        "batch_size": 4,
        "device": "cpu",
        "threads": 1,
    },
    "finetuned": {"steps": 8, "batch_size": 4, "device": "cpu", "threads": 1},
    "latent": {
        "steps": 8,
        "width": 4,
        "depth": 2,
        "batch_size": 2,
        "patch_size": 32,
        "device": "cpu",
        "threads": 1,
    },
    "pretrained": {"working_spacing": 2.0, "device": "cpu", "threads": 1},
}
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True, scope="module")
def pretrained_weights(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the method that needs weights a small network with a little detail."""
    torch.manual_seed(0)
    network = ShuffleMixer(channels=8, blocks=1, kernel=3)
    with torch.no_grad():
        network.tail.weight.mul_(0.1)
        network.tail.bias.zero_()
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save({"model_weights": network.state_dict()}, path)
    QUICK["pretrained"]["model"] = str(path)


def run(volume: Volume, acquisition: Acquisition, method: str, **more: Any) -> Reconstruction:
    axis = acquisition.for_volume(volume).slice_axis
    assert axis is not None
    grid = lay_out_grid(volume, slice_axis=axis, output_resolution=2.0)
    parameters = {**QUICK.get(method, {}), **more}
    return reconstruct(volume, acquisition, method=method, grid=grid, parameters=parameters)


@every_method
def test_result_is_finite_on_the_asked_grid(
    method: str, thick: Volume, acquisition: Acquisition
) -> None:
    result = run(thick, acquisition, method, threads=1)
    np.testing.assert_array_equal(
        result.volume.affine, lay_out_grid(thick, slice_axis=2, output_resolution=2.0).affine
    )
    np.testing.assert_allclose(result.volume.fov, thick.fov, atol=0.01)
    assert result.volume.data.dtype == np.float32
    assert np.isfinite(result.volume.data).all()
    assert result.volume.data.min() >= 0
    # The bulk of the image stays where it was.
    assert result.volume.data.mean() == pytest.approx(thick.data.mean(), rel=0.05)
    assert json.loads(json.dumps(result.record.to_dict()))["Method"] == method
    assert not result.record.fallback
    assert (result.uncertainty is not None) == METHOD_FACTS[method].tells_uncertainty
    assert (result.learned is not None) == METHOD_FACTS[method].keeps_result


@every_method
def test_class_keeps_to_its_facts(method: str) -> None:
    """What the command line, the plan and the methods section say of a method is true of it."""
    facts, kind = METHOD_FACTS[method], METHODS[method]
    defaults = {parameter.name: parameter.default for parameter in fields(kind)}
    assert kind.name == facts.name == method
    assert set(kind.presets) == set(facts.presets)
    assert ("model" in defaults) == facts.takes_model
    assert (defaults.get("model") is not None) == facts.has_own_model
    assert ("adapt" in defaults) == bool(facts.adaptations) == bool(facts.default_adaptation)
    assert defaults.get("adapt") in (None, facts.default_adaptation)
    assert ("reuse" in defaults) == facts.reuses_result
    assert parameters_for(method, facts.sloppy) == facts.sloppy
    make_method(method, facts.sloppy)
    assert bool(facts.recipe) == ("dataset" in facts.adaptations)
    if facts.recipe:
        RECIPES[facts.recipe.name](**facts.recipe.sloppy)
        assert "T1w" in facts.recipe.text.format(suffix="T1w", number=3)


@every_method
def test_series_is_taken_as_the_facts_say(
    method: str, thick: Volume, acquisition: Acquisition
) -> None:
    series = Series.of([thick, thick], 1.0)
    keywords = {"method": method, "grid": thick.grid, "parameters": QUICK.get(method)}
    if not METHOD_FACTS[method].takes_series:
        with pytest.raises(ConfigError, match="takes single volumes"):
            reconstruct_series(series, acquisition, **keywords)
    else:
        result = reconstruct_series(series, acquisition, **keywords)
        assert result.series.data.shape == (*thick.shape, 2)


@every_method
def test_same_seed_gives_same_result(method: str, thick: Volume, acquisition: Acquisition) -> None:
    first, second = (run(thick, acquisition, method, threads=1) for _ in range(2))
    np.testing.assert_array_equal(first.volume.data, second.volume.data)


@every_method
def test_orientation_makes_no_difference(
    method: str, thick: Volume, acquisition: Acquisition
) -> None:
    """A volume stored with axes permuted and flipped gives the same anatomy."""
    turned = Volume(
        np.ascontiguousarray(thick.data.transpose(2, 1, 0)), thick.affine[:, [2, 1, 0, 3]]
    )
    sideways = Acquisition(spacing=8.0, thickness=6.0, slice_axis=0)
    straight = run(thick, acquisition, method).volume
    other = run(turned, sideways, method).volume
    back = other.oriented_like(straight)
    np.testing.assert_allclose(back.affine, straight.affine, atol=1e-6)
    error = np.abs(back.data - straight.data)
    # Learners draw other patches when the axes change; interpolation does not care.
    assert error.mean() < (0.02 if method in QUICK else 1e-6) * straight.data.max()


@every_method
def test_oblique_image_stays_oblique(method: str, thick: Volume, acquisition: Acquisition) -> None:
    angle = np.deg2rad(20)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = Volume(thick.data, rotation @ thick.affine)
    result = run(oblique, acquisition, method).volume
    assert result.obliquity == pytest.approx(oblique.obliquity)
    np.testing.assert_array_equal(result.data, run(thick, acquisition, method).volume.data)


@every_method
@pytest.mark.parametrize(
    ("spacing", "thickness"), [(6.0, 6.0), (5.4, 4.0), (8.0, 10.0)], ids=["flat", "gap", "overlap"]
)
def test_any_scale_and_gap(
    method: str, reference: Volume, spacing: float, thickness: float
) -> None:
    from bids_sr.imaging import degrade

    acquisition = Acquisition(spacing=spacing, thickness=thickness, slice_axis=2)
    lr = degrade(reference, acquisition)
    result = reconstruct(
        lr, acquisition, method=method, grid=reference.grid, parameters=QUICK.get(method)
    )
    assert result.volume.shape == reference.shape


@every_method
def test_negative_values_are_kept_where_the_input_has_them(
    method: str, thick: Volume, acquisition: Acquisition
) -> None:
    shifted = thick.with_data(thick.data - np.float32(0.5) * thick.data.max())
    assert run(shifted, acquisition, method).volume.data.min() < 0


@every_method
def test_wrong_spacing_is_refused(method: str, thick: Volume) -> None:
    wrong = Acquisition(spacing=5.0, slice_axis=2)
    with pytest.raises(AcquisitionError, match=r"8 mm along slice axis 2"):
        reconstruct(thick, wrong, method=method, grid=thick.grid)


@every_method
def test_single_slice_is_refused(method: str, thick: Volume, acquisition: Acquisition) -> None:
    single = Volume(thick.data[:, :, :1], thick.affine)
    with pytest.raises(InputDataError, match="at least 2"):
        reconstruct(single, acquisition, method=method, grid=single.grid)


@every_method
def test_nan_is_refused(method: str, thick: Volume, acquisition: Acquisition) -> None:
    data = thick.data.copy()
    data[3, 4, 5] = np.nan
    with pytest.raises(InputDataError, match="not finite"):
        run(thick.with_data(data), acquisition, method)


@every_method
def test_grid_elsewhere_is_refused(method: str, thick: Volume, acquisition: Acquisition) -> None:
    affine = thick.affine.copy()
    affine[0, 3] += 1000
    with pytest.raises(InputDataError, match="overlap"):
        reconstruct(thick, acquisition, method=method, grid=Grid(thick.shape, affine))


@every_method
def test_unknown_parameter_is_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="speed"):
        make_method(method, {"speed": 3})
    with pytest.raises(ConfigError, match="threads"):
        make_method(method, {"threads": 0})


def test_super_resolve_reads_the_header(thick: Volume) -> None:
    result = super_resolve(thick, method="linear", output_resolution=2.0)
    assert result.shape == (48, 56, 60)
    with pytest.raises(ConfigError, match="expected one of self"):
        super_resolve(thick, method="magic")


def test_none_keeps_the_image(thick: Volume) -> None:
    result = super_resolve(thick, method="none")
    np.testing.assert_array_equal(result.data, thick.data)
    np.testing.assert_array_equal(result.affine, thick.affine)
