"""Fence: an error of one subject or image is reported and recorded; the others continue."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator

from bids_sr.exceptions import in_words

LOGGER = logging.getLogger(__name__)
_OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What is wrong with the file system, and so with everybody."""


class Fence:
    """Gathers what went wrong, one line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def around(self, what: str) -> Iterator[None]:
        """Do what belongs to one subject or image; an error becomes a line and a warning.

        Parameters
        ----------
        what : str
            What is done, to whom: ``page of sub-01``.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_ALL:
                raise
            line = f"{what}: {in_words(error)}"
            if line not in self.lines:
                LOGGER.warning("%s", line)
                self.lines.append(line)
            LOGGER.debug("%s", what, exc_info=True)
