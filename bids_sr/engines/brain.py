"""Which engine extracts the brain.

It only looks for weights and imports nothing heavy, so that a plan can be printed.
"""

from __future__ import annotations

from pathlib import Path

from bids_sr.exceptions import ConfigError
from bids_sr.published import published_weights

ENGINES = ("auto", "hdbet", "template", "none")


def choose_engine(skull_strip_method: str, weights_dir: Path | None = None) -> tuple[str, str]:
    """Choose the engine for the requested brain extraction, and say why.

    Parameters
    ----------
    skull_strip_method : {"auto", "hdbet", "template", "none"}
    weights_dir : Path, optional
        Folder that is searched first for the weights of HD-BET.

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
        If HD-BET is requested by name and its weights are not installed.
    """
    if skull_strip_method not in ENGINES:
        raise ConfigError(
            f"Found the brain extraction {skull_strip_method!r}; expected one of "
            f"{', '.join(ENGINES)}."
        )
    hd_bet = published_weights("hd-bet")
    if skull_strip_method == "auto":
        folder = hd_bet.find(weights_dir)
        if folder is not None:
            return "hdbet", f"HD-BET weights found in {folder}"
        return (
            "template",
            "no HD-BET weights are installed, so the mask comes from a template by affine "
            "registration and a fit of its surface; look at its outline. To install them: "
            "bids_sr-tools fetch hd-bet",
        )
    if skull_strip_method == "hdbet":
        return "hdbet", f"asked for; weights in {hd_bet.require(weights_dir)}"
    return skull_strip_method, "asked for"
