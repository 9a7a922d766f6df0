"""Progress that is told now and then."""

from __future__ import annotations

import pytest

from bids_sr.compute import progress
from bids_sr.compute.progress import in_short, throttled, with_time_left


def test_calls_within_the_time_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    report = throttled(lambda *call: calls.append(call), 10.0)

    for seconds in (1.0, 9.0, 4.0, 6.5):
        clock[0] += seconds
        report(int(clock[0]), 0, "")

    assert [step for step, _, _ in calls] == [110, 120]


def test_time_left_is_that_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    report = with_time_left(lambda step, total, message: lines.append(message))

    for seconds, step, total, message in (
        (0.0, 0, 600, "training"),
        (1.0, 10, 600, "training"),  # too early to say
        (30.0, 300, 600, "training"),
        (60.0, 600, 600, "training"),  # done
        (61.0, 1, 100, "applying"),  # another stage, as fast as it is
        (71.0, 11, 100, "applying"),
        (72.0, 0, 0, "agreement"),
        (90.0, 0, 0, "agreement"),
        (91.0, 5, 100, "again"),
        (95.0, 2, 100, "from the start"),
    ):
        clock[0] = seconds
        report(step, total, message)

    assert lines == [
        "training",
        "training",
        "training, about 30 s left",
        "training",
        "applying",
        "applying, about 89 s left",
        "agreement",
        "agreement",
        "again",
        "from the start",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99.0, "99 s"), (100.0, "2 min"), (5969.0, "99 min"), (7200.0, "2.0 h")],
)
def test_durations_in_short(seconds: float, words: str) -> None:
    assert in_short(seconds) == words
