"""The recipes agree with each other, with the package and with what is in the repository."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from bids_sr import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
DEFINITION = (REPOSITORY / "singularity.def").read_text(encoding="utf-8")
# Docker's alone: Apptainer says which image it is, and HOME is the caller's or none.
DOCKER_ONLY = {"HOME", "BIDS_SR_DOCKER_TAG"}


def instructions(name: str) -> list[str]:
    """Return what follows an instruction of the Dockerfile, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", joined, flags=re.MULTILINE)


def dockerfile_environment() -> dict[str, str]:
    """Return the variables that the image sets; those of the stage `build` begin with PIP."""
    pairs = [word.split("=", 1) for line in instructions("ENV") for word in shlex.split(line)]
    return {name: value for name, value in pairs if not name.startswith("PIP_")}


def section(name: str) -> str:
    """Return a section of singularity.def."""
    return DEFINITION.split(f"\n%{name}\n", 1)[1].split("\n%", 1)[0]


def definition_environment() -> dict[str, str]:
    words = shlex.split(section("environment"), comments=True)
    return dict(word.split("=", 1) for word in words if word != "export")


def labels() -> dict[str, str]:
    return dict(word.split("=", 1) for line in instructions("LABEL") for word in shlex.split(line))


def arguments(text: str, pattern: str) -> dict[str, str]:
    return dict(re.findall(pattern, text, flags=re.MULTILINE))


def test_both_recipes_set_the_same_environment() -> None:
    docker, apptainer = dockerfile_environment(), definition_environment()
    assert docker.pop("BIDS_SR_CONTAINER") == "docker"
    assert apptainer.pop("BIDS_SR_CONTAINER") == "apptainer"
    assert apptainer == {name: docker[name] for name in docker if name not in DOCKER_ONLY}


def test_both_recipes_take_the_same_arguments_with_the_same_defaults() -> None:
    docker = arguments(DOCKERFILE, r"^ARG (\w+)=(.*)$")
    apptainer = arguments(section("arguments"), r"^ +(\w+)=(.*)$")
    assert apptainer.pop("BOOTSTRAP") == "docker"
    del docker["VERSION"], docker["REVISION"]
    assert apptainer == docker


def test_both_recipes_carry_the_labels_of_this_version() -> None:
    docker = labels()
    assert docker["org.opencontainers.image.version"] == "${VERSION}"
    assert arguments(DOCKERFILE, r"^ARG (\w+)=(.*)$")["VERSION"] == __version__
    pairs = (line.split(maxsplit=1) for line in section("labels").split("\n") if line.strip())
    apptainer = dict(pairs)
    licence = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["license"]
    assert apptainer["org.opencontainers.image.version"] == __version__
    assert apptainer["org.opencontainers.image.licenses"] == licence
    for name in apptainer.keys() - {"org.opencontainers.image.version"}:
        assert docker[name] == apptainer[name]


def test_the_image_has_a_user_and_an_entry_point_and_installs_before_it_copies_the_source() -> (
    None
):
    runtime = DOCKERFILE.split(" AS runtime", 1)[1].split("\nFROM", 1)[0]
    assert re.search(r"^USER [1-9]\d*:", runtime, flags=re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["/opt/venv/bin/bids_sr"\]$', runtime, flags=re.MULTILINE)
    build = DOCKERFILE.split(" AS runtime", 1)[0]
    assert build.index("install_locked.sh") < build.index("COPY bids_sr bids_sr")
    assert "<<" not in DOCKERFILE  # builders without BuildKit know neither
    assert "--mount" not in DOCKERFILE


def allowed(name: str) -> bool:
    """Apply .dockerignore to a top-level name: the last line that fits decides."""
    answer = True
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(name, line.removeprefix("!")):
            answer = line.startswith("!")
    return answer


def copied() -> set[str]:
    """Return what the Dockerfile copies from the build's folder."""
    lines = [line.split() for line in instructions("COPY") if not line.startswith("--from")]
    return {source for words in lines for source in words[:-1]} - {"."}


def test_the_builder_gets_what_is_copied_and_nothing_that_is_not_there() -> None:
    assert all(allowed(name) for name in copied())
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (line[1:] for line in lines if line.startswith("!")):
        assert (REPOSITORY / name).exists(), name
    for name in (".git", ".venv", "demo", "dist", "bids_sr.sif", "data"):
        assert not allowed(name)


def test_singularity_copies_what_the_dockerfile_copies() -> None:
    files = [line.split() for line in section("files").splitlines() if line.strip()]
    assert {source for source, _ in files} == copied()
    assert all(target == f"/opt/src/{source}" for source, target in files)


@pytest.mark.parametrize("script", ["install_locked.sh", "install_opt.py", "slim.sh"])
def test_both_recipes_call_the_same_scripts(script: str) -> None:
    (path,) = [*REPOSITORY.glob(f"requirements/{script}"), *REPOSITORY.glob(f"container/{script}")]
    assert path.stat().st_mode & 0o111 or path.suffix == ".py"
    assert str(path.relative_to(REPOSITORY)) in " ".join(instructions("RUN"))
    assert str(path.relative_to(REPOSITORY)) in section("post")
