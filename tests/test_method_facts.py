"""What is derived from the facts of the methods; the classes are held to them elsewhere."""

from __future__ import annotations

import pytest

from bids_sr.method_facts import METHOD_FACTS, methods_help, methods_that


def test_methods_that_do_the_same_share_their_line_of_help() -> None:
    lines = methods_help().split("; ")
    assert lines[0] == "self: a network trained on the image itself"
    assert "bspline, lanczos, linear: interpolation" in lines


@pytest.mark.parametrize(
    ("parameters", "adapted"),
    [({}, True), ({"adapt": "image"}, True), ({"adapt": "none"}, False)],
)
def test_methods_section_tells_of_an_adaptation_where_there_is_one(
    parameters: dict[str, str], adapted: bool
) -> None:
    text = METHOD_FACTS["finetuned"].methods_text(parameters)
    assert ("was then fine-tuned" in text) == adapted
    assert METHOD_FACTS["linear"].methods_text(parameters).count(".") == 1


def test_facts_do_not_contradict_each_other() -> None:
    assert not methods_that(lambda facts: facts.has_own_model and not facts.takes_model)
    assert not methods_that(lambda facts: facts.reuses_result and not facts.keeps_result)
    assert not methods_that(lambda facts: facts.adaptations and not facts.takes_model)
    assert all(facts.text.endswith(" ") for facts in METHOD_FACTS.values())
