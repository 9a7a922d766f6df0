"""The names of this repository's code, read from its source, to hold the documentation against.

A symbol is a module, class, function, constant, field or argument of ours, or a word that the
code writes (a key of a sidecar, a column of a table, an environment variable).  Names of other
packages are not known here: a dotted name that starts with none of ours is left alone.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from pathlib import Path

CODE = ("bids_sr", "workflows", "tests", "benchmarks", "docs", "container", "requirements")
DATA = ("json", "toml", "j2", "bib")
IDENTIFIER = r"[A-Za-z_]\w*"
WORD = re.compile(IDENTIFIER)
DOTTED = re.compile(rf"{IDENTIFIER}(?:\.{IDENTIFIER})+")
CALL = re.compile(rf"((?:{IDENTIFIER}\.)*{IDENTIFIER})\(.*\)")
ASSIGNED = re.compile(rf"({IDENTIFIER})=\S+")
SCRIPT = re.compile(r"[\w./-]+\.py")
# What a name of ours looks like: CamelCase, a capital, or an underscore.
TYPICAL = re.compile(r"[A-Z][a-z]+\w*|_?[a-z0-9]+_\w+|[A-Z0-9]+_[A-Z0-9_]+")
# Names of other projects that look like ours: argparse, HTCondor, BABS.
FOREIGN = {"add_argument", "Condor", "bids_app_args"}
FILE_ENDINGS = {"bib", "cff", "gz", "html", "js", "json", "lock", "log", "md", "mgz", "nii"}
FILE_ENDINGS |= {
    "png",
    "safetensors",
    "sbatch",
    "sh",
    "sif",
    "svg",
    "tfm",
    "toml",
    "tsv",
    "txt",
    "yaml",
    "yml",
}


class Symbols:
    """The names that the code of a repository defines or writes."""

    def __init__(self, root: Path) -> None:
        self.files = {str(p.relative_to(root)) for d in CODE for p in (root / d).rglob("*.py")}
        self.modules: dict[str, set[str]] = {}
        self.members: dict[str, set[str]] = defaultdict(set)
        self.bases: dict[str, set[str]] = defaultdict(set)
        self.defined = set(dir(builtins))
        self.words: set[str] = set()
        for file in sorted(self.files):
            self._read(file, ast.parse((root / file).read_text(encoding="utf-8")))
        self.words.update(*self.modules.values(), *self.members.values())
        data = [path for ending in DATA for path in (root / "bids_sr").rglob(f"*.{ending}")]
        for path in [*data, *root.glob("Dockerfile"), *root.glob("Makefile")]:
            self.words.update(WORD.findall(path.read_text(encoding="utf-8")))

    def _read(self, file: str, tree: ast.Module) -> None:
        """Take in the names of one file."""
        module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if module.startswith("workflows"):
            module = f"bids_sr.{module}"
        self.modules[module] = _names_in(tree.body)
        for node in ast.walk(tree):
            match node:
                case ast.ClassDef():
                    self.defined.add(node.name)
                    self.members[node.name] |= _names_in(node.body) | _attributes_in(node)
                    self.bases[node.name] |= {ast.unparse(base) for base in node.bases}
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self.defined.add(node.name)
                case ast.arg(arg=word) | ast.keyword(arg=str(word)):
                    self.words.add(word)
                case ast.Constant(value=str(word)) if WORD.fullmatch(word):
                    self.words.add(word)

    def missing(self, span: str) -> str | None:
        """Say which name in a code span does not exist; None if all is well."""
        if SCRIPT.fullmatch(span):
            suffix = f"/{span.removeprefix('/')}"
            known = any(f"/{file}".endswith(suffix) for file in self.files)
            return None if known else f"{span}: no such file"
        if call := CALL.fullmatch(span):
            name = call[1]
            if "." in name:
                return self._missing_dotted(name)
            known = len(name) < 3 or name in self.defined
            return None if known else f"{name}(): no such function or class"
        if DOTTED.fullmatch(span):
            return self._missing_dotted(span)
        name = found[1] if (found := ASSIGNED.fullmatch(span)) else span
        if TYPICAL.fullmatch(name) and not self._known(name):
            return f"{name}: the code has no such name"
        return None

    def missing_reference(self, name: str) -> str | None:
        """Say which name in a cross-reference (Sphinx role) does not exist."""
        if "." in name:
            known = any(f".{module}".endswith(f".{name}") for module in self.modules)
            return None if known else self._missing_dotted(name)
        known = self._known(name) or any(m.split(".")[-1] == name for m in self.modules)
        return None if known else f"{name}: the code has no such name"

    def _known(self, name: str) -> bool:
        """Say whether the code defines or writes a name."""
        return name in self.defined or name in self.words or name in FOREIGN

    def _missing_dotted(self, dotted: str) -> str | None:
        """Follow a dotted name from one of our packages, modules or classes."""
        first, second, *_ = parts = dotted.split(".")
        if parts[-1] in FILE_ENDINGS:
            return None
        if first in self.members:
            known = self._has_member(first, second)
            return None if known else f"{first} has no {second}"
        if first == "bids_sr":
            return self._missing_from_package(parts)
        modules = [names for m, names in self.modules.items() if m.split(".")[-1] == first]
        if modules and not any(second in names for names in modules):
            return f"{first} has no {second}"
        return None

    def _missing_from_package(self, parts: list[str]) -> str | None:
        """Follow a name that is written out from ``bids_sr`` on."""
        for end in range(len(parts), 0, -1):
            module, rest = ".".join(parts[:end]), parts[end:]
            if module not in self.modules:
                continue
            if rest and rest[0] not in self.modules[module]:
                return f"{module} has no {rest[0]}"
            if len(rest) > 1 and not self._has_member(rest[0], rest[1]):
                return f"{rest[0]} has no {rest[1]}"
            return None
        return f"{'.'.join(parts)}: no such module"

    def _has_member(self, class_name: str, member: str) -> bool:
        """Say whether a class of ours has a member, or may inherit it from a foreign class."""
        if class_name not in self.members:
            return class_name not in ("object", "Protocol", "ABC")
        bases = self.bases[class_name]
        return member in self.members[class_name] or any(
            self._has_member(base.split("[")[0].split(".")[-1], member) for base in bases
        )


def _names_in(body: list[ast.stmt]) -> set[str]:
    """List what the statements of a module or class define or import."""
    names: set[str] = set()
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign():
                names |= {
                    n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)
                }
            case ast.Import() | ast.ImportFrom():
                names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            case ast.If() | ast.Try():
                names |= _names_in(node.body)
    return names


def _attributes_in(node: ast.ClassDef) -> set[str]:
    """List the attributes that a class sets on itself."""
    return {
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute)
        and isinstance(n.ctx, ast.Store)
        and ast.unparse(n.value) == "self"
    }
