from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from bids_sr.compute.progress import Progress
from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.learning.loop import Schedule
from bids_sr.sr.learning.neighbour_training import NeighbourTraining, training_stack
from bids_sr.sr.networks.autoencoder import Autoencoder

Tube = Callable[..., Volume]


def test_slices_are_those_acquired(tube: Tube) -> None:
    volume = tube(0)
    acquisition = Acquisition(spacing=2.0, slice_axis=0)
    assert training_stack(volume, acquisition, None).shape == (20, 24, 5)
    assert training_stack(volume, Acquisition(spacing=8.0), 1.0).shape == (5, 40, 48)


def test_interrupted_training_ends_the_same(tmp_path: Path, tube: Tube) -> None:
    stacks = [training_stack(tube(n), Acquisition(spacing=8.0), None) for n in range(3)]
    schedule = Schedule(steps=5, half=False, checkpoint_every=0.0)

    def interrupt(step: int, total: int, message: str) -> None:
        if step == 4:
            raise KeyboardInterrupt

    def trained(*parts: Progress | None) -> Autoencoder:
        torch.manual_seed(0)
        network = Autoencoder(width=2, depth=2, latent_channels=4)
        checkpoint = tmp_path / f"{len(parts)}"
        for progress in parts:
            with suppress(KeyboardInterrupt):
                NeighbourTraining(patch_size=16, zoom=0.2).train(
                    network,
                    stacks,
                    (),
                    schedule,
                    threads=1,
                    progress=progress,
                    checkpoint=checkpoint,
                )
        return network

    whole, halved = trained(None).state_dict(), trained(interrupt, None).state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(halved[name], tensor, rtol=0, atol=0)


def test_learns_what_lies_between(tube: Tube) -> None:
    """Discs that move: their mean has two edges, the slice between has one."""
    torch.manual_seed(0)
    stacks = [training_stack(tube(n), Acquisition(spacing=8.0), None) for n in range(20)]
    network = Autoencoder(width=8, depth=2, latent_channels=16)
    result = NeighbourTraining(patch_size=24, batch_size=4).train(
        network,
        stacks[:16],
        stacks[16:],
        Schedule(steps=100, learning_rate=3e-3),
        threads=1,
    )
    assert result.curve.points[-1].validation is not None
    assert result.curve.points[-1].validation > 0.3


def test_best_weights_are_kept_only_where_they_are_trained_for(tube: Tube) -> None:
    """An autoencoder that only restores would be judged by what it is not asked for."""
    stacks = [training_stack(tube(n), Acquisition(spacing=8.0), None) for n in range(3)]
    before = []
    for synthesis in (0.0, 1.0):
        network = Autoencoder(width=2, depth=2, latent_channels=4)
        training = NeighbourTraining(patch_size=16, synthesis=synthesis)
        result = training.train(network, stacks, (), Schedule(steps=2), threads=1)
        assert result.curve.points[-1].validation is not None
        before.append(result.before)
    assert before[0] is None
    assert before[1] is not None
