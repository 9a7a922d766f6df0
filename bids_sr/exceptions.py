"""Errors that a user can act on.

Every message says what was found, what was expected and what to do.  Anything
that is not a :class:`BidsSrError` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator


class BidsSrError(Exception):
    """Base of all errors raised on purpose by this package."""


class InputDataError(BidsSrError):
    """An image or dataset cannot be read or is not what the step needs."""


class NoInputError(InputDataError):
    """There is nothing to work on: no such path, or nothing in it."""


class OutputError(BidsSrError):
    """A file or folder cannot be written, or its present content must not be trusted."""


class MachineError(BidsSrError):
    """The machine, or the part of it that this process may use, is too small."""


class StepKilledError(MachineError):
    """The process of a step was killed from outside."""


class AcquisitionError(BidsSrError, ValueError):
    """Slice thickness, spacing or profile are impossible or contradict the image."""


class WeightsError(BidsSrError):
    """Network weights are missing, corrupt or not the expected ones."""


class EngineError(BidsSrError):
    """An external engine failed or returned a result that is not plausible."""


class ConfigError(BidsSrError, ValueError):
    """An option, a combination of options or a configuration file is wrong."""


class MissingToolError(BidsSrError):
    """A program, a licence or a model that was asked for is not installed."""


def family(base: type[BidsSrError] = BidsSrError) -> Iterator[type[BidsSrError]]:
    """Walk through an error's class and all classes derived from it."""
    yield base
    for derived in base.__subclasses__():
        yield from family(derived)


LONGEST = 500
"""Characters of an error in a table, on a page or in a last line."""
# cuDNN says the second where no way to convolve fits into the memory that is left.
_DEVICE_FULL = (
    "out of memory",
    "unable to find an engine",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def in_words(error: BaseException) -> str:
    """Return what went wrong in one line: our own errors speak for themselves.

    Parameters
    ----------
    error : BaseException
        Any error.

    Returns
    -------
    str
        At most ``LONGEST`` characters; of an error of the system its cause and the file.
    """
    words = str(error)
    if isinstance(error, OSError) and error.strerror:
        words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif not isinstance(error, BidsSrError):
        words = f"{type(error).__name__}: {words}" if words else type(error).__name__
    line = printable(" ".join(words.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def is_device_full(error: RuntimeError) -> bool:
    """Tell whether a GPU had too little memory, whichever of torch's libraries says so."""
    return type(error).__name__ == "OutOfMemoryError" or any(
        words in str(error) for words in _DEVICE_FULL
    )


def printable(text: str) -> str:
    r"""Write what no terminal and no UTF-8 file can hold as ``\udcff``, ``\x1b`` and the like.

    Names of files that are not UTF-8 have halves of characters in their place.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, which takes an s unless there is one of them."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that is most like a mistyped one; empty if none is."""
    by_letters = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(by_letters), n=1)
    return f" (did you mean {by_letters[near[0]]}?)" if near else ""
