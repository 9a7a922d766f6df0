"""Values to and from the types of fields: there and back, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from bids_sr.plain_values import WrongTypeError, plain, structured


@dataclass(frozen=True)
class Inner:
    factor: float = 1.0


@dataclass(frozen=True)
class Outer:
    inner: Inner
    path: Path | None = None
    words: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    more: Mapping[str, Any] = field(default_factory=dict)


def test_there_and_back(tmp_path: Path) -> None:
    outer = Outer(Inner(2.5), path=tmp_path, words=("a", "b"), more={"x": [1, None]})
    assert plain(outer) == {
        "inner": {"factor": 2.5},
        "path": str(tmp_path),
        "words": ["a", "b"],
        "pair": [1, 2.0],
        "more": {"x": [1, None]},
    }
    assert structured(plain(outer), Outer) == outer


def test_a_whole_number_becomes_a_float_and_a_path_absolute() -> None:
    value = structured(3, float | Literal["native"] | None)
    assert (value, type(value)) == (3.0, float)
    assert structured("a", Path) == Path("a").absolute()
    assert structured([1, 2], tuple[int, float]) == (1, 2.0)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("3", int, "a whole number"),
        (True, float, "a finite number"),
        (float("inf"), float, "a finite number"),
        ("", Path, "a path"),
        ("ab", tuple[str, ...], "a list of texts"),
        ([1], tuple[int, int], "a list of a whole number, a whole number"),
        ("c", Literal["a", "b"] | None, "'a' or 'b'"),
        ([], dict[str, Path], "a table"),
        (1, Inner, "a table"),
    ],
)
def test_another_type_is_refused(value: Any, hint: Any, expected: str) -> None:
    with pytest.raises(WrongTypeError) as caught:
        structured(value, hint)
    assert str(caught.value) == expected
    assert caught.value.value == value


def test_the_item_that_does_not_fit_is_named() -> None:
    with pytest.raises(WrongTypeError, match="a text") as caught:
        structured(["a", 3], tuple[str, ...])
    assert caught.value.value == 3
