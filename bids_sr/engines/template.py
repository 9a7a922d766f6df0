"""The template of brain masks and tissue priors: the bundled one, or one of TemplateFlow.

Lists the files of a template, fetches them with TemplateFlow's own client, and loads them.
It does not register anything.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.engines import BUNDLED_TEMPLATE as BUNDLED
from bids_sr.engines.registration_image import isotropic
from bids_sr.exceptions import ConfigError, MissingToolError
from bids_sr.imaging import Volume

_NAME = re.compile(r"(?P<template>[A-Za-z0-9]+)(:cohort-(?P<cohort>[A-Za-z0-9]+))?")
_BRAIN: dict[str, dict[str, Any]] = {
    "T1w": {"suffix": "T1w", "desc": None, "label": None},
    "brain mask": {"suffix": "mask", "desc": "brain", "label": None},
}
_TISSUES: dict[str, dict[str, Any]] = {
    "map of grey matter": {"suffix": "probseg", "desc": None, "label": "GM"},
    "map of white matter": {"suffix": "probseg", "desc": None, "label": "WM"},
}
_OTHER: dict[str, Any] = {"extension": [".nii", ".nii.gz"], "atlas": None, "hemi": None}


@dataclass(frozen=True, kw_only=True)
class BrainTemplate:
    """Hold a T1w template and its brain mask."""

    image: Volume
    """Intensities, 0 outside of the brain."""
    mask: Volume
    """bool."""


def require_template(name: str, *, tissues: bool, offline: bool = False) -> None:
    """Make sure that the files of a template are installed, before anything is processed.

    Parameters
    ----------
    name : str
        ``MNI152`` for the bundled one; else ``NAME`` or ``NAME:cohort-C`` of TemplateFlow.
    tissues : bool
        Whether its maps of grey and white matter are needed too.
    offline : bool
        Fetch nothing.

    Raises
    ------
    ConfigError
        If there is no such template, or it lacks a file.
    MissingToolError
        If a file is not installed and cannot be fetched; with its name.
    """
    if name == BUNDLED:
        return
    missing, reason = [], "--offline does not allow the download"
    for what in (*_BRAIN, *_TISSUES) if tissues else _BRAIN:
        path, query = _find(name, what)
        if not _is_there(path) and not offline:
            reason = _fetch(path, query)
        if not _is_there(path):
            missing.append(str(path))
    if missing:
        raise MissingToolError(
            f"--template {name}: found no {', '.join(missing)} ({reason}); expected the files of "
            "TemplateFlow. Start once where there is a network, or copy them there from another "
            f"machine; $TEMPLATEFLOW_HOME says where the folder is (now {_home()})."
        )


def brain_template(name: str, resolution: float) -> BrainTemplate:
    """Load a template without its skull.

    Parameters
    ----------
    name : str
        As in :func:`require_template`.
    resolution : float
        Isotropic voxels, mm.
    """
    if name == BUNDLED:
        from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

        image = _from_nilearn(load_mni152_template(resolution=resolution))
        return BrainTemplate(
            image=image, mask=_thresholded(_from_nilearn(load_mni152_brain_mask(resolution)))
        )
    head, mask = (_load(name, what) for what in _BRAIN)
    inside = _thresholded(isotropic(mask, resolution))
    image = isotropic(head, resolution)
    return BrainTemplate(
        image=image.with_data(np.where(inside.data, np.maximum(image.data, 0), 0)), mask=inside
    )


def tissue_maps(name: str, resolution: float) -> tuple[Volume, Volume]:
    """Load the maps of grey and white matter of a template.

    Parameters
    ----------
    name : str
        As in :func:`require_template`.
    resolution : float
        Isotropic voxels, mm.

    Returns
    -------
    grey, white : Volume
        Probabilities, float32.
    """
    if name == BUNDLED:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template

        return (
            _from_nilearn(load_mni152_gm_template(resolution=resolution)),
            _from_nilearn(load_mni152_wm_template(resolution=resolution)),
        )
    grey, white = (_load(name, what) for what in _TISSUES)
    return isotropic(grey, resolution), isotropic(white, resolution)


def describe(name: str) -> str:
    """Name a template in the methods text, with its citation."""
    if name == BUNDLED:
        return "the ICBM 152 template [@fonov2011] distributed with *nilearn* [@abraham2014]"
    return f"the template {name} of TemplateFlow [@ciric2022]"


def _find(name: str, what: str) -> tuple[Path, dict[str, Any]]:
    """Return the present or future path of a file of a template, and its query."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"--template {name}: expected {BUNDLED}, NAME or NAME:cohort-C.")
    client = _client()
    if match["template"] not in client.templates():
        raise ConfigError(
            f"--template {name}: TemplateFlow has no {match['template']}; expected {BUNDLED} "
            f"(comes with nilearn) or one of {', '.join(client.templates(suffix='T1w'))}."
        )
    query = {"template": match["template"], **_OTHER, **(_BRAIN | _TISSUES)[what]}
    for resolution in (1, None):  # some templates come at one resolution and do not name it
        exact = {**query, "cohort": match["cohort"], "resolution": resolution}
        paths: list[Path] = client.ls(**exact)
        if len(paths) == 1:
            return paths[0], exact
    has = [path.name for path in client.ls(**query)]
    advice = f"Take another template, or {BUNDLED}."
    if match["cohort"] is None and any("_cohort-" in name for name in has):
        advice = f"Name a cohort, as in {match['template']}:cohort-1."
    raise ConfigError(
        f"--template {name}: found {', '.join(has[:4]) or 'nothing'} for its {what}; expected one "
        f"file at 1 mm. {advice}"
    )


def _fetch(path: Path, query: dict[str, Any]) -> str:
    """Let TemplateFlow fetch a file; return the reason in words if it cannot."""
    try:
        _client().get(**query)
    except BaseException as error:
        path.write_bytes(b"")  # a partial file would be treated as complete the next time
        if not isinstance(error, (OSError, RuntimeError)):  # those of requests are OSErrors
            raise
        return f"it cannot be fetched: {type(error).__name__}"
    return ""


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


@lru_cache(maxsize=1)
def _client() -> Any:
    # It writes the list of its files into its folder where they are not there yet.
    try:
        from templateflow import TemplateFlowClient

        return TemplateFlowClient()
    except OSError as error:
        raise MissingToolError(
            f"TemplateFlow cannot use its folder {_home()} ({error}); expected one that can be "
            "written, or that holds its files. Set $TEMPLATEFLOW_HOME."
        ) from error


def _home() -> str:
    return os.environ.get("TEMPLATEFLOW_HOME") or str(Path.home() / ".cache" / "templateflow")


def _load(name: str, what: str) -> Volume:
    return Volume.load(_find(name, what)[0]).canonical()


def _from_nilearn(image: Any) -> Volume:
    return Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, np.float64))


def _thresholded(share: Volume) -> Volume:
    return share.with_data(share.data > 0.5)
