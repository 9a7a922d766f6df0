from __future__ import annotations

import io
import logging
import sys

import pytest

from bids_sr.run import console


def test_messages_say_what_they_are_about_and_how_bad_it_is() -> None:
    stream = io.StringIO()
    console.set_up_logging(0, stream=stream)
    logger = logging.getLogger("bids_sr.test")
    logger.info("begun")
    try:
        console.name_messages("sub-01_100%_T1w")
        logger.warning("%d voxels", 3)
    finally:
        console.name_messages(None)
    logger.debug("not shown")
    logging.getLogger("other").info("not shown")
    first, second = (line.partition(" ")[2] for line in stream.getvalue().splitlines())
    assert first == "begun"
    assert second == "sub-01_100%_T1w: warning: 3 voxels"


def test_what_nibabel_mends_is_not_said_without_the_files_name() -> None:
    stream = io.StringIO()
    console.set_up_logging(0, stream=stream)
    logging.getLogger("nibabel.global").error("vox offset too low; setting it")
    assert not stream.getvalue()


@pytest.mark.parametrize(
    ("verbose", "shown"),
    [(0, ["ours"]), (1, ["ours", "theirs"]), (2, ["ours", "theirs", "details"])],
)
def test_verbosity(verbose: int, shown: list[str]) -> None:
    stream = io.StringIO()
    console.set_up_logging(verbose, stream=stream)
    logging.getLogger("bids_sr").info("ours")
    logging.getLogger("other").info("theirs")
    logging.getLogger("bids_sr").debug("details")
    assert [line.partition(" ")[2] for line in stream.getvalue().splitlines()] == shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with console.progress_bar("image", stream) as advance:
        advance(3, 10, "training")
    assert "3/10 training" in stream.getvalue()


def test_a_log_gets_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = [0.0], io.StringIO()
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with console.progress_bar("image", stream) as advance:
        advance(1, 3, "training")  # nothing for the first seconds
        clock[0] = 11.0
        advance(2, 3, "training")
        advance(3, 3, "training")
        clock[0] = 22.0
        advance(5, 0, "fusing")
    lines = stream.getvalue().splitlines()
    assert lines == ["image: 2 of 3, 11 s, training, about 11 s left", "image: 5, 22 s, fusing"]


def test_letters_that_a_terminal_does_not_know_are_spelled_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii", errors="strict"))
    console.set_up_logging(0, stream=io.StringIO())
    sys.stdout.write("sub-é\udcff\n")
    sys.stdout.flush()
    assert shown.getvalue() == b"sub-\\xe9\\udcff\n"


def test_headers_that_nibabel_mends_are_told_with_the_image_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import nibabel as nb

    console.set_up_logging(0)
    header = nb.Nifti1Header()
    header["vox_offset"] = 353
    header["pixdim"][1] = -1
    nb.Nifti1Header(header.binaryblock)
    assert capsys.readouterr().err == ""
