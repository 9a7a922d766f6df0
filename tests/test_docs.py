"""The check of the documentation finds what it promises to find."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bids_sr import evaluation, exceptions, imaging, sr
from bids_sr.cli import parser as run_parser
from bids_sr.cli import tools
from bids_sr.method_facts import METHOD_FACTS, methods_that

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIONS = {"bids_sr": {"--dry-run"}, "bids_sr-tools demo": {"--seed"}}


def test_a_docstring_that_names_what_is_gone_is_a_fault(check: ModuleType, page: Path) -> None:
    root = page.parents[1]
    source = root / "bids_sr" / "room" / "other.py"
    good = ":mod:`.noun`, :meth:`.Child.act`, :func:`do_it`, docs/other.md"
    source.write_text(f'"""{good}\n\n:meth:`.Child.gone` :class:`Gone` docs/gone.md"""\n')
    checker = check.Checker(root, OPTIONS)
    checker.check_source(source)
    assert checker.faults == [
        "bids_sr/room/other.py:3: docs/gone.md: no such file",
        "bids_sr/room/other.py:3: Child has no gone",
        "bids_sr/room/other.py:3: Gone: the code has no such name",
    ]


ENTRY = re.compile(r"(?=^[A-Z][\w-]+(?: et al\.| and [A-Z]\w+)? (?:19|20)\d\d, )", re.MULTILINE)
# A year, a title in sentence case, and where to find the paper.
COMPLETE = re.compile(
    r".*?(?:19|20)\d\d, [^,]*\b[a-z]+ [a-z]+.*(?:doi:10\.\d+/\S|https://)", re.DOTALL
)


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_check", REPOSITORY / "docs" / "check.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text("demo:\n\ttrue\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# A heading, twice\n")
    (tmp_path / "bids_sr" / "room").mkdir(parents=True)
    (tmp_path / "bids_sr" / "room" / "noun.py").write_text(CODE)
    return tmp_path / "docs" / "page.md"


CODE = """
from foreign import Base

LIMIT_GB = 3

class Parent:
    width: int = 1

class Child(Parent):
    def act(self, how_far=0):
        self.depth = {"FallbackReason": 1}

class Stranger(Base):
    pass

def do_it(): ...
"""

GOOD = """# Page

[other](other.md#a-heading-twice) and [the web](https://example.org), `make demo`, `--dry-run`,
`docs/other.md`, `bids_sr-tools demo DIR --seed 1`.

`bids_sr.room.noun`, `bids_sr.room.noun.Child.act`, `bids_sr/room/noun.py`, `noun.py`,
`noun.do_it()`, `do_it(1, 2)`, `Child.act()`, `Child.width`, `Child.depth`, `Stranger.anything`,
`LIMIT_GB`, `how_far=2`, `FallbackReason`, `numpy.anything`, `sub-01_T1w.nii.gz`, `len()`.

```bash
docker run --rm -v /a:/b bids_sr /data /out participant \\
    --dry-run
make demo VENV=/tmp/x   # --no-option
```

```python
from bids_sr.exceptions import InputDataError
```
"""


def test_a_right_page_has_no_fault(check: ModuleType, page: Path) -> None:
    page.write_text(GOOD)
    checker = check.Checker(page.parents[1], OPTIONS)
    checker.check_page(page)
    assert checker.faults == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("`make gone`", "docs/page.md:2: make gone: no such target"),
        ("`--gone`", "docs/page.md:2: --gone: no command has this option"),
        ("`docs/gone.md`", "docs/page.md:2: docs/gone.md: no such file"),
        ("`bids_sr-tools gone`", "docs/page.md:2: bids_sr-tools gone: no such command"),
        ("`bids_sr-tools demo --gone`", "bids_sr-tools demo has no option --gone"),
        ("```bash\nbids_sr a b \\\n  --gone\n```", "docs/page.md:3: bids_sr has no option --gone"),
        ("```bash\nmake gone\n```", "docs/page.md:3: make gone: no such target"),
        (
            "```python\nimport os\nfrom bids_sr.exceptions import Gone\n```",
            "docs/page.md:4: bids_sr.exceptions has no Gone",
        ),
        (
            "```python\nfrom bids_sr.gone import x\n```",
            "docs/page.md:3: No module named 'bids_sr.gone'",
        ),
        ("see docs/gone.md for more", "docs/page.md:2: docs/gone.md: no such file"),
        ("```bash\npytest tests/gone.py\n```", "docs/page.md:3: tests/gone.py: no such file"),
        ("`gone.py`", "docs/page.md:2: gone.py: no such file"),
        ("`gone()`", "docs/page.md:2: gone(): no such function or class"),
        ("`write_gone(path)`", "docs/page.md:2: write_gone(): no such function or class"),
        ("`GoneClass`", "docs/page.md:2: GoneClass: the code has no such name"),
        ("`gone_option=3`", "docs/page.md:2: gone_option: the code has no such name"),
        ("`GONE_GB`", "docs/page.md:2: GONE_GB: the code has no such name"),
        ("`Child.gone()`", "docs/page.md:2: Child has no gone"),
        ("`noun.gone`", "docs/page.md:2: noun has no gone"),
        ("`bids_sr.gone.x`", "docs/page.md:2: bids_sr.gone.x: no such module"),
        ("`bids_sr.room.noun.gone`", "docs/page.md:2: bids_sr.room.noun has no gone"),
        ("`bids_sr.room.noun.Child.gone`", "docs/page.md:2: Child has no gone"),
        ("```bash\nmake demo", "a code block is not closed"),
    ],
)
def test_a_fault_is_named_with_its_line(
    check: ModuleType, page: Path, text: str, fault: str
) -> None:
    page.write_text(f"# Page\n{text}\n")
    checker = check.Checker(page.parents[1], OPTIONS)
    checker.check_page(page)
    assert len(checker.faults) == 1
    assert fault in checker.faults[0]


def references_in(docstring: str) -> list[str]:
    """Split the References section of a docstring into its entries."""
    _, heading, after = docstring.partition("\nReferences\n----------\n")
    section = after.split("\n\n")[0]
    return [entry.strip() for entry in ENTRY.split(section) if entry.strip()] if heading else []


def docstrings(path: Path) -> list[str]:
    """Read the docstrings of a file."""
    places = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [ast.get_docstring(node) or "" for node in nodes if isinstance(node, places)]


@pytest.mark.parametrize(
    ("entry", "complete"),
    [
        ("Fonov et al. 2011, NeuroImage 54:313-327, doi:10.1016/j.neuroimage.2010.07.033.", False),
        ("Immerkaer 1996, Fast noise variance estimation, doi:10.1006/cviu.1996.0060.", True),
        ("Immerkaer 1996, Fast noise variance estimation, CVIU 64:300-302.", False),
        ("Wang et al., Fast noise variance estimation, doi:10.1006/cviu.1996.0060.", False),
    ],
)
def test_a_reference_has_a_year_a_title_and_an_address(entry: str, complete: bool) -> None:
    assert bool(COMPLETE.match(entry)) == complete


def test_references_of_docstrings_are_complete() -> None:
    sources = sorted((REPOSITORY / "bids_sr").rglob("*.py"))
    entries = [
        (path.relative_to(REPOSITORY), entry)
        for path in sources
        for text in docstrings(path)
        for entry in references_in(text)
    ]
    assert len(entries) > 30
    assert not [reference for reference in entries if not COMPLETE.match(reference[1])]


def test_every_method_is_where_users_look_for_it() -> None:
    command_line = (REPOSITORY / "docs" / "reference" / "command-line.md").read_text("utf-8")
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    table = readme.split("`--sr-method` selects")[1].split("\n\n")[1]
    (row,) = (line for line in command_line.splitlines() if line.startswith("| `--sr-method`"))
    assert f"`{{{','.join(METHOD_FACTS)}}}`" in row
    assert not [name for name in METHOD_FACTS if f"`{name}`" not in row]
    missing = [
        name for name in methods_that(lambda m: not m.keeps_grid) if f"`{name}`" not in table
    ]
    assert not missing, f"not in the table of methods in README.md: {', '.join(missing)}"


def test_the_page_of_the_architecture_names_every_room() -> None:
    spec = importlib.util.spec_from_file_location(
        "architecture", REPOSITORY / "tests" / "test_architecture.py"
    )
    assert spec
    assert spec.loader
    walls = importlib.util.module_from_spec(spec)
    sys.modules["architecture"] = walls
    spec.loader.exec_module(walls)
    page = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    picture, stack, *_ = re.findall(r"```\n(.*?)```", page, flags=re.DOTALL)
    missing = [room for room in walls.MAY_IMPORT if room != "data" and room not in picture]
    missing += [room for room in walls.SR_STACK if room not in stack]
    assert not missing


def test_the_page_of_the_library_has_every_public_name() -> None:
    """The site takes the text from the docstrings, and fails where a name is gone."""
    page = (REPOSITORY / "docs" / "reference" / "library.md").read_text("utf-8")
    listed = re.findall(r"^::: ([\w.]+)$", page, flags=re.MULTILINE)
    names = {name.rpartition(".")[2] for name in listed}
    public = {name for room in (sr, imaging, evaluation) for name in room.__all__}
    errors = [e for e in exceptions.family() if e.__module__ == exceptions.__name__]
    public |= {error.__name__ for error in errors}
    assert public - names == set()
    assert [name for name in listed if listed.count(name) > 1] == []


def commands(parser: argparse.ArgumentParser, name: str) -> dict[str, argparse.ArgumentParser]:
    """Map the name of a command and of its subcommands to their parsers."""
    found = {name: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, sub in action.choices.items():
                found |= commands(sub, f"{name} {word}")
    return found


def section_of(page: str, name: str) -> str:
    """Return what the reference says of one command."""
    main, tools_part = page.split("\n## `bids_sr-tools`\n")
    if name == "bids_sr":
        return main
    opening, *sections = tools_part.split("\n### ")
    word = name.removeprefix("bids_sr-tools").strip()
    own = [s for s in sections if re.search(rf"\b{word}`", s.splitlines()[0])] if word else []
    assert len(own) == bool(word), f"{name} has {len(own)} sections"
    return "\n".join([opening, *own])


@pytest.mark.parametrize(
    ("name", "parser"),
    [
        *commands(run_parser.build_parser(), "bids_sr").items(),
        *commands(tools.build_parser(), "bids_sr-tools").items(),
    ],
)
def test_every_option_of_a_command_is_in_the_reference(
    name: str, parser: argparse.ArgumentParser
) -> None:
    page = (REPOSITORY / "docs" / "reference" / "command-line.md").read_text("utf-8")
    section = section_of(page, name)
    options = {option for action in parser._actions for option in action.option_strings}
    assert {option for option in options if f"`{option}`" not in section} <= {"-h"}
