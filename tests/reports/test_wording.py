"""Numbers and names as a reader wants to see them."""

from __future__ import annotations

import doctest
import math

import pytest

from bids_sr.reports import wording


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-12.5, "−12.5"),
        (0.8312, "0.8312"),
        (99999.6, "100,000"),
        (12, "12"),
        (math.nan, "–"),
        (math.inf, "–"),
        ("x", "–"),
        (True, "–"),
    ],
)
def test_number(value: object, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20177, "20177"),
        (True, "yes"),
        ([], "–"),
        ([4, 4, 1], "4, 4, 1"),
        (list(range(99)), "99 values"),
        ({"A": 1, "TimeSeconds": 2.5}, "a: 1; time (s): 2.5"),
    ],
)
def test_value_of_a_record(value: object, text: str) -> None:
    assert wording.value_text(value) == text


def test_sizes_and_spans() -> None:
    assert wording.sizes([320, 320, 36]) == "320 × 320 × 36"
    assert wording.sizes([0.71875, 0.71875, 4.0], "mm") == "0.719 × 0.719 × 4 mm"
    assert wording.span([-1.5, 1204.0]) == "−1.5 to 1,204"
    assert wording.sizes(None) == wording.span([1]) == wording.span("ab") == "–"


def test_record_is_laid_out_one_level_deep() -> None:
    record = {"Method": "self", "Network": {"Blocks": 8, "Layers": {"A": 1}}, "Empty": {}}
    assert list(wording.record_lines(record)) == [
        ("Method", "self"),
        ("Network: blocks", "8"),
        ("Network: layers", "a: 1"),
        ("Empty", "–"),
    ]
    assert list(wording.record_lines(None)) == []
