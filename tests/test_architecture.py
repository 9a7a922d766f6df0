"""The floors of the house, read from the imports.

Every import statement counts, also those inside functions and under
``TYPE_CHECKING``: a lower floor never needs a name of a higher one.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_sr.method_facts import METHOD_FACTS

REPOSITORY = Path(__file__).resolve().parents[1]
MAX_LINES = 400

# room -> what it may import besides itself: rooms, or one module of a room ("bids.derivatives").
MAY_IMPORT = {
    "exceptions": set(),
    "seed": set(),
    "plain_values": set(),
    "data": set(),
    "files": {"exceptions"},
    "compute": {"exceptions", "files"},
    "download": {"exceptions", "files"},
    "published": {"exceptions", "files", "download"},
    "imaging": {"exceptions", "files"},
    "method_facts": set(),
    "records": {"exceptions", "files", "imaging", "method_facts"},
    "method_options": {"exceptions", "method_facts"},
    "config": {"exceptions", "plain_values", "files", "method_facts", "method_options"},
    "sr": {
        "exceptions",
        "files",
        "compute",
        "imaging",
        "records",
        "download",
        "published",
        "method_facts",
    },
    "engines": {"exceptions", "files", "compute", "imaging", "published"},
    "bids": {"exceptions", "files", "imaging", "records", "method_facts"},
    "evaluation": {
        "exceptions",
        "plain_values",
        "files",
        "compute",
        "imaging",
        "sr",
        "engines",
        "records",
        "bids",
    },
    "reports": {"exceptions", "files", "imaging", "records", "sr", "bids"},
    "interfaces": {
        "exceptions",
        "files",
        "compute",
        "imaging",
        "sr",
        "engines",
        "evaluation",
        "reports",
        "records",
        "bids.derivatives",
        "bids.output_sidecars",
    },
    "workflows": {
        "exceptions",
        "interfaces",
        "bids",
        "engines.brain",
        "engines.template",
        "method_facts",
    },
    "run": {
        "exceptions",
        "files",
        "records",
        "compute",
        "config",
        "method_facts",
        "engines",
        "bids",
        "reports",
        "interfaces",
        "workflows",
    },
    "cli": {
        "exceptions",
        "plain_values",
        "files",
        "records",
        "compute",
        "config",
        "method_facts",
        "method_options",
        "published",
        "imaging",
        "sr",
        "engines",
        "bids",
        "evaluation",
        "reports",
        "run",
    },
}
# The stack inside sr: each sub-room and what of sr it may import besides itself.
SR_STACK = {
    "contract": set(),
    "slices": set(),
    "networks": {"contract"},
    "inference": {"contract", "networks"},
    "learning": {"contract", "networks", "inference"},
    "recipes": {"contract", "networks", "inference", "learning"},
    "methods": {"contract", "slices", "networks", "inference", "learning"},
    "registry": {"contract", "slices", "methods"},
    "series": {"contract", "registry"},
    "labels": {"registry"},
    "together": {"contract", "slices", "networks", "inference", "methods", "registry"},
}
NEVER = {
    "plain_values": {"torch", "nipype", "bids", "numpy"},
    "imaging": {"torch", "nipype", "bids"},
    "method_facts": {"torch", "nipype", "bids", "numpy"},
    "method_options": {"torch", "nipype", "bids", "numpy"},
    "config": {"torch", "nipype", "bids"},
    "files": {"torch", "nipype", "bids", "numpy"},
    "records": {"torch", "nipype", "bids", "numpy"},
    "compute": {"nipype", "bids"},
    "download": {"torch", "nipype", "bids", "numpy"},
    "published": {"torch", "nipype", "bids", "numpy"},
    "sr": {"nipype", "bids"},
    "engines": {"nipype", "bids"},
    "bids": {"torch", "nipype"},
    "evaluation": {"nipype"},
    "reports": {"nipype"},
    "workflows": {"torch", "numpy"},
}
ONLY_IN_CLI = {"argparse"}


@dataclass(frozen=True, kw_only=True)
class ImportLine:
    """One imported module and where the statement stands."""

    path: Path
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: imports {self.target}"


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name under which a source file is imported."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] == "workflows":
        parts.insert(0, "bids_sr")
    return ".".join(parts)


def room_of(module: str) -> str:
    """Return the room of a dotted ``bids_sr`` name; the package itself is ``""``."""
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path, root: Path) -> Iterator[ImportLine]:
    """Read every import of a file, with relative ones resolved."""
    package = module_name(path, root).split(".")[:-1]  # ends before __init__ or the module
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        match node:
            case ast.Import(names=names):
                targets = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                base = ".".join([*package[: len(package) - level + 1]] if level else [])
                source = ".".join(part for part in (base, module or "") if part)
                targets = [f"{source}.{alias.name}" for alias in names]
            case ast.Call(func=ast.Name(id="__import__" | "import_module"), args=args):
                targets = [arg.value for arg in args[:1] if isinstance(arg, ast.Constant)]
            case ast.Call(func=ast.Attribute(attr="import_module"), args=args):
                targets = [arg.value for arg in args[:1] if isinstance(arg, ast.Constant)]
            case _:
                continue
        for target in targets:
            yield ImportLine(path=path.relative_to(root), line=node.lineno, target=target)


def sources(root: Path) -> list[Path]:
    """List the package's source files."""
    return sorted([*(root / "bids_sr").rglob("*.py"), *(root / "workflows").rglob("*.py")])


def _arrow_up_in_sr(path: Path, root: Path, statement: ImportLine) -> list[str]:
    """Say what is wrong with an import from one sub-room of ``sr`` to another."""
    here, there = (
        [*name.split("."), "", ""][2] for name in (module_name(path, root), statement.target)
    )
    if path == root / "bids_sr" / "sr" / "__init__.py" or here == there:
        return []
    if there in SR_STACK.get(here, set()):
        return []
    return [f"{statement}; sr.{here} may import of sr only {sorted(SR_STACK.get(here, set()))}"]


def broken_walls(root: Path) -> list[str]:
    """List each import that goes up, sideways or to a library its room never uses."""
    problems = []
    for path in sources(root):
        room = room_of(module_name(path, root))
        if path == root / "bids_sr" / "__init__.py":
            room = "exceptions"  # the lowest floor: imports nothing of ours
        if path == root / "bids_sr" / "__main__.py":
            room = "cli"
        allowed = MAY_IMPORT.get(room)
        if allowed is None:
            problems.append(f"{path.relative_to(root)}:1: room {room!r} stands on no floor")
            continue
        if path == root / "workflows" / "base.py":
            allowed = allowed | {"config", "method_options"}
        for statement in imports_of(path, root):
            library = statement.target.split(".")[0]
            if library != "bids_sr":
                if library in NEVER.get(room, set()) | ONLY_IN_CLI and room != "cli":
                    problems.append(f"{statement}; {room} never uses {library}")
                continue
            target = room_of(statement.target)
            if target == room == "sr":
                problems += _arrow_up_in_sr(path, root, statement)
            if target in ("", room, "__version__", "seed"):  # the seed is for every floor
                continue
            narrow = ".".join(statement.target.split(".")[1:3])
            if target not in allowed and narrow not in allowed:
                problems.append(f"{statement}; {room} may import only {sorted(allowed)}")
    return problems


def test_imports_go_down_only() -> None:
    problems = broken_walls(REPOSITORY)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("file", "statement", "words"),
    [
        (
            "bids_sr/imaging/volume.py",
            "from bids_sr.sr import super_resolve",
            "imports bids_sr.sr",
        ),
        ("bids_sr/sr/inference/fusion.py", "import nipype", "sr never uses nipype"),
        ("bids_sr/sr/inference/fusion.py", "from bids_sr import bids", "imports bids_sr.bids"),
        ("bids_sr/reports/group.py", "from ..evaluation import x", "imports bids_sr.evaluation"),
        (
            "bids_sr/sr/networks/x.py",
            "from bids_sr.sr.methods import base",
            "sr.networks may import",
        ),
        ("bids_sr/interfaces/sr.py", "from bids_sr.bids import layout", "bids_sr.bids.layout"),
        ("bids_sr/interfaces/sr.py", "from bids_sr.config import RunConfig", "bids_sr.config"),
        ("workflows/outputs.py", "from bids_sr.config import RunConfig", "imports bids_sr.config"),
        ("workflows/outputs.py", "import numpy as np", "workflows never uses numpy"),
        ("workflows/outputs.py", "import_module('bids_sr.sr')", "imports bids_sr.sr"),
        ("bids_sr/run/plan.py", "import argparse", "run never uses argparse"),
        ("bids_sr/utils/x.py", "import os", "stands on no floor"),
    ],
)
def test_a_broken_wall_is_named_with_its_line(
    tmp_path: Path, file: str, statement: str, words: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"def late():\n    {statement}\n")

    (problem,) = broken_walls(tmp_path)

    assert problem.startswith(f"{file}:")
    assert words in problem


def questions_about_methods(path: Path) -> list[str]:
    """List the lines that compare a method with a name."""
    questions = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            parts = list(ast.walk(node))
            texts = {str(part.value) for part in parts if isinstance(part, ast.Constant)}
            names = texts | {str(getattr(part, "attr", getattr(part, "id", ""))) for part in parts}
            if texts & set(METHOD_FACTS) and names & {"method", "sr_method", "Method"}:
                questions.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    return questions


def test_no_room_asks_which_method_it_deals_with() -> None:
    """What differs between methods is a fact with a name, see bids_sr/method_facts.py."""
    questions = [line for path in sources(REPOSITORY) for line in questions_about_methods(path)]
    assert not questions, "\n".join(questions)


@pytest.mark.parametrize(
    "statement",
    [
        "if options.sr_method == 'latent': pass",
        "grid = 1 if method != 'none' else 2",
        "flag = self.inputs.method in ('self', 'finetuned')",
        "flag = record.get('Method') == 'none'",
    ],
)
def test_a_question_about_a_method_is_found(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"{statement}\nother = mode == 'none'\n")
    (line,) = questions_about_methods(path)
    assert line.startswith(f"{path}:1: ")


def test_workflow_siblings_import_each_other_relatively() -> None:
    absolute = [
        str(statement)
        for path in sorted((REPOSITORY / "workflows").rglob("*.py"))
        for statement in imports_of(path, REPOSITORY)
        if statement.target.startswith("bids_sr.workflows")
        and "from ." not in path.read_text().splitlines()[statement.line - 1]
    ]
    assert not absolute, "\n".join(absolute)


def test_modules_stay_readable_in_one_go() -> None:
    long = [
        f"{path.relative_to(REPOSITORY)}: {count} lines"
        for path in sources(REPOSITORY)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("bids_sr.cli.parser", {"torch", "nipype", "templateflow", "bids", "numpy"}),
        ("bids_sr.cli.run", {"torch", "nipype", "templateflow", "bids"}),
        ("bids_sr.cli.tools", {"torch", "nipype", "templateflow", "bids"}),
        ("bids_sr.bids", {"torch", "nipype", "templateflow"}),
        ("bids_sr.workflows.base", {"torch", "templateflow"}),
    ],
)
def test_an_import_stays_light(module: str, never: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({never!r} & set(sys.modules)))"
    imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert imported == [], f"import {module} brings in {imported}"
