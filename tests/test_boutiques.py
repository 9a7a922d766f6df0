"""The Boutiques descriptor: as the parser has it, and usable."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bids_sr.cli.parser import parse_args

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / "boutiques" / "descriptor.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("descriptor", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REPOSITORY / "boutiques" / "bids_sr.json").read_text())
    return content


def test_the_file_is_up_to_date(script: ModuleType, written: dict[str, Any]) -> None:
    assert written == script.descriptor(), "run: python boutiques/descriptor.py"


def test_ids_and_keys_are_unique(written: dict[str, Any]) -> None:
    ids = [entry["id"] for entry in (*written["inputs"], *written["output-files"])]
    keys = [entry["value-key"] for entry in written["inputs"]]
    assert len(set(ids)) == len(ids)
    assert written["command-line"] == " ".join(["bids_sr", *keys])


def test_a_command_line_made_from_it_is_understood(
    written: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {
        "bids_dir": "raw",
        "output_dir": "out",
        "analysis_level": "participant",
        "participant_label": "01 02",
        "slice_thickness": "5",
        "data_consistency": "",
        "sr_method": "bspline",
        "dry_run": "",
    }
    line = written["command-line"]
    for entry in written["inputs"]:
        flag = entry.get("command-line-flag", "")
        value = f"{flag} {values[entry['id']]}" if entry["id"] in values else ""
        line = line.replace(entry["value-key"], value)
    config = parse_args(shlex.split(line)[1:])
    assert config.participant_label == ("01", "02")
    assert (config.slice_thickness, config.sr_method) == (5.0, "bspline")
    assert config.dry_run
    assert config.data_consistency is True
