"""Networks over triplets of neighbouring slices, by name and from files.

Such a network takes a triplet of slices in place of the three colours of a photograph.  This
module lists the architectures and builds a network from a checkpoint; inference and training
are elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_sr.download import Report
from bids_sr.exceptions import WeightsError
from bids_sr.files import file_digest
from bids_sr.published import published_weights
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.state_files import State, load_into, read_state
from bids_sr.sr.networks.edsr import EDSR
from bids_sr.sr.networks.rrdb import RRDBNet
from bids_sr.sr.networks.shufflemixer import ShuffleMixer

TripletNetwork = EDSR | RRDBNet | ShuffleMixer
ARCHITECTURES: dict[str, type[TripletNetwork]] = {
    network.name: network for network in (EDSR, RRDBNet, ShuffleMixer)
}
"""Architectures by name."""
SCALE = 4
"""Factor by which each of them enlarges both axes."""
_IDLE = ("sub_mean.", "add_mean.")
_PUBLISHED = "prettier-"  # before the names of its weights


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """Hold a network with its weights and where they come from."""

    network: TripletNetwork
    path: Path
    sha256: str
    """Of the file."""
    card: WeightsCard | None
    """The card, if the weights are of this package."""

    @property
    def record(self) -> dict[str, Any]:
        """Plain values for a sidecar."""
        facts = {
            "Architecture": self.network.name,
            "Weights": self.path.name,
            "WeightsSHA256": self.sha256,
        }
        recipe = self.card and self.card.recipe
        words = recipe and {"Name": recipe.name, "Parameters": dict(recipe.parameters)}
        return facts | ({"WeightsRecipe": words} if self.card else {})


def load_network(
    model: str,
    *,
    architecture: str | None = None,
    weights_dir: Path | None = None,
    offline: bool = False,
    report: Report | None = None,
) -> TrainedNetwork:
    """Load a trained network.

    Parameters
    ----------
    model : str
        A name in :data:`ARCHITECTURES`, with or without ``prettier-`` before it, for the
        weights that PRETTIER published, or the path of a file.
    architecture : str, optional
        A name in :data:`ARCHITECTURES` that the file must be of.
    weights_dir : Path, optional
        Folder of published weights.
    offline : bool
        Download nothing.
    report : callable, optional
        Called with the progress of a download.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    WeightsError
        If there is no such file, it is no checkpoint of these architectures, it is damaged,
        or differs from the published one.
    """
    path, released = network_file(model, weights_dir, offline=offline, report=report)
    digest = file_digest(path)
    if released is not None and digest != released:
        raise WeightsError(
            f"Found {path} with SHA-256 {digest}; expected {released}, the published file. Remove "
            "it and fetch it again."
        )
    state = read_state(path)
    return TrainedNetwork(network_of(state, architecture or None), path, digest, state.card)


def network_file(
    model: str,
    weights_dir: Path | None = None,
    *,
    offline: bool = False,
    report: Report | None = None,
) -> tuple[Path, str | None]:
    """Find the file of a network, or fetch it; parameters as those of :func:`load_network`.

    Returns
    -------
    path : Path
    sha256 : str or None
        Of the published file; None where that is not known.

    Raises
    ------
    WeightsError
        If there is no such file and it cannot be fetched.
    """
    if model.removeprefix(_PUBLISHED) in ARCHITECTURES:
        published = published_weights(_PUBLISHED + model.removeprefix(_PUBLISHED))
        folder = published.fetch(weights_dir, offline=offline, report=report)
        ((name, released),) = published.files.items()
        return folder / name, released
    if not Path(model).is_file():
        raise WeightsError(
            f"Found no file {model!r}; expected one of {', '.join(ARCHITECTURES)} or the path of "
            "a checkpoint."
        )
    return Path(model), None


def network_of(state: State, architecture: str | None = None) -> TripletNetwork:
    """Make the network that a state is of.

    Raises
    ------
    WeightsError
        If it is of none of these architectures, or of another than `architecture`.
    """
    kind = next((known for known in ARCHITECTURES.values() if known.mark in state.tensors), None)
    if kind is None or (architecture is not None and kind.name != architecture):
        names = list(state.tensors)
        what = f"a network {kind.name}" if kind else f"parameters {', '.join(names[:3])}, ..."
        expected = architecture or " or ".join(ARCHITECTURES)
        raise WeightsError(
            f"Found in {state.path} {what}; expected {expected} that enlarges {SCALE} times."
        )
    arguments = kind.arguments_of(state.tensors)
    if state.card is not None:
        arguments |= state.card.arguments
    elif kind is EDSR:
        arguments["mean_shift"] = _is_the_authors(state)
    try:
        network = kind(**arguments).eval()
    except TypeError as error:
        raise WeightsError(f"Found in the card of {state.path} {error}.") from error
    load_into(network, state, idle=_IDLE)
    return network


def _is_the_authors(state: State) -> bool:
    """Tell EDSR as its authors published it, for intensities to 255, from PRETTIER's."""
    shift = state.tensors.get("sub_mean.bias")
    return state.wrapper is None and shift is not None and float(shift.abs().max()) > 1
