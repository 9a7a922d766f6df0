"""States: the parameters of networks, read from files that others wrote.

Reading executes nothing: a file that holds more than tensors and plain values is refused.
What network a state belongs to is the caller's matter.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_sr.compute.checkpoints import plain_values
from bids_sr.exceptions import InputDataError, WeightsError
from bids_sr.files import check_stored
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights

WRAPPERS = ("model_weights", "generator_weights", "params_ema", "params", "state_dict", "model")
"""Keys under which a file may hold the state; PRETTIER has the first two."""
_PARALLEL = "module."  # what training on several devices puts before every name


@dataclass(frozen=True, eq=False)
class State:
    """Hold the parameters of a network by name."""

    tensors: dict[str, Tensor]
    path: Path
    wrapper: str | None = None
    """The key under which they were; None where they were all that the file holds."""
    card: WeightsCard | None = None
    """The card, if the weights are of this package."""


def read_state(path: Path) -> State:
    """Read a state from a ``.safetensors`` file or a checkpoint of torch.

    Parameters
    ----------
    path : Path

    Returns
    -------
    State
        float32, on the CPU.

    Raises
    ------
    WeightsError
        If there is no such file, it is damaged, holds no state, or holds objects that
        could run code.
    """
    if not path.is_file():
        raise WeightsError(f"Found no file {path}; expected network weights. Check the path.")
    if path.suffix == ".safetensors":
        weights = Weights.load(path)
        return State(_plain(weights.tensors), path, card=weights.card)
    content = _unpickled(path)
    wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    tensors = content if wrapper is None else content[wrapper]
    if not tensors or not all(isinstance(part, Tensor) for part in tensors.values()):
        raise WeightsError(
            f"Found {path} with the entries {_some(content)}; expected the parameters of a "
            f"network, by themselves or under {', '.join(WRAPPERS)}."
        )
    return State(_plain(tensors), path, wrapper)


def load_into(network: torch.nn.Module, state: State, *, idle: tuple[str, ...] = ()) -> None:
    """Put a state into a network.

    Parameters
    ----------
    network : nn.Module
    state : State
    idle : tuple of str
        Beginnings of names that the state need not have.

    Raises
    ------
    WeightsError
        If names or shapes differ.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state.tensors and not key.startswith(idle or "\0")]
    extra = [key for key in state.tensors if key not in own]
    shapes = [
        f"{key} {tuple(state.tensors[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state.tensors and state.tensors[key].shape != own[key].shape
    ]
    if missing or extra or shapes:
        facts = [("lacks", missing), ("has besides", extra), ("has other shapes:", shapes)]
        what = "; ".join(f"{word} {_some(names)}" for word, names in facts if names)
        raise WeightsError(
            f"Found in {state.path} a state that {what}; expected that of a "
            f"{type(network).__name__}. It is of another architecture, or incomplete."
        )
    network.load_state_dict({**own, **state.tensors})


def _unpickled(path: Path) -> Mapping[str, Any]:
    try:
        check_stored(path)
        with plain_values():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({named.group(1)})" if named else ""
        raise WeightsError(
            f"Found {path}, which holds objects besides tensors and plain values{what}, or is "
            "damaged; expected a checkpoint. It was not opened, as such objects can run code: "
            "save the state_dict of the network alone."
        ) from error
    except InputDataError as error:
        raise WeightsError(str(error)) from error
    except Exception as error:  # a damaged pickle fails in any way
        raise WeightsError(
            f"Found {path}, which cannot be read as a checkpoint ({type(error).__name__}); it "
            "is damaged or another kind of file. Download it again."
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"Found {path} with a {type(content).__name__}; expected the parameters of a network "
            "by name."
        )
    return content


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    whole = all(key.startswith(_PARALLEL) for key in tensors)
    return {
        key.removeprefix(_PARALLEL) if whole else key: (
            part.float() if part.is_floating_point() else part
        )
        for key, part in tensors.items()
    }


def _some(names: Any, most: int = 3) -> str:
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
