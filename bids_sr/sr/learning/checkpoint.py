"""A checkpoint holds the whole state of a training, to resume it exactly.

It is a file for the same machine and the same command; the output of a training is
:class:`~bids_sr.sr.contract.weights.Weights`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from bids_sr.exceptions import ConfigError
from bids_sr.files import write_atomic
from bids_sr.sr.contract.settings import present_names


@runtime_checkable
class Stateful(Protocol):
    """An object whose state belongs in a checkpoint: a sampler, a discriminator."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a state that :meth:`state_dict` returned."""


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all."""
    write_atomic(path, lambda temporary: torch.save(state, temporary))


def read_checkpoint(path: Path, schedule: dict[str, Any]) -> dict[str, Any] | None:
    """Read a checkpoint without executing anything; None if there is none.

    Parameters
    ----------
    path : Path
    schedule : dict
        Of the training that resumes; it must be that of the interrupted one.

    Raises
    ------
    ConfigError
        If the file is not a checkpoint, or that of another schedule.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stored = present_names(state["schedule"], schedule)
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"Found {path}, which is not a whole checkpoint ({error}); expected one written by "
            "this training. Remove the file and start anew."
        ) from error
    changed = sorted(name for name in schedule if stored.get(name) != schedule[name])
    if changed:
        raise ConfigError(
            f"Found the checkpoint {path} of a training with another {', '.join(changed)}; "
            "expected the same settings. Give those, or remove the file and start anew."
        )
    return state


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of torch's generators."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put the generators back into the state of :func:`random_state`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
