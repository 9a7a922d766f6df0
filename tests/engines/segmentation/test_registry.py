"""The registry: every tool can be asked for, and says early what it lacks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bids_sr.engines.segmentation import (
    SEGMENTATIONS,
    check_segmentations,
    make_segmentation,
)
from bids_sr.engines.segmentation.base import Label, SegmentationTool, table_tsv
from bids_sr.exceptions import ConfigError, MissingToolError


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_every_tool_fulfils_the_contract(name: str) -> None:
    takes_path = name == "nnunet"
    tool = make_segmentation(f"{name}=/model" if takes_path else name, threads=2, seed=3)
    assert isinstance(tool, SegmentationTool)
    assert (tool.name, tool.threads, tool.seed) == (name, 2, 3)
    assert tool.label.isalnum()
    assert tool.text.endswith(". ")
    assert "@" in tool.text
    base, per_megavoxel = tool.memory_gb
    assert base > 0
    assert per_megavoxel > 0


def test_names_are_told_without_importing_a_tool() -> None:
    code = (
        "import sys, bids_sr.engines.segmentation; "
        "print({'numpy', 'torch', 'ants', 'nibabel'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("fast", "found no such tool; expected one of atropos, wmh"),
        ("nnunet", "expected nnunet=PATH"),
        ("atropos=/model", "expected atropos."),
    ],
)
def test_what_is_no_tool_is_refused(tool: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_segmentation(tool)


def test_a_tool_is_asked_for_once() -> None:
    with pytest.raises(ConfigError, match="wmh more than once"):
        check_segmentations(["wmh", "atropos", "wmh"])


def test_a_missing_program_is_told_with_its_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"no program lst .*github.com/CompImg/LST-AI"):
        check_segmentations(["atropos", "lst-ai"])
    with pytest.raises(MissingToolError, match=r"no program run_samseg .*FreeSurfer"):
        check_segmentations(["samseg"])


def test_other_contrasts_are_refused_with_the_reason() -> None:
    tool = make_segmentation("wmh")
    assert tool.why_not("FLAIR") == ""
    assert tool.why_not("T1w") == "wmh is made for FLAIR, not for T1w"


def test_a_label_table_has_the_columns_of_bids() -> None:
    text = table_tsv([Label(index=3, name="white matter", abbreviation="WM", colour="#ffffff")])
    rows = [line.split("\t") for line in text.splitlines()]
    assert rows[0] == ["index", "name", "abbreviation", "color"]
    assert rows[1][:2] == ["0", "background"]
    assert rows[2] == ["3", "white matter", "WM", "#ffffff"]
