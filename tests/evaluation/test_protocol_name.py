from __future__ import annotations

import pytest

from bids_sr.evaluation.protocol import Protocol
from bids_sr.evaluation.protocol_name import ProtocolName
from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition


def test_a_name_states_stacks_and_motion() -> None:
    name = ProtocolName.read("5/6+4/4.5sagittal/rect+3coronal@2mm1.5deg")
    assert name.stacks == (
        Acquisition(thickness=5, spacing=6, profile="gaussian"),
        Acquisition(thickness=4, spacing=4.5, profile="rect", slice_axis=0),
        Acquisition(thickness=3, spacing=3, profile="gaussian", slice_axis=1),
    )
    assert (name.shift, name.degrees) == (2, 1.5)
    assert ProtocolName.read("5/6").shift == 0


def test_a_name_states_a_guide() -> None:
    name = ProtocolName.read("5/6sagittal/rect+guide=T1w@5mm5deg")
    assert [stack.slice_axis for stack in name.stacks] == [0]
    assert (name.guide, name.shift, name.degrees) == ("T1w", 5, 5)
    assert ProtocolName.read("5/6+guide=T2w").guide == "T2w"
    assert Protocol(name="5/6+guide=T1w").guide == "T1w"
    assert Protocol(name="5/6").guide == ""


def test_planes_that_the_name_leaves_open_are_those_of_the_option() -> None:
    protocol = Protocol(name="5/6+5/6coronal", slices="sagittal")
    assert [stack.slice_axis for stack in protocol.named().stacks] == [0, 1]
    assert protocol.label == "5/6+5/6coronal sagittal"
    closed = Protocol(name="5/6axial+5/6coronal@0mm3deg", slices="sagittal", noise=0.01)
    assert closed == Protocol(name="5/6axial+5/6coronal@0mm3deg", noise=0.01)
    assert closed.label == "5/6axial+5/6coronal@0mm3deg, noise 1 %"


@pytest.mark.parametrize(
    "name",
    [
        "5/6+",
        "5/6oblique",
        "5/6@2mm2deg",
        "5/6+5/6@2mm",
        "5/6+0/6",
        "5/6+5/6/round",
        "5..5/6",
        "5/6+guide=",
        "5/6+5/6+guide=T1w",
    ],
)
def test_what_is_no_protocol_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected thickness/spacing"):
        Protocol(name=name)
