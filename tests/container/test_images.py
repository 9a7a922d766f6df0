"""The image, built and run for real: Podman, Docker, Apptainer.

What is run is the demo dataset, as `run_demo.sh` says: no network, unknown user, read-only
root, no capabilities.  Its images are compared, voxel by voxel, with those of this
environment, whose packages must be those of the lock.

BIDS_SR_TEST_BASE names a base image other than the Dockerfile's; BIDS_SR_TEST_IMAGE_PODMAN,
_DOCKER and _APPTAINER (a .sif) name images that exist already and are then not built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

pytestmark = [pytest.mark.container, pytest.mark.slow]
REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "tests" / "container" / "run_demo.sh"
RECIPE = (
    *("singularity.def", "pyproject.toml", "README.md", "LICENSE"),
    *("bids_sr", "workflows", "container", "requirements"),
)
Done = subprocess.CompletedProcess[str]
ENGINES = ("podman", "docker", "apptainer")
OPTIONS = (
    *("--sloppy", "--skull-strip-method", "template", "--segmentation", "atropos", "wmh"),
    *("--anat-reference", "first-lex"),
)
NO_BASE = r"initializing source docker://|pull access denied|dial tcp: lookup"
THREADS = ("--nprocs", "2", "--omp-nthreads", "1", "--mem", "3500")


def call(*words: object, ok: bool = True, cwd: Path = REPOSITORY) -> Done:
    """Run a command; show what it said if it fails."""
    command = [str(word) for word in words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=3600)
    if ok:
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def require(engine: str) -> None:
    """Skip, with the reason, where an engine cannot be had."""
    if shutil.which(engine) is None:
        pytest.skip(f"{engine} is not installed")
    if engine != "apptainer":
        answer = call(engine, "info", ok=False)
        if answer.returncode:
            pytest.skip(f"{engine} does not answer: {answer.stderr.strip().splitlines()[-1]}")


def build(engine: str, tag: str, *words: object, ok: bool = True) -> Done:
    base = os.environ.get("BIDS_SR_TEST_BASE")
    chosen = ["--build-arg", f"BASE={base}"] if base else []
    done = call(engine, "build", "--network", "host", *chosen, *words, "-t", tag, ".", ok=False)
    if done.returncode and re.search(
        r"(initializing source|pulling|pull access|lookup)", done.stderr
    ):
        pytest.skip(f"{engine} cannot get the base image: {done.stderr[-300:]}")
    assert done.returncode == 0 or not ok, done.stdout[-4000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the name of an engine's image, built at the first request."""
    built: dict[str, str] = {}

    def get(engine: str) -> str:
        require(engine)
        named = os.environ.get(f"BIDS_SR_TEST_IMAGE_{engine.upper()}")
        if engine not in built:
            built[engine] = named or make(engine)
        return built[engine]

    def make(engine: str) -> str:
        if engine != "apptainer":
            build(engine, "localhost/bids_sr:test")
            return "localhost/bids_sr:test"
        # Apptainer takes an image from either engine.
        builder = next((program for program in ENGINES[:2] if shutil.which(program)), None)
        if builder is None:
            pytest.skip("neither podman nor docker is installed to make the image")
        folder = tmp_path_factory.mktemp("sif")
        for source in RECIPE:
            tree = (REPOSITORY / source).is_dir()
            (shutil.copytree if tree else shutil.copy)(REPOSITORY / source, folder / source)
        kind = ("--format", "docker-archive") if builder == "podman" else ()
        call(builder, "save", *kind, "-o", folder / "image.tar", get(builder))
        share(folder)
        arguments = ("--build-arg", "BOOTSTRAP=docker-archive", "--build-arg", "BASE=image.tar")
        words = ("build", "--fakeroot", *arguments, "bids_sr.sif", "singularity.def")
        call("apptainer", *words, cwd=folder)
        (folder / "image.tar").unlink()
        return str(folder / "bids_sr.sif")

    return get


def share(folder: Path) -> None:
    """Let another user read and write a folder: the container's, or who runs Apptainer."""
    call("chmod", "-R", "a+rwX", folder)


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of voxels, type and affine of every image, by relative path."""
    digests = {}
    for path in sorted(folder.rglob("*.nii.gz")):
        loaded = nb.load(path)
        voxels = np.ascontiguousarray(loaded.dataobj)
        state = hashlib.sha256(str((voxels.dtype, voxels.shape)).encode())
        state.update(voxels.tobytes())
        state.update(np.asarray(loaded.affine).tobytes())
        digests[path.relative_to(folder).as_posix()] = state.hexdigest()
    return digests


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return what the same commands make without a container."""
    folder = tmp_path_factory.mktemp("bare")
    commands = Path(sys.executable).parent
    call(commands / "bids_sr-tools", "demo", folder / "demo/dataset")
    words = (folder / "demo/dataset/bids", folder / "out", "participant", *THREADS, *OPTIONS)
    call(commands / "bids_sr", *words, "--raw-like-dir", folder / "raw", "-w", folder / "work")
    return {part: contents(folder / part) for part in ("demo", "out", "raw")}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_demo_is_the_same_in_a_container(
    engine: str, image: Callable[[str], str], bare: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    name = image(engine)
    call(SCRIPT, engine, name, tmp_path / "run", *OPTIONS, "--raw-like-dir", "/raw")
    written = {part: contents(tmp_path / "run" / part) for part in ("demo", "out", "raw")}
    assert len(written["out"]) == 2 * 9  # subjects, images of each
    assert written == bare
    # Links of the raw-shaped view are relative, so they hold where both folders are mounted.
    links = [path for path in (tmp_path / "run/raw").rglob("*") if path.is_symlink()]
    assert links
    for link in links:
        place = Path("/raw", link.relative_to(tmp_path / "run/raw").parent, link.readlink())
        inside = Path(os.path.normpath(place)).relative_to("/data")
        assert (tmp_path / "run/demo/dataset/bids" / inside).exists()
    record = json.loads((tmp_path / "run/out/dataset_description.json").read_text())
    kind = "singularity" if engine == "apptainer" else "docker"
    assert record["GeneratedBy"][0]["Container"]["Type"] == kind


def run(engine: str, name: str, command: str, *words: str) -> Done:
    """Run a command in the image, offline; the demo is not needed."""
    if engine == "apptainer":
        options = ("--cleanenv", "--containall", "--no-home")
        where, image = Path(name).parent, Path(name).name
        return call("apptainer", "exec", *options, image, command, *words, ok=False, cwd=where)
    hardened = ("--network", "none", "--user", "12345:12345", "--read-only", "--tmpfs", "/tmp")
    return call(
        *(engine, "run", "--rm", *hardened, "--entrypoint", command, name, *words), ok=False
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tool", ["synthseg", "samseg", "lst-ai"])
def test_a_tool_that_the_image_lacks_is_refused_by_name(
    engine: str, tool: str, image: Callable[[str], str]
) -> None:
    name = image(engine)
    words = f"/tmp/d/bids /tmp/o participant --segmentation {tool}"
    done = run(engine, name, "sh", "-c", f"bids_sr-tools demo /tmp/d >&2 && bids_sr {words}")
    assert done.returncode == 127, done.stderr
    refusal = done.stderr.splitlines()[-1].lower()
    assert re.match(rf"bids_sr: --segmentation {tool}: found no .*leave {tool} out", refusal)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_that_are_not_there_are_refused(engine: str, image: Callable[[str], str]) -> None:
    done = run(engine, image(engine), "bids_sr-tools", "fetch", "hd-bet", "--offline")
    assert done.returncode == 127
    assert "/opt/bids_sr/weights" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_the_image_says_what_it_is(engine: str, image: Callable[[str], str]) -> None:
    (answer,) = json.loads(call(engine, "inspect", image(engine)).stdout)
    settings = answer["Config"]
    assert settings["User"] == "1000:1000"
    assert settings["Entrypoint"] == ["/opt/venv/bin/bids_sr"]
    assert settings["Labels"]["org.opencontainers.image.title"] == "bids_sr"
    assert settings["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+.*", settings["Labels"]["org.opencontainers.image.version"])


def test_the_sif_says_what_it_is_and_tests_itself(image: Callable[[str], str]) -> None:
    path = Path(image("apptainer"))
    where = path.parent
    assert "--containall" in call("apptainer", "run-help", path.name, cwd=where).stdout
    labels = call("apptainer", "inspect", path.name, cwd=where).stdout
    assert re.search(r"org\.opencontainers\.image\.version: \d+\.\d+", labels)
    call("apptainer", "test", "--cleanenv", "--containall", "--no-home", path.name, cwd=where)


def documented(engine: str) -> list[list[str]]:
    """Return the runs that the page shows for an engine, as words."""
    page = (REPOSITORY / "docs" / "how-to" / "run-in-containers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    shown = "apptainer" if engine == "apptainer" else "docker"
    commands = [shlex.split(line) for line in lines if line.startswith(shown)]
    return [words for words in commands if words[1] in ("run", "exec") and words[-1] != "group"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_commands_of_the_page_run(
    engine: str, image: Callable[[str], str], tmp_path: Path
) -> None:
    """As they stand, with other folders, and the participant level as a dry run."""
    name = image(engine)
    call(Path(sys.executable).with_name("bids_sr-tools"), "demo", tmp_path / "demo")
    where = {"/data/study": "demo/bids", "/data/study-sr": "out", "/scratch/sr": "tmp"}
    where["/data/weights"] = "weights"
    for folder in where.values():
        (tmp_path / folder).mkdir(exist_ok=True)
    if engine == "apptainer":
        os.link(name, tmp_path / "bids_sr.sif")
    share(tmp_path)
    commands = documented(engine)
    assert len(commands) >= 3
    for command in commands:
        words = [engine, *command[1:]]
        for number, word in enumerate(words):
            outside, _, inside = word.partition(":")
            if inside and outside in where:
                place = where[outside] if engine == "apptainer" else tmp_path / where[outside]
                words[number] = f"{place}:{inside}"
            elif word == "bids_sr" and engine != "apptainer":
                words[number] = name
            elif "$(id" in word:
                words[number] = "12345:12345"
        dry = ["--dry-run"] if "participant" in words else []
        done = call(*words, *dry, cwd=tmp_path)
        assert "sub-01" in done.stdout + done.stderr or not dry


@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["WEIGHTS=hd-bet"], "Found no"),
        (["WEIGHTS=hd-bte"], "Found no published weights named 'hd-bte'"),
        (["WEIGHTS=hd-bet", "OPT_FROM=container/nowhere"], "Found no folder container/nowhere"),
    ],
)
def test_weights_that_cannot_be_had_end_the_build(
    engine: str, words: list[str], message: str, image: Callable[[str], str]
) -> None:
    image(engine)  # its layers are taken again
    chosen = [word for argument in words for word in ("--build-arg", argument)]
    done = build(engine, "localhost/bids_sr:refused", *chosen, ok=False)
    assert done.returncode
    assert message in done.stdout + done.stderr
