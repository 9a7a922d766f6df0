from __future__ import annotations

import pytest
import torch
from torch import nn

from bids_sr.sr.learning.muon import Muon, hidden_kernels, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 40), (2, 40, 8), (1, 6, 6)])
def test_orthogonal_keeps_the_directions(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inside = left.transpose(1, 2) @ orthogonal(matrices) @ right.transpose(1, 2)
    values = torch.diagonal(inside, dim1=1, dim2=2)
    assert 0.6 < values.min() < values.max() < 1.3
    off_diagonal = inside - torch.diag_embed(values)
    torch.testing.assert_close(off_diagonal, torch.zeros_like(inside), atol=1e-4, rtol=0)


def test_a_step_has_the_size_of_the_rate() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(16, 16, 3, 3))
    optimizer = Muon([kernel])
    optimizer.param_groups[0]["lr"] = 0.01
    for scale in (1e-6, 1e6):  # the size of the gradient does not matter
        before = kernel.detach().clone()
        kernel.grad = scale * torch.randn_like(kernel)
        optimizer.step()
        size = (kernel.detach() - before).square().mean().sqrt()
        assert 0.6 < float(size) / (0.2 * 0.01) < 1.2


def test_only_kernels_between_equal_layers_are_hidden() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 1, 3), nn.Conv2d(1, 1, 3)
    )
    assert [tuple(kernel.shape) for kernel in hidden_kernels(network)] == [(8, 8, 3, 3)]
