from __future__ import annotations

import errno

import pytest

from bids_sr.exceptions import LONGEST, InputDataError, counted, in_words, printable


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputDataError("a.nii: found\n 3\tvolumes"), "a.nii: found 3 volumes"),
        (OSError(errno.EIO, "Input/output error", "a.nii"), "a.nii: Input/output error"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError("odd"), "OSError: odd"),
        (MemoryError(), "MemoryError"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError("a\udcffb\x1b[31m"), r"ValueError: a\udcffb\x1b[31m"),
    ],
)
def test_an_error_is_one_line_that_can_be_written(error: Exception, words: str) -> None:
    assert in_words(error) == words


def test_a_long_error_is_cut() -> None:
    assert len(in_words(ValueError("x" * 10**6))) == LONGEST


def test_letters_stay_and_halves_of_letters_are_spelled_out() -> None:
    assert printable("sub-é 日") == "sub-é 日"
    assert printable("sub-\udcff\n\x07") == r"sub-\udcff\n\x07"


def test_only_one_of_a_thing_has_no_s() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
