from __future__ import annotations

from typing import Any

import pytest

from bids_sr.bids.names import parse_name
from bids_sr.bids.selection import Selection, check_filters, why_not
from bids_sr.exceptions import ConfigError

NAME = "sub-01_ses-a_acq-2D_run-01_T1w.nii.gz"


def test_labels_with_and_without_prefix() -> None:
    selection = Selection(participant_label=("sub-01", "01", "2"), session_label=("ses-a", "b"))
    assert selection.subjects == ("01", "2")
    assert selection.sessions == ("a", "b")


@pytest.mark.parametrize(
    "entities",
    [
        {},
        {"acquisition": "2D"},
        {"acquisition": ["3D", "2D"], "session": "a"},
        {"run": 1},
        {"run": "01"},
        {"run": "*", "echo": None},
        {"run": "Query.ANY", "echo": "Query.NONE", "part": "Query.OPTIONAL"},
        {"reconstruction": [None, "norm"]},
        {"datatype": "anat", "suffix": "T1w", "extension": [".nii", ".nii.gz"]},
    ],
)
def test_filters_that_match(entities: dict[str, Any]) -> None:
    selection = Selection(bids_filters={"t1w": entities, "t2w": {"acquisition": "none"}})
    check_filters(selection.bids_filters, selection.modalities)
    assert why_not(parse_name(NAME), selection) is None


@pytest.mark.parametrize(
    ("entities", "reason"),
    [
        ({"acquisition": "3D"}, "acquisition is 2D; the BIDS filter file wants '3D'"),
        ({"run": 2}, "run is 01"),
        ({"run": None}, "run is 01; the BIDS filter file wants None"),
        ({"echo": "*"}, "echo is absent"),
        ({"reconstruction": "norm"}, "reconstruction is absent"),
        ({"acquisition": ["3D", "cor"]}, "acquisition is 2D"),
        ({"suffix": "UNIT1"}, "suffix is T1w"),
    ],
)
def test_filters_that_do_not(entities: dict[str, Any], reason: str) -> None:
    selection = Selection(bids_filters={"t1w": entities})
    check_filters(selection.bids_filters, selection.modalities)
    assert reason in str(why_not(parse_name(NAME), selection))


def test_any_modality_of_the_run_can_be_filtered() -> None:
    check_filters({"mese": {"echo": 1}}, ["MESE"])
    with pytest.raises(ConfigError, match="unknown modality 'mese'"):
        check_filters({"mese": {"echo": 1}}, ["T1w"])


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"bold": {}}, "unknown modality 'bold'; expected one of flair, pdw, t1w, t2w"),
        ({"T1w": {}}, r"unknown modality 'T1w'.*did you mean t1w\?"),
        ({"t1w": {"acq": "2D"}}, "unknown entity 'acq' of t1w"),
        ({"t1w": {"aquisition": "2D"}}, r"did you mean acquisition\?"),
        ({"t1w": "2D"}, "t1w is '2D'; expected an object"),
        ({"t1w": {"run": 1.5}}, "run of t1w is 1.5; expected text"),
        ({"t1w": {"run": [True]}}, "expected text"),
    ],
)
def test_filters_without_effect_are_refused(filters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_filters(filters, [])


@pytest.mark.parametrize("name", ["T1w.nii.gz", "sub-01_x_T1w.nii", "sub-01_desc-x_T1w.nii.gz"])
def test_names_that_are_not_bids(name: str) -> None:
    assert "the file name is not BIDS" in str(why_not(parse_name(name), Selection()))


def test_parsed_name() -> None:
    name = parse_name("sub-01_acq-a+b_space-orig_x_desc-brain_mask.nii.gz")
    assert name.entities == {
        "subject": "01",
        "acquisition": "a+b",
        "space": "orig",
        "desc": "brain",
    }
    assert name.unknown == ("space-orig", "x", "desc-brain")
    assert (name.suffix, name.extension) == ("mask", ".nii.gz")
