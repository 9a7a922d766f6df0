"""Weights on disk: tensors and a card that says what they are, in one safetensors file.

Reading executes nothing.  A file is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bids_sr.exceptions import InputDataError, WeightsError
from bids_sr.files import check_regular, write_bytes_atomic
from bids_sr.published import names, published_weights
from bids_sr.sr.contract.card import WeightsCard

_CARD = "card"
_NO_CARD = (AttributeError, KeyError, ValueError, RecursionError)


@dataclass(frozen=True, eq=False, repr=False)
class Weights:
    """Hold the tensors of a network and its card."""

    tensors: dict[str, Tensor]
    """The network's state, by name."""
    card: WeightsCard

    def __repr__(self) -> str:
        count = sum(tensor.numel() for tensor in self.tensors.values())
        return f"Weights({count} numbers, SHA-256 {self.digest[:12]})"

    def save(self, path: Path) -> Path:
        """Write a ``.safetensors`` file; the same weights give the same bytes.

        Parameters
        ----------
        path : Path
            Its folder is made if absent.

        Returns
        -------
        path : Path
        """
        from safetensors.torch import save

        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()
        }
        content = save(tensors, metadata={_CARD: json.dumps(self.card.to_dict(), sort_keys=True)})
        return write_bytes_atomic(path, content)

    @classmethod
    def load(cls, path: Path) -> Weights:
        """Read a file that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If there is no such file, or it is not a safetensors file with a card.
        """
        from safetensors import SafetensorError, safe_open

        try:
            check_regular(path)
            with safe_open(path, framework="pt") as file:
                card = WeightsCard.from_dict(json.loads((file.metadata() or {})[_CARD]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise WeightsError(
                f"Found no file {path}; expected weights written by bids_sr. Check the path."
            ) from error
        except (SafetensorError, InputDataError, OSError, *_NO_CARD) as error:
            raise WeightsError(
                f"Found {path}, which is not a safetensors file with a card ({error}); expected "
                "weights written by bids_sr (--save-model, bids_sr-tools train)."
            ) from error
        return cls(tensors=tensors, card=card)

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors: names, types, shapes and values."""
        state = hashlib.sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name].detach().cpu().contiguous()
            state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            state.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
        return state.hexdigest()


def locate(model: str, weights_dir: str | None, *, offline: bool) -> Path:
    """Return the file of trained weights.

    Parameters
    ----------
    model : str
        A path or a published name.
    weights_dir : str, optional
        Where published weights lie.
    offline : bool
        Refuse to fetch them.

    Raises
    ------
    WeightsError
        If it is neither.
    """
    path = Path(model)
    if path.is_file():
        return path
    if model not in names():
        raise WeightsError(
            f"Found no file {model}, nor published weights of that name; expected weights that "
            f"`bids_sr-tools train` writes, or one of {', '.join(names())}. Check the path."
        )
    published = published_weights(model)
    folder = Path(weights_dir) if weights_dir else None
    return published.fetch(folder, offline=offline) / next(iter(published.files))
