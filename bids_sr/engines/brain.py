"""Which engine extracts the brain.

It looks for weights and imports nothing heavy, so that a plan can be printed.
"""

from __future__ import annotations

from pathlib import Path

from bids_sr.engines.hd_bet import find_weights, require_weights
from bids_sr.exceptions import ConfigError

ENGINES = ("auto", "hdbet", "template", "none")


def choose_engine(skull_strip_method: str, weights_dir: Path | None = None) -> tuple[str, str]:
    """Turn the asked brain extraction into an engine, and say why.

    Parameters
    ----------
    skull_strip_method : {"auto", "hdbet", "template", "none"}
    weights_dir : Path, optional
        Folder in which the weights of HD-BET are sought first.

    Returns
    -------
    engine : {"hdbet", "template", "none"}
    reason : str
        A sentence for the record.

    Raises
    ------
    ConfigError
        If no such engine exists.
    WeightsError
        If HD-BET is asked for by name and its weights are not at hand.
    """
    if skull_strip_method not in ENGINES:
        raise ConfigError(
            f"Found the brain extraction {skull_strip_method!r}; expected one of "
            f"{', '.join(ENGINES)}."
        )
    if skull_strip_method == "auto":
        found = find_weights(weights_dir)
        if found is not None:
            return "hdbet", f"HD-BET weights found in {found}"
        return (
            "template",
            "no HD-BET weights at hand, so the mask comes from a template by affine "
            "registration and a fit of its surface; look at its outline",
        )
    if skull_strip_method == "hdbet":
        return "hdbet", f"asked for; weights in {require_weights(weights_dir)}"
    return skull_strip_method, "asked for"
