"""Foreign checkpoints of torch, read without running code that they hold."""

from __future__ import annotations

import codecs
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch


def plain_values() -> AbstractContextManager[Any]:
    """Let torch also read NumPy's numbers, such as a loss next to the weights, but no code."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "?")]
    return torch.serialization.safe_globals(
        [
            (scalar, "numpy.core.multiarray.scalar"),  # NumPy 1
            (scalar, "numpy._core.multiarray.scalar"),
            np.dtype,
            *kinds,
            codecs.encode,
        ]
    )
