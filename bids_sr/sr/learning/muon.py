"""Muon, an optimiser that orthogonalises the momentum of each kernel.

References
----------
Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks,
https://kellerjordan.github.io/posts/muon (the iteration and its coefficients).
Liu et al. 2025, Muon is scalable for LLM training, doi:10.48550/arXiv.2502.16982 (the
size of a step, so that learning rates are those of Adam).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SIZE = 0.2  # root mean square of a step / learning rate, as Adam's is


class Muon(torch.optim.Optimizer):
    """Step along the orthogonalised momentum of every kernel."""

    def __init__(self, kernels: Iterable[Tensor], *, momentum: float = 0.95) -> None:
        """Take the kernels of hidden layers.

        Parameters
        ----------
        kernels : iterable of (out, in, ...) tensors
            Other parameters (biases, first and last layers) belong to another optimiser.
        momentum : float
            Decay of the mean of the gradients.
        """
        super().__init__(kernels, {"lr": 1e-3, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all kernels; those of one shape together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for kernel in group["params"]:
                if kernel.grad is not None:
                    by_shape.setdefault(kernel.shape, []).append(kernel)
            for kernels in by_shape.values():
                self._move(kernels, group["lr"], group["momentum"])

    def _move(self, kernels: list[Tensor], rate: float, momentum: float) -> None:
        ahead = []
        for kernel in kernels:
            gradient = kernel.grad
            assert gradient is not None
            if "mean" not in self.state[kernel]:
                self.state[kernel]["mean"] = torch.zeros_like(gradient)
            mean = self.state[kernel]["mean"].lerp_(gradient, 1 - momentum)
            ahead.append(gradient.lerp(mean, momentum).flatten(1))
        directions = orthogonal(torch.stack(ahead))
        size = rate * _SIZE * max(directions.shape[1:]) ** 0.5
        for kernel, direction in zip(kernels, directions, strict=True):
            kernel.sub_(direction.reshape(kernel.shape), alpha=size)


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring all singular values near 1 by a Newton-Schulz iteration.

    Parameters
    ----------
    matrices : (N, m, n) tensor

    Returns
    -------
    (N, m, n) tensor
        Singular values of about 0.7 to 1.2, singular vectors as they were.
    """
    transposed = matrices.shape[1] > matrices.shape[2]
    result: Tensor = matrices.transpose(1, 2) if transposed else matrices
    result = result / result.flatten(1).norm(dim=1)[:, None, None].clamp_min(1e-12)
    linear, cubic, quintic = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = result @ result.transpose(1, 2)
        result = linear * result + (cubic * square + quintic * (square @ square)) @ result
    return result.transpose(1, 2) if transposed else result


def hidden_kernels(network: nn.Module) -> list[nn.Parameter]:
    """List the convolution kernels between layers of equal width."""
    return [
        parameter
        for parameter in network.parameters()
        if parameter.requires_grad
        and parameter.ndim >= 4
        and parameter.shape[0] == parameter.shape[1] > 1
    ]
