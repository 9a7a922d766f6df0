"""Progress that is told now and then."""

from __future__ import annotations

import pytest

from bids_sr.compute import progress
from bids_sr.compute.progress import throttled


def test_calls_within_the_time_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    report = throttled(lambda *call: calls.append(call), 10.0)

    for seconds in (1.0, 9.0, 4.0, 6.5):
        clock[0] += seconds
        report(int(clock[0]), 0, "")

    assert [step for step, _, _ in calls] == [110, 120]
