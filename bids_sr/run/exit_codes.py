"""Exit codes of both commands, after ``sysexits.h`` where it has one."""

from __future__ import annotations

from enum import IntEnum

from bids_sr.exceptions import (
    AcquisitionError,
    BidsSrError,
    ConfigError,
    EngineError,
    InputDataError,
    MachineError,
    MissingToolError,
    NoInputError,
    OutputError,
    WeightsError,
)


class ExitCode(IntEnum):
    """Say how a run ended."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    VALIDATION_FAILED = 16
    ANALYSIS_LEVEL = 17
    NOTHING_SELECTED = 18
    BAD_DATA = 65
    NO_INPUT = 66
    NO_WORKFLOW = 70
    CANNOT_WRITE = 73
    MISSING_TOOL = 127
    INTERRUPTED = 130
    TERMINATED = 143


class ExitError(Exception):
    """Leave the command with a message and a code.

    Not a :class:`~bids_sr.exceptions.BidsSrError`: the library never decides how a
    process ends.
    """

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: BidsSrError) -> ExitCode:
    """Return the exit code of an error that ends the whole command: of its class, or one above."""
    codes: dict[type, ExitCode] = {
        ConfigError: ExitCode.USAGE,
        AcquisitionError: ExitCode.BAD_DATA,
        InputDataError: ExitCode.BAD_DATA,
        NoInputError: ExitCode.NO_INPUT,
        OutputError: ExitCode.CANNOT_WRITE,
        MachineError: ExitCode.NO_WORKFLOW,
        WeightsError: ExitCode.MISSING_TOOL,
        MissingToolError: ExitCode.MISSING_TOOL,
        EngineError: ExitCode.SOME_FAILED,
    }
    return next(
        (codes[kind] for kind in type(error).__mro__ if kind in codes), ExitCode.SOME_FAILED
    )
