"""The Boutiques descriptor of ``bids_sr``, written from its parser.

    python boutiques/descriptor.py            writes boutiques/bids_sr.json
    python boutiques/descriptor.py --check    ends with 1 if the file is out of date

Boutiques (https://boutiques.github.io) describes a command line to platforms such as CBRAIN.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bids_sr import __version__
from bids_sr.cli.parser import ANALYSIS_LEVELS, build_parser

TARGET = Path(__file__).with_name("bids_sr.json")
SPENT = {"help", "help_all", "version", "print_completion"}
"""Options that print something and stop."""
FOLDERS = {"work_dir", "weights_dir", "raw_like_dir", "bids_database_dir", "output_dir"}
"""Folders that the tool may have to make: Boutiques checks that a File exists."""
NUMBERS = {int, float}


def descriptor() -> dict[str, Any]:
    """Return the descriptor as plain values, after the schema 0.5 of Boutiques."""
    actions = [
        action
        for action in build_parser()._actions
        if action.dest not in SPENT and action.help != argparse.SUPPRESS
    ]
    inputs = [_input(action) for action in actions]
    return {
        "name": "bids_sr",
        "description": "Super-resolution of thick-slice structural MRI: a BIDS-App",
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": " ".join(["bids_sr", *(entry["value-key"] for entry in inputs)]),
        "tags": {"domain": ["neuroinformatics", "bids", "mri"]},
        "inputs": inputs,
        "output-files": [
            {
                "id": "results",
                "name": "Results",
                "description": "BIDS derivatives and one report per subject",
                "path-template": "[OUTPUT_DIR]",
            }
        ],
        "error-codes": [
            {"code": 1, "description": "some image failed"},
            {"code": 2, "description": "wrong use"},
            {"code": 16, "description": "the dataset is not valid"},
            {"code": 66, "description": "no input"},
            {"code": 73, "description": "cannot write"},
        ],
        "suggested-resources": {"cpu-cores": 2, "ram": 4, "walltime-estimate": 600},
    }


def _input(action: argparse.Action) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": action.dest,
        "name": action.dest.replace("_", " "),
        "value-key": f"[{action.dest.upper()}]",
        "description": (action.help or "").replace("%%", "%"),
        "optional": bool(action.option_strings),
        "type": _type(action),
    }
    if entry["type"] == "Number":
        entry["integer"] = action.type is int
    if action.option_strings:
        entry["command-line-flag"] = next(
            name for name in action.option_strings if name.startswith("--")
        )
    if action.nargs == "+":
        entry["list"] = True
    if action.dest == "analysis_level":
        entry["value-choices"] = list(ANALYSIS_LEVELS)
    elif action.choices is not None and entry["type"] == "String":
        entry["value-choices"] = list(action.choices)
    return entry


def _type(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "Flag"
    if action.type in NUMBERS:
        return "Number"
    return "File" if action.type is Path and action.dest not in FOLDERS else "String"


def text() -> str:
    """Return the content of the file."""
    return json.dumps(descriptor(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file, or say that it is out of date."""
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text(encoding="utf-8") == text() else 1
    TARGET.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
