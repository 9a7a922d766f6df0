"""Say whether `constraints.txt` holds all that bids_sr needs to run, at the versions here.

    python requirements/lock.py

reads what is installed in the environment of this Python, from the dependencies in
``pyproject.toml`` on.  Prints one line for each package that is missing from the lock or has
another version than it; ends with 1 if there is one.  CUDA's libraries are not in the lock:
torch itself names their exact versions.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
except ImportError:  # an environment in which only pip was installed so far
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
BY_TORCH = ("nvidia-", "cuda-", "triton")


def locked() -> dict[str, str]:
    """Read the versions of ``constraints.txt`` by canonical name."""
    lines = (HERE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def runtime_versions(dependencies: Iterable[str]) -> dict[str, str | None]:
    """Follow dependencies through what is installed.

    Parameters
    ----------
    dependencies : iterable of str
        Requirements, as in ``pyproject.toml``.

    Returns
    -------
    versions : dict
        Canonical name -> version without a local part (``+cpu``); None if not installed.
    """
    versions: dict[str, str | None] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(line) for line in dependencies]
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            versions[name] = None
            continue
        versions[name] = found.version.partition("+")[0]
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras | {""}
            ):
                waiting.append(needed)
    return versions


def faults(versions: dict[str, str | None], lock: dict[str, str]) -> list[str]:
    """Compare what is installed with the lock; one line for each difference."""
    lines = []
    for name, version in sorted(versions.items()):
        if name.startswith(BY_TORCH):
            continue
        if version is None:
            lines.append(f"{name}: needed, and not installed here")
        elif name not in lock:
            lines.append(f"{name}: add {name}=={version} to requirements/constraints.txt")
        elif version != lock[name]:
            lines.append(f"{name}: {version} is installed; the lock holds {lock[name]}")
    return lines


def main() -> int:
    """Print the differences; 1 if there are any."""
    with (HERE.parent / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    versions = runtime_versions(dependencies)
    found = faults(versions, locked())
    for line in found:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{len(versions)} packages, {len(found)} differ from the lock\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
