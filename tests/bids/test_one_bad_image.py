"""One bad image never keeps the others from being planned."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids import AnatImage, Selection, layout, open_layout, plan_images
from bids_sr.exceptions import ConfigError

GOOD = ("sub-01/anat/sub-01_T1w.nii.gz", "sub-03/anat/sub-03_T1w.nii.gz")
BAD = "sub-02/anat/sub-02_T1w.nii.gz"


@pytest.fixture
def three(dataset: Path, add_image: Callable[..., Path]) -> Path:
    for name in (*GOOD, BAD):
        add_image(Path(name).name.split(".")[0], {"SliceThickness": 3.0})
    return dataset


def planned(root: Path) -> dict[str, AnatImage]:
    return {image.relpath: image for image in plan_images(open_layout(root), Selection())}


def check(images: dict[str, AnatImage], words: str, name: str = BAD) -> None:
    assert [images[good].action for good in GOOD] == ["super-resolve"] * 2
    assert images[name].action == "fail"
    assert words in images[name].reason
    assert len(images[name].reason) <= 500
    assert images[name].reason.isprintable()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"SliceThickness": 1' + 400 * "0" + "}", "SliceThickness is inf"),
        ('{"SpacingBetweenSlices": 3, "SliceThickness": -1' + 400 * "0" + "}", "is -inf"),
        ('{"SliceThickness": 1e400}', "SliceThickness is inf"),
        ('{"SliceThickness": 1' + 5000 * "0" + "}", "SliceThickness is inf"),
        ('{"SliceThickness": "' + 10**6 * "x" + '"}', "SliceThickness is 'xxx"),
        ('{"SliceThickness": 5, "a": ' + 400 * "[" + 400 * "]" + "}", "levels deep"),
        (10**5 * '{"a":' + "1" + 10**5 * "}", "levels deep"),
        (10**5 * "[", "levels deep"),
        ("[1, 2]", "it holds a list"),
        ("5", "it holds a int"),
        ("null", "it holds a NoneType"),
        ("", "cannot be read"),
        ('{"SliceThickness": "\\ud800"}', "SliceThickness is '?'"),
    ],
)
def test_a_sidecar_costs_its_own_image_at_most(three: Path, text: str, words: str) -> None:
    (three / BAD.replace(".nii.gz", ".json")).write_text(text)
    check(planned(three), words)


@pytest.mark.parametrize(
    "field", ["SeriesDescription", "BodyPartExamined", "Manufacturer", "\\udcff"]
)
def test_half_a_letter_in_a_sidecar_costs_nothing(three: Path, field: str) -> None:
    path = three / BAD.replace(".nii.gz", ".json")
    path.write_text(f'{{"SliceThickness": 5, "{field}": "brain \\ud800"}}')
    image = planned(three)[BAD]
    assert image.action == "super-resolve"
    json.dumps(image.metadata, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "error",
    [
        RecursionError("deep"),
        MemoryError(),
        OverflowError("large"),
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
        KeyError("x"),
        OSError(errno.EACCES, "Permission denied", BAD),
        OSError(errno.EIO, "Input/output error", BAD),
        FileNotFoundError(errno.ENOENT, "No such file or directory", BAD),
    ],
)
def test_whatever_goes_wrong_with_one_image_is_its_own(
    three: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As root reads everything, what the system would refuse is simulated."""
    right = layout.check_input

    def refuse(path: Path) -> Any:
        if path.name == Path(BAD).name:
            raise error
        return right(path)

    monkeypatch.setattr(layout, "check_input", refuse)
    check(planned(three), error.strerror if isinstance(error, OSError) else type(error).__name__)


def test_a_wrong_option_is_not_an_images_fault(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Any:
        raise ConfigError("--option")

    monkeypatch.setattr(layout, "check_input", refuse)
    with pytest.raises(ConfigError):
        planned(three)


@pytest.mark.parametrize("place", ["sub-04", "sub-04/anat"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_folder_that_is_a_link_to_nowhere_has_its_line(
    three: Path, place: str, target: str
) -> None:
    folder = three / place
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(folder.name if target == "itself" else target)
    check(planned(three), "the folder cannot be listed", place)


@pytest.mark.parametrize(
    "name",
    [b"sub-02_acq-\xff_T1w.nii.gz", b"sub-02_acq-a\nb_T1w.nii.gz", b"sub-02_\x1b[31m_T1w.nii"],
)
def test_a_name_that_cannot_be_written_has_its_line(three: Path, name: bytes) -> None:
    (three / BAD).rename((three / BAD).with_name(os.fsdecode(name)))
    images = planned(three)
    (strange,) = [image for relpath, image in images.items() if relpath not in GOOD]
    assert [images[good].action for good in GOOD] == ["super-resolve"] * 2
    assert strange.action in ("skip", "fail")
    assert (strange.relpath + strange.reason).isprintable()
    assert strange.reason
