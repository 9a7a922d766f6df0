"""Checkpoints with numbers of NumPy are read; those with code are not."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_sr.compute.checkpoints import plain_values


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def test_numbers_are_read_and_code_is_refused(tmp_path: Path) -> None:
    numbers = {"loss": np.float32(0.5), "steps": np.int64(3), "weights": torch.ones(2)}
    torch.save(numbers, tmp_path / "numbers.pt")
    torch.save({"weights": _Code()}, tmp_path / "code.pt")

    with plain_values():
        content = torch.load(tmp_path / "numbers.pt", weights_only=True)
        with pytest.raises(pickle.UnpicklingError, match="system"):
            torch.load(tmp_path / "code.pt", weights_only=True)

    assert content["loss"] == np.float32(0.5)
    assert content["steps"] == 3
