"""Check that what the documentation names exists.

Files of the repository, make targets, options and subcommands of both commands, the imports of
Python examples, and names of our code (`symbols.py`).  In the source, files and cross-references
of docstrings.  Prints one line for each fault: ``file:line: what``.  Links and their anchors are
checked by `make site`.  It does not judge whether the text is true.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from symbols import Symbols

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("bids_sr/", "workflows/", "tests/", "docs/", "benchmarks/", "requirements/", "container/")
SOURCES = ("bids_sr", "workflows", "benchmarks")
PATH = re.compile(rf"(?<![\w/.:-])(?:{'|'.join(ROOMS)})[\w./*-]*[\w/*](?![\w<-])")

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
ROLE = re.compile(r":(?:mod|func|class|meth|data|attr):`~?\.?([\w.]+)`")
SPAN = re.compile(r"`([^`]+)`")
FENCE = re.compile(r"^```(\w*)")
OPTION = re.compile(r"^--[a-z][a-z-]+$")
WRITTEN_LATER = "container/opt/"  # by the reader
# Of Docker, Podman, Apptainer: named beside ours on the pages about containers.
ENGINE_OPTIONS = {
    *("--cleanenv", "--containall", "--fakeroot", "--gpus", "--network", "--no-home", "--nv"),
    *("--tmpfs", "--user"),
}


def pages(root: Path) -> list[Path]:
    """List the pages of a repository."""
    folders = [root / "docs", root / "benchmarks"]
    pages = [page for folder in folders for page in sorted(folder.rglob("*.md"))]
    return [root / "README.md", root / "CHANGES.md", root / "CONTRIBUTING.md", *pages]


def sources(root: Path) -> list[Path]:
    """List the source files whose docstrings are checked."""
    return sorted(p for room in SOURCES for p in (root / room).rglob("*.py"))


def command_options() -> dict[str, set[str]]:
    """Read the options of ``bids_sr``, each ``bids_sr-tools`` subcommand, and the benchmarks."""
    from bids_sr.cli import parser, tools

    options = {"bids_sr": set(parser.build_parser()._option_string_actions)}
    for action in tools.build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                options[f"bids_sr-tools {name}"] = set(sub._option_string_actions)
    scripts = (REPOSITORY / "benchmarks").rglob("*.py")
    text = "".join(script.read_text(encoding="utf-8") for script in scripts)
    return {**options, "benchmarks": set(re.findall(r"\"(--[a-z][a-z-]+)\"", text))}


def make_targets(root: Path) -> set[str]:
    """Read the targets of the Makefile."""
    text = (root / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, flags=re.MULTILINE))


def commands_in(block: list[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """Join continued lines of a shell block and split them into words."""
    joined, start = "", 0
    for number, line in block:
        start = start or number
        joined += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        words = shlex.split(joined, comments=True)
        if words:
            yield start, words
        joined, start = "", 0


class Checker:
    """Collects the faults of a set of pages."""

    def __init__(self, root: Path, options: dict[str, set[str]]) -> None:
        self.root = root
        self.options = options
        self.targets = make_targets(root)
        self.symbols = Symbols(root)
        self.faults: list[str] = []

    def fault(self, page: Path, line: int, text: str) -> None:
        """Note a fault."""
        self.faults.append(f"{page.relative_to(self.root)}:{line}: {text}")

    def check_page(self, page: Path) -> None:
        """Check one page, text and code blocks apart."""
        language, block = None, []
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            fence = FENCE.match(line)
            if fence and language is None:
                language, block = fence[1], []
            elif fence:
                self.check_block(page, language or "", block)
                language = None
            elif language is not None:
                block.append((number, line))
            else:
                self.check_text(page, number, line)
        if language is not None:
            self.fault(page, number, "a code block is not closed")

    def check_source(self, source: Path) -> None:
        """Check the files and cross-references that a source file names."""
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
            self.check_paths(source, number, line)
            for name in ROLE.findall(line):
                if missing := self.symbols.missing_reference(name):
                    self.fault(source, number, missing)

    def check_text(self, page: Path, number: int, line: str) -> None:
        """Check paths and code spans of one line."""
        self.check_paths(page, number, LINK.sub("", line))
        for span in SPAN.findall(line):
            words = span.split()
            if span.startswith(ROOMS):
                continue
            elif words[0] in ("make", "bids_sr", "bids_sr-tools"):
                self.check_command(page, number, words)
            elif OPTION.match(words[0]) and not self.known(words[0]):
                self.fault(page, number, f"{words[0]}: no command has this option")
            elif missing := self.symbols.missing(span):
                self.fault(page, number, missing)

    def check_paths(self, page: Path, number: int, line: str) -> None:
        """Check the files of the repository that a line names, in code spans or not."""
        for path in PATH.findall(line):
            if not path.startswith(WRITTEN_LATER) and not list(self.root.glob(path.rstrip("/"))):
                self.fault(page, number, f"{path}: no such file")

    def known(self, option: str) -> bool:
        """Say whether a command has an option."""
        return option in ENGINE_OPTIONS or any(option in o for o in self.options.values())

    def check_block(self, page: Path, language: str, block: list[tuple[int, str]]) -> None:
        """Check the commands of a shell block or the imports of a Python block."""
        if language in ("bash", "sh", "console"):
            for number, words in commands_in(block):
                self.check_command(page, number, words)
            for number, line in block:
                self.check_paths(page, number, line)
        elif language == "python":
            start = block[0][0]
            for node in ast.walk(ast.parse("\n".join(line for _, line in block))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bids_sr"):
                    try:
                        module = importlib.import_module(node.module or "")
                    except ImportError as error:
                        self.fault(page, start + node.lineno - 1, str(error))
                        continue
                    for alias in node.names:
                        if not hasattr(module, alias.name):
                            missing = f"{node.module} has no {alias.name}"
                            self.fault(page, start + node.lineno - 1, missing)

    def check_command(self, page: Path, number: int, words: list[str]) -> None:
        """Check a make target, or the options after one of our commands or images."""
        if words[0] == "make":
            for word in words[1:2]:
                if "=" not in word and word not in self.targets:
                    self.fault(page, number, f"make {word}: no such target")
            return
        ours = [
            i
            for i, w in enumerate(words)
            if w.split("/")[-1].removesuffix(".sif") in ("bids_sr", "bids_sr-tools")
        ]
        if not ours or words[0] in ("git", "cd", "sbatch") or "build" in words[:2]:
            return
        first = ours[-1]
        name, rest = words[first].split("/")[-1].removesuffix(".sif"), words[first + 1 :]
        if name == "bids_sr-tools":
            if not rest:
                return
            name, rest = f"{name} {rest[0]}", rest[1:]
        if name not in self.options:
            self.fault(page, number, f"{name}: no such command")
            return
        for word in rest:
            option = word.split("=")[0]
            if OPTION.match(option) and option not in self.options[name]:
                self.fault(page, number, f"{name} has no option {option}")


def main() -> int:
    """Check all pages; 1 if there is a fault."""
    checker = Checker(REPOSITORY, command_options())
    for page in pages(REPOSITORY):
        checker.check_page(page)
    for source in sources(REPOSITORY):
        checker.check_source(source)
    print(*checker.faults, sep="\n")
    print(f"{len(pages(REPOSITORY))} pages, {len(checker.faults)} faults")
    return int(bool(checker.faults))


if __name__ == "__main__":
    sys.exit(main())
