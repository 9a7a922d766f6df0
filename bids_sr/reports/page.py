"""Pages: templates filled in with everything escaped, in one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import bids_sr


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bids_sr", "data/report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["version"] = bids_sr.__version__
    return environment


def render(template: str, context: Mapping[str, Any]) -> str:
    """Fill in a template of ``bids_sr/data/report``.

    Parameters
    ----------
    template : str
        File name.
    context : mapping
        Values; those that are not :class:`markupsafe.Markup` are escaped.

    Returns
    -------
    str
        HTML.
    """
    return _environment().get_template(template).render(**context)
