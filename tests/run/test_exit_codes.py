from __future__ import annotations

import pytest

from bids_sr import exceptions
from bids_sr.run.exit_codes import code_of

CODES = {
    exceptions.BidsSrError: 1,
    exceptions.EngineError: 1,
    exceptions.ConfigError: 2,
    exceptions.AcquisitionError: 65,
    exceptions.InputDataError: 65,
    exceptions.NoInputError: 66,
    exceptions.MachineError: 70,
    exceptions.StepKilledError: 70,
    exceptions.OutputError: 73,
    exceptions.MissingToolError: 127,
    exceptions.WeightsError: 127,
}
"""What users are promised; a new error needs a line here."""


@pytest.mark.parametrize("error", sorted(exceptions.family(), key=str))
def test_every_error_of_ours_has_its_exit_code(error: type[exceptions.BidsSrError]) -> None:
    assert code_of(error("x")) == CODES[error]
