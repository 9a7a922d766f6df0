from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.networks.backbone import Backbone, condition_of
from bids_sr.sr.networks.thick_slice import Upsampling


def small(planes: int = 1) -> Backbone:
    torch.manual_seed(0)
    network = Backbone(factor=4, channels=6, blocks=2, planes=planes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def test_a_new_network_is_cubic_interpolation() -> None:
    conditioned = Backbone(factor=4, channels=6, blocks=1).for_acquisition(
        Acquisition(spacing=3), 1.0
    )
    upsampling = Upsampling.at(np.arange(18) / 3 - 1 / 3, 6, conditioned.factor)
    lr = torch.rand(2, 1, 6, 9)
    torch.testing.assert_close(conditioned(lr, upsampling), upsampling.skip @ lr[:, 0])


def test_a_network_begins_to_see_neighbours_as_one_that_does_not() -> None:
    network, condition = small(), condition_of(Acquisition(spacing=4), 1.0)
    seeing = network.with_planes(3).laid_out()
    planes = torch.rand(7, 1, 5, 9)
    alone = network(planes, condition)
    torch.testing.assert_close(seeing(planes, condition), alone)
    together = seeing(planes.transpose(0, 1)[None], condition)
    torch.testing.assert_close(together[0].transpose(0, 1), alone)
    wide = seeing.widened(8)
    assert wide.arguments == {"factor": 4, "channels": 8, "blocks": 2, "planes": 3}
    torch.testing.assert_close(wide(planes, condition), alone)


def test_a_plane_alone_is_one_among_its_like() -> None:
    """Far from the ends of a stack, where nothing follows."""
    network = small(planes=3)
    conditioned = network.for_acquisition(Acquisition(spacing=4, thickness=3), 1.0)
    upsampling = Upsampling.at((np.arange(30) + 0.5) / 3.75 - 0.5, 8, 4)
    lr = torch.rand(2, 1, 8, 12)
    alike = lr[:, :, None].expand(-1, -1, 2 * conditioned.plane_halo + 1, -1, -1)
    middle = conditioned(alike, upsampling)[:, conditioned.plane_halo]
    torch.testing.assert_close(middle, conditioned(lr, upsampling))


@pytest.mark.parametrize("planes", [1, 3])
def test_what_one_plane_teaches_is_followed(planes: int) -> None:
    network, condition = small(planes), condition_of(Acquisition(spacing=4), 1.0)
    plane, volume = torch.rand(2, 1, 5, 9), torch.rand(1, 1, 4, 5, 9)
    flat = network.of_one_plane()
    assert "planes" not in flat.arguments
    torch.testing.assert_close(flat(plane, condition), network(plane, condition))
    before = network(volume, condition) if planes > 1 else None
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.load_one_plane(flat)
    torch.testing.assert_close(network(plane, condition), flat(plane, condition))
    if before is not None:
        assert not torch.allclose(network(volume, condition), before)


def test_plane_halo_is_what_a_plane_sees() -> None:
    network = small(planes=3)
    conditioned = network.for_acquisition(Acquisition(spacing=4), 1.0)
    lr = torch.rand(1, 1, 11, 5, 7)
    brighter = lr.clone()
    brighter[:, :, 0] += 1
    changed = (conditioned.body(lr) != conditioned.body(brighter)).any(dim=(0, 1, 3, 4))
    assert int(changed.nonzero().max()) == conditioned.plane_halo
    assert small().for_acquisition(Acquisition(spacing=4), 1.0).plane_halo == 0


@pytest.mark.parametrize("scale", [1.5, 2.7, 4.0, 6.3])
def test_any_scale(scale: float) -> None:
    """Below, at and above the number of rows a slice."""
    rows = int(8 * scale)
    conditioned = small().for_acquisition(Acquisition(spacing=scale), 1.0)
    upsampling = Upsampling.at((np.arange(rows) + 0.5) / scale - 0.5, 8, conditioned.factor)
    assert conditioned(torch.rand(3, 1, 8, 12), upsampling).shape == (3, rows, 12)


def test_condition_is_what_the_slices_let_through() -> None:
    """Of a box the sinc, of a Gaussian the Gaussian; only ratios matter."""
    cycles = np.array([0.5, 1.0, 1.5, 2.0])
    box = condition_of(Acquisition(spacing=4, thickness=3, profile="rect"), 1.0).numpy()
    assert box[0] == pytest.approx(0)
    np.testing.assert_allclose(box[1:5], np.sinc(0.75 * cycles), atol=5e-3)
    slices = Acquisition(spacing=6, thickness=5, profile="gaussian")
    gaussian = condition_of(slices, 1.0).numpy()
    sigma = 5 / 6 / 2.3548
    np.testing.assert_allclose(
        gaussian[1:5], np.exp(-2 * (np.pi * sigma * cycles) ** 2), atol=2e-3
    )
    half = Acquisition(spacing=3, thickness=2.5, profile="gaussian")
    again = condition_of(half, 0.5).numpy()
    np.testing.assert_allclose(again, gaussian, atol=1e-6)


def test_condition_tells_how_thick_the_planes_are() -> None:
    acquisition = Acquisition(spacing=3, thickness=2.5)
    thin, half, thick = (
        condition_of(acquisition, 0.5, plane_thickness) for plane_thickness in (None, 0.25, 2.0)
    )
    assert float(thin[5]) == float(half[5]) == 0  # thinner than a voxel is a voxel
    assert float(thick[5]) == pytest.approx(1)
    assert torch.equal(thin[:5], thick[:5])


def test_fixed_conditions_are_not_trained() -> None:
    network = small()
    network.fix_conditions()
    fixed = [name for name, part in network.named_parameters() if not part.requires_grad]
    conditional = [
        f"blocks.{block}.{part}.weight" for block in (0, 1) for part in ("threshold", "gate")
    ]
    assert fixed == [*conditional, "gain.weight"]


def test_condition_changes_the_answer_and_weights_are_shared() -> None:
    network, lr = small(), torch.rand(1, 1, 8, 12)
    upsampling = Upsampling.at((np.arange(32) + 0.5) / 4 - 0.5, 8, 4)
    thin = network.for_acquisition(Acquisition(spacing=4, thickness=2), 1.0)
    thick = network.for_acquisition(Acquisition(spacing=4, thickness=4), 1.0)
    assert not torch.equal(thin.detail(lr, upsampling), thick.detail(lr, upsampling))
    theirs = {id(parameter) for parameter in thin.parameters()}
    assert theirs == {id(parameter) for parameter in network.parameters()}


@pytest.mark.parametrize("planes", [1, 3])
def test_images_of_one_batch_may_differ_in_acquisition(planes: int) -> None:
    network = small(planes)
    lr = torch.rand(2, 1, 8, 12) if planes == 1 else torch.rand(2, 1, 6, 8, 12)
    thin, thick = (condition_of(Acquisition(spacing=4, thickness=t), 1.0) for t in (2, 4))
    together = network(lr, torch.stack([thin, thick]))
    for image, condition in enumerate((thin, thick)):
        torch.testing.assert_close(together[image], network(lr[[image]], condition)[0])


def test_halo_is_what_a_pixel_sees() -> None:
    network = small()
    condition = condition_of(Acquisition(spacing=4), 1.0)
    lr = torch.rand(1, 1, 5, 31)
    other = lr.clone()
    other[..., 0] += 1
    changed = (network(lr, condition) != network(other, condition)).any(dim=(0, 1, 2))
    assert int(changed.nonzero().max()) == network.halo


@pytest.mark.parametrize("planes", [1, 3])
def test_weights_come_back(planes: int) -> None:
    network = small(planes)
    weights = network.weights(WeightsCard(licence="none"))
    again = Backbone.from_weights(weights)
    condition, lr = condition_of(Acquisition(spacing=4), 1.0), torch.rand(1, 1, 5, 9)
    torch.testing.assert_close(again(lr, condition), network(lr, condition))
    with pytest.raises(WeightsError, match="architecture 'other'"):
        Backbone.from_weights(Weights(weights.tensors, WeightsCard(architecture="other")))
    smaller = replace(weights.card, arguments={"channels": 4})
    with pytest.raises(WeightsError, match="do not fit"):
        Backbone.from_weights(Weights(weights.tensors, smaller))
