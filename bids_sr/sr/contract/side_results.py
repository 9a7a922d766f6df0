"""Side results of a reconstruction: its uncertainty, its agreement with the slices.

The reconstruction is valid without them, so a failure is logged and has no other effect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

LOGGER = logging.getLogger(__name__)

Result = TypeVar("Result")


def side_result(what: str, measure: Callable[[], Result]) -> Result | None:
    """Measure a side result.

    Parameters
    ----------
    what : str
        What it is, for the log.
    measure : callable
        Does the work.

    Returns
    -------
    object
        What `measure` returns; None where it failed, whatever the reason.
    """
    try:
        return measure()
    except Exception:
        LOGGER.warning("no %s: measuring it failed", what, exc_info=True)
        return None
