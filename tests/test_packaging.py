"""What an installation holds and how fast it answers."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
COMMANDS = ("bids_sr", "bids_sr-tools")
# Comes with a package that is declared, and is driven only through it.
BROUGHT_ALONG = {"nnunetv2": "HD_BET's own predictor", "torchvision": "piq's networks"}
# Declared, and not imported by us.
NEEDED_BY_OTHERS = {
    "bids-validator-deno": "a program, not a library",
}


def source_folders() -> set[str]:
    """List the dotted names of all folders with code or data."""
    names = set()
    for top, prefix in (("bids_sr", "bids_sr"), ("workflows", "bids_sr.workflows")):
        for path in (REPOSITORY / top).rglob("*.py"):
            relative = path.parent.relative_to(REPOSITORY / top).parts
            names.add(".".join((prefix, *relative)))
    return names


def test_every_folder_is_in_the_package_list() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == source_folders()


def third_party_imports() -> dict[str, str]:
    """Map every imported library that is not ours nor Python's to one place that imports it."""
    places: dict[str, str] = {}
    for top in ("bids_sr", "workflows"):
        for path in sorted((REPOSITORY / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                    "import_module"
                ):
                    names = [str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]
                for name in names:
                    library = name.split(".")[0]
                    if library not in sys.stdlib_module_names and library != "bids_sr":
                        places[library] = f"{path.relative_to(REPOSITORY)}:{node.lineno}"
    return places


def test_every_import_is_a_declared_dependency() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    optional = [line for name, lines in extras.items() if name != "dev" for line in lines]
    declared = {
        canonicalize_name(Requirement(line).name)
        for line in [*PROJECT["project"]["dependencies"], *optional]
    }
    distributions = packages_distributions()
    undeclared = [
        f"{place} imports {library}"
        for library, place in third_party_imports().items()
        if library not in BROUGHT_ALONG
        and not declared
        & {canonicalize_name(name) for name in distributions.get(library, (library,))}
    ]
    assert not undeclared, "\n".join(undeclared)


def test_every_declared_dependency_is_used() -> None:
    distributions = packages_distributions()
    imported = {
        canonicalize_name(name)
        for library in third_party_imports()
        for name in distributions.get(library, ())
    }
    declared = [Requirement(line).name for line in PROJECT["project"]["dependencies"]]
    unused = [name for name in declared if canonicalize_name(name) not in imported]
    assert sorted(unused) == sorted(NEEDED_BY_OTHERS)


def test_the_tested_versions_satisfy_the_declared_bounds() -> None:
    lines = (REPOSITORY / "requirements" / "constraints.txt").read_text().splitlines()
    pinned = {
        canonicalize_name(line.split("==")[0]): line.split("==")[1]
        for line in lines
        if "==" in line and not line.startswith("#")
    }
    for line in PROJECT["project"]["dependencies"]:
        requirement = Requirement(line)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} has no line in requirements/constraints.txt"
        assert version in requirement.specifier, f"{line} excludes the tested {version}"


def lock_module() -> ModuleType:
    """Import requirements/lock.py, which is no part of the package."""
    path = REPOSITORY / "requirements" / "lock.py"
    spec = importlib.util.spec_from_file_location("lock", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lock_holds_all_that_a_run_needs_at_the_versions_here() -> None:
    lock = lock_module()
    versions = lock.runtime_versions(PROJECT["project"]["dependencies"])
    assert {"torch", "nnunetv2", "argparse"} <= versions.keys()  # declared, brought, far down
    assert lock.faults(versions, lock.locked()) == []


def test_the_lock_names_what_it_lacks() -> None:
    faults = lock_module().faults(
        {"numpy": "2.0", "scipy": "1.15.3", "absent": None, "nvidia-cudnn": "9", "new": "1.0"},
        {"numpy": "2.3.5", "scipy": "1.15.3"},
    )
    assert faults == [
        "absent: needed, and not installed here",
        "new: add new==1.0 to requirements/constraints.txt",
        "numpy: 2.0 is installed; the lock holds 2.3.5",
    ]


@pytest.fixture(scope="session")
def source_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what an installation is made from, so that building leaves no trace here."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("bids_sr", "workflows"):
        shutil.copytree(
            REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy / name)
    return copy


def fresh_environment(folder: Path) -> Path:
    """Make an environment that sees this one's libraries, but not its copy of bids_sr.

    The folder is named in a ``.pth`` file, whose own ``.pth`` files (among them an editable
    install of this repository) are not read.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(site, "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def pip(*arguments: str | Path, python: Path | None = None) -> None:
    """Run pip offline, for another environment if one is named."""
    target = ["--python", str(python)] if python else []
    done = subprocess.run(
        [sys.executable, "-m", "pip", *target, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session", params=["wheel", "editable"])
def installed(
    request: pytest.FixtureRequest, source_copy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Install the package in a fresh environment; its Python."""
    folder = tmp_path_factory.mktemp(request.param)
    python = fresh_environment(folder / "venv")
    options = ["--no-deps", "--no-build-isolation"]
    if request.param == "editable":
        pip("install", *options, "--editable", source_copy, python=python)
    else:
        pip("wheel", *options, "--wheel-dir", folder, source_copy)
        (wheel,) = folder.glob("*.whl")
        pip("install", "--no-deps", wheel, python=python)
    return python


def test_an_installation_has_every_package_and_every_data_file(
    installed: Path, tmp_path: Path
) -> None:
    packages = sorted(source_folders())
    code = (
        f"import importlib, bids_sr\nfor name in {packages!r}: importlib.import_module(name)\n"
        "print(bids_sr.__file__)"
    )
    done = subprocess.run(
        [installed, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    home = Path(done.stdout.split()[-1]).parent
    assert not home.is_relative_to(REPOSITORY)
    data = REPOSITORY / "bids_sr" / "data"
    files = [
        path.relative_to(data)
        for path in data.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    missing = [str(path) for path in files if not (home / "data" / path).is_file()]
    assert files
    assert not missing


@pytest.mark.parametrize("command", COMMANDS)
def test_an_installation_has_the_commands(installed: Path, command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed.parent / command, "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert PROJECT["project"]["name"] in done.stdout


@pytest.mark.parametrize("option", ["--help", "--version"])
@pytest.mark.parametrize(
    "module", ["bids_sr.cli.run", "bids_sr.cli.tools"], ids=["bids_sr", "bids_sr-tools"]
)
def test_the_commands_answer_at_once_and_without_a_home(
    module: str, option: str, tmp_path: Path
) -> None:
    """Nothing heavy imported, which takes seconds; no folder to write to."""
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"  # cannot be made, not even by root
    code = (
        f"import sys\nfrom {module} import main\n"
        "try: main([sys.argv[1]])\n"
        "except SystemExit as stop: code = stop.code or 0\n"
        "else: code = 0\n"
        "heavy = {'torch', 'nipype', 'templateflow', 'nibabel', 'bids'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, option],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
