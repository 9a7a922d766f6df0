"""Check that a release can be cut from this tree: `make release-check`.

How a version is cut: docs/how-to/cut-a-release.md.  One version everywhere, a dated entry in the
changelog, nothing uncommitted, the tag still free; then both distributions are built, their
contents compared with the repository, their metadata checked, and the wheel is installed and used
in a new environment.  Checksums are written beside them.  All faults are printed, not only the
first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# Where the version stands besides the package itself, which has the first word.
COPIES = {
    "CITATION.cff": r"^version: *(\S+)$",
    "Dockerfile": r"^ARG VERSION=(\S+)$",
    "singularity.def": r"^ *org\.opencontainers\.image\.version +(\S+)$",
    "boutiques/bids_sr.json": r'^ *"tool-version": "([^"]+)",?$',
}
CODE = ("bids_sr/", "workflows/")
BESIDE = ("LICENSE", "README.md", "pyproject.toml")


def main() -> int:
    """Run all checks; 1 if there is a fault."""
    version = package_version(REPOSITORY)
    print(f"bids_sr {version}")
    faults = [
        *version_faults(REPOSITORY, version),
        *changelog_faults((REPOSITORY / "CHANGES.md").read_text(encoding="utf-8"), version),
        *git_faults(REPOSITORY, version),
    ]
    report("version, changelog, repository", faults)
    dist = REPOSITORY / "dist"
    built = build(REPOSITORY, dist)
    report("source distribution and wheel are built", built)
    if not built:
        files = tracked(REPOSITORY)
        for name, steps in (
            ("contents of the distributions", contents_faults(dist, files)),
            (
                "metadata and description",
                run(sys.executable, "-m", "twine", "check", "--strict", *archives(dist)),
            ),
            ("the wheel in a new environment", smoke_faults(dist, version)),
        ):
            found = list(steps)
            report(name, found)
            built += found
        write_checksums(dist)
    faults += built
    print(f"not ready: {len(faults)} in all" if faults else f"ready: git tag -a v{version}")
    return int(bool(faults))


def report(name: str, faults: list[str]) -> None:
    """Print the outcome of one group of checks."""
    print(f"{'FAULT' if faults else 'ok':>5}  {name}")
    for fault in faults:
        print(f"       - {fault}")


def package_version(root: Path) -> str:
    """Read the version of the package."""
    text = (root / "bids_sr" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    assert found, "bids_sr/__init__.py has no __version__"
    return found[1]


def version_faults(root: Path, version: str) -> Iterator[str]:
    """Compare the copies of the version with that of the package."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(?:rc\d+)?", version):
        yield f"version {version}; expected numbers such as 1.2.3 or 1.2.3rc1"
    for name, pattern in COPIES.items():
        found = re.findall(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        if found != [version]:
            yield f"{name} says version {', '.join(found) or 'nothing'}; expected {version}"


def changelog_faults(text: str, version: str) -> Iterator[str]:
    """Check that the newest entry of the changelog is that of the version, with its date."""
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    newest = headings[0] if headings else "nothing"
    if not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", newest):
        yield f"CHANGES.md begins with {newest!r}; expected '{version} (YYYY-MM-DD)'"


def git_faults(root: Path, version: str) -> Iterator[str]:
    """Check that everything is committed and that the tag is free or here."""
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        yield f"not committed: {len(changed)} in all, the first: {changed[0].strip()}"
    tag = f"v{version}"
    head = git(root, "rev-parse", "HEAD")
    if git(root, "tag", "--list", tag) and git(root, "rev-list", "-n", "1", tag) != head:
        yield f"the tag {tag} is on another commit; raise the version"


def git(root: Path, *words: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def tracked(root: Path) -> set[str]:
    """List the files of the package that git knows."""
    return set(git(root, "ls-files", *CODE).splitlines())


def run(*words: str | Path, cwd: Path = REPOSITORY) -> list[str]:
    """Run a command; its last lines if it failed."""
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True)
    if done.returncode == 0:
        return []
    last = (done.stdout + done.stderr).strip().splitlines()[-5:]
    return [f"{' '.join(map(str, words[:4]))} ... failed: {' | '.join(last)}"]


def build(root: Path, dist: Path) -> list[str]:
    """Build both distributions anew."""
    for folder in (root / "build", dist):
        shutil.rmtree(folder, ignore_errors=True)
    return run(sys.executable, "-m", "build", "--outdir", dist, root)


def archives(dist: Path) -> list[Path]:
    """Return the wheel and the source distribution."""
    return sorted([*dist.glob("*.whl"), *dist.glob("*.tar.gz")])


def contents_faults(dist: Path, files: set[str]) -> Iterator[str]:
    """Compare what the distributions hold with the files of the repository."""
    (wheel,) = dist.glob("*.whl")
    (source,) = dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {re.sub("^workflows/", "bids_sr/workflows/", name) for name in files}
    yield from (f"the wheel lacks {name}" for name in sorted(expected - names))
    yield from (
        f"the wheel holds {name}, which git does not know" for name in sorted(names - expected)
    )
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = files | set(BESIDE)
    yield from (f"the source distribution lacks {name}" for name in sorted(wanted - held))
    code = {name for name in held if name.startswith(CODE) and "." in Path(name).name}
    yield from (
        f"the source distribution holds {name}, which git does not know"
        for name in sorted(code - files)
    )


def smoke_faults(dist: Path, version: str) -> Iterator[str]:
    """Install the wheel in a new environment and super-resolve an image of the demo with it.

    The environment sees the libraries of this one, but not its copy of bids_sr.
    """
    (wheel,) = dist.glob("*.whl")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        venv.create(folder / "venv", with_pip=False)
        tools = folder / "venv" / "bin"
        site = next((folder / "venv" / "lib").glob("python3*/site-packages"))
        libraries = [path for path in sys.path if path.endswith("site-packages")]
        (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
        install = ("-m", "pip", "--python", tools / "python", "install", "--quiet", "--no-deps")
        faults = run(sys.executable, *install, wheel)
        if faults:
            yield from faults
            return
        said = subprocess.run(
            [tools / "bids_sr", "--version"], capture_output=True, text=True, cwd=folder
        )
        if said.stdout.strip() != f"bids_sr {version}":
            yield f"bids_sr --version says {said.stdout.strip() or said.stderr.strip()!r}"
        thick, fine = folder / "demo/bids/sub-01/anat/sub-01_T1w.nii.gz", folder / "sr.nii.gz"
        os.environ["PYTHONWARNINGS"] = "ignore"
        for words in (
            ("bids_sr-tools", "demo", "demo"),
            ("bids_sr", "demo/bids", "out", "participant", "--dry-run"),
            ("bids_sr-tools", "super-resolve", thick, fine, "--sr-steps", "5"),
        ):
            yield from run(tools / words[0], *words[1:], cwd=folder)
        if not fine.is_file() or "finetuned" not in json.dumps(
            json.loads(fine.with_name("sr.json").read_text(encoding="utf-8"))
        ):
            yield "super-resolve wrote no image by the default method"


def write_checksums(dist: Path) -> None:
    """Write SHA256SUMS, to be published with the files."""
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in archives(dist)]
    (dist / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")


if __name__ == "__main__":
    sys.exit(main())
