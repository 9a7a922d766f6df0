"""Errors that a user can act on.

Every message says what was found, what was expected and what to do.  Anything
that is not a :class:`BidsSrError` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class BidsSrError(Exception):
    """Base of all errors raised on purpose by this package."""


class InputDataError(BidsSrError):
    """An image or dataset cannot be read or is not what the step needs."""


class AcquisitionError(BidsSrError, ValueError):
    """Slice thickness, spacing or profile are impossible or contradict the image."""


class WeightsError(BidsSrError):
    """Network weights are missing, corrupt or not the expected ones."""


class EngineError(BidsSrError):
    """An external engine failed or returned a result that is not plausible."""


class ConfigError(BidsSrError, ValueError):
    """An option, a combination of options or a configuration file is wrong."""


class MissingToolError(BidsSrError):
    """A program, a licence or a model that was asked for is not at hand."""
