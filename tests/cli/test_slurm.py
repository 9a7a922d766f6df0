from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_sr.cli import slurm
from bids_sr.cli.slurm import split_words
from bids_sr.cli.tools import main
from bids_sr.config import RunConfig
from bids_sr.run import job_array

QUICK = ("--skip-bids-validation", "--sr-method", "linear", "--skull-strip-method", "none")
SCRIPTS = ("participant.sbatch", "group.sbatch", "submit.sh")


@pytest.fixture
def no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the graph out, which takes seconds to build; one test builds it."""
    monkeypatch.setattr(job_array, "task_memory_gb", lambda *_: (1.0, "an image"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "an image's.sif"
    path.touch()
    return path


def write(dataset: Path, output: Path, *words: object) -> int:
    return main(["slurm", str(dataset), str(output), *map(str, words)])


def shell(script: Path, ask: str) -> list[str]:
    """Run the first lines of a script, up to where it begins to work, and let it tell."""
    head = script.read_text().partition("\ncd ")[0]
    ended = subprocess.run(
        ["bash", "-c", f"{head}\n{ask}"], capture_output=True, text=True, check=True
    )
    return ended.stdout.splitlines()


@pytest.mark.usefixtures("no_graph")
def test_the_scripts_hold_what_was_asked(
    dataset: Path, tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "it's $HOME `x`"
    words = [
        *("--image", image, "--participant-label", "sub-01", "02", "--partition", "long"),
        *("--account", "brain", "--time", "1-02:00:00", "--mem", "5G", "--max-tasks", "7"),
        *("--gres", "--cpus-per-task", "4", "--sbatch=--qos=low", "--bind", "/x y:/z:ro"),
        *("--setup", "module load apptainer", "--", *QUICK, "-m", "T1w", "T2w"),
    ]
    assert write(dataset, output, *words) == 0
    assert "2 participants" in capsys.readouterr().out
    folder = output / "code" / "slurm"
    assert (folder / "participants.txt").read_text() == "sub-01\nsub-02\n"
    text = (folder / "participant.sbatch").read_text()
    directives = {line for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=4800M",  # of 2^20 bytes
        "#SBATCH --time=1-02:00:00",
        "#SBATCH --partition=long",
        "#SBATCH --account=brain",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --qos=low",
        "#SBATCH --requeue",
    } <= directives
    assert "--gres" not in (folder / "group.sbatch").read_text()
    for line in ("module load apptainer", "--containall --nv", "--bind '/x y:/z:ro'"):
        assert line in text
    ask = 'printf "%s\\n" "$bids_dir" "$output_dir" "$scripts" "$image" "${options[@]}"'
    assert shell(folder / "participant.sbatch", ask) == [
        *map(str, (dataset, output, folder, image)),
        *QUICK,
        *("-m", "T1w", "T2w"),
    ]
    assert (folder / "submit.sh").stat().st_mode & 0o111
    assert "\nmax_tasks=7 " in (folder / "submit.sh").read_text()


@pytest.mark.usefixtures("no_graph")
@pytest.mark.parametrize("way", ["image", "command", "work-dir"])
def test_the_scripts_are_sound_shell(dataset: Path, tmp_path: Path, image: Path, way: str) -> None:
    words: dict[str, list[object]] = {
        "image": ["--image", image, "--setup", "true"],
        "command": ["--command", "python3 -m 'bids_sr'"],
        "work-dir": ["--image", image, "--gres", "gpu:a100:1", "--work-dir", tmp_path / "w w"],
    }
    weights = tmp_path / "weights here"
    weights.mkdir()
    more = ["--weights-dir", weights, "--raw-like-dir", tmp_path / "raw like"]
    assert write(dataset, tmp_path / "o u t", *words[way], "--", *QUICK, *more) == 0
    folder = tmp_path / "o u t" / "code" / "slurm"
    text = (folder / "participant.sbatch").read_text()
    if way != "command":
        assert f"--bind '{weights}:{weights}:ro'" in text
        assert f"--bind '{tmp_path}/raw like:{tmp_path}/raw like'\n" in text
    for name in SCRIPTS:
        subprocess.run(["bash", "-n", folder / name], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", *(folder / name for name in SCRIPTS)], check=True)


def test_scripts_are_not_overwritten_silently(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "scripts" / "submit.sh"
    script.parent.mkdir()
    script.write_text("edited")
    words = ("--command", "bids_sr", "--script-dir", script.parent)
    assert write(dataset, tmp_path / "out", *words, "--", *QUICK) == 2
    assert "already contains scripts" in capsys.readouterr().err
    assert script.read_text() == "edited"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (["--image", "no.sif"], [], "--image no.sif: no such file"),
        (["--command", " "], [], "--command is empty"),
        (["--command", "x", "--time", "soon"], [], "--time soon: expected"),
        (["--command", "x", "--partition", "a b"], [], "expected a name without spaces"),
        (["--command", "x", "--sbatch", "qos"], [], "--sbatch qos: expected an option"),
        (["--command", "x"], ["--nprocs", "2"], "--nprocs after --: expected --cpus-per-task"),
        (["--command", "x"], ["--work_dir=w"], "--work-dir after --"),
        (["--command", "x"], ["--sr-adapt", "dataset"], "trains on all images of a run"),
        (["--command", "x", "--participant-label", "99"], [], "no subject 99"),
        (["--command", "x"], ["--session-label", "99"], "the options select none"),
        (["--command", "x"], ["--weights-dir", "/no/where"], "/no/where does not exist"),
    ],
)
def test_what_the_jobs_would_stumble_over_is_refused(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ours: list[str],
    theirs: list[str],
    message: str,
) -> None:
    assert write(dataset, tmp_path / "out", *ours, "--", *QUICK[:1], *theirs) > 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_graph")
def test_a_dataset_that_is_not_there_or_cannot_be_shown(
    dataset: Path, tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(tmp_path / "none", tmp_path / "out", "--command", "x") == 66
    assert write(dataset, tmp_path / "a:b", "--image", image, "--", *QUICK) == 2
    assert "path with a colon or a comma" in capsys.readouterr().err


@pytest.mark.usefixtures("no_graph")
def test_participants_without_a_task_are_told(
    empty_dataset: Path,
    write_image: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_image(empty_dataset, "sub-01_T1w")
    write_image(empty_dataset, "sub-02_T2w")
    write_image(empty_dataset, "sub-a-b_T1w")
    words = ("--command", "true", "--", *QUICK, "-m", "T1w")
    assert write(empty_dataset, tmp_path / "out", *words) == 0
    said = capsys.readouterr().err
    assert "sub-a-b is left out: " in said
    assert "sub-02 is left out: suffix T2w is not among --modalities T1w" in said
    listed = tmp_path / "out" / "code" / "slurm" / "participants.txt"
    assert listed.read_text() == "sub-01\n"


def test_files_get_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filter.json").touch()
    (tmp_path / "01").touch()
    words = ["filter.json", "tool=./filter.json", "01", "none/such.txt", "--sloppy"]
    assert [slurm._absolute(word) for word in words] == [
        f"{tmp_path}/filter.json",
        f"tool={tmp_path}/filter.json",
        "01",
        "none/such.txt",
        "--sloppy",
    ]


def test_words_after_two_dashes_are_for_bids_sr() -> None:
    assert split_words(["slurm", "a", "--", "-m", "T1w"]) == (["slurm", "a"], ["-m", "T1w"])
    assert split_words(["demo", "--", "-x"]) == (["demo", "--", "-x"], [])


def test_memory_is_that_of_the_participant_that_needs_most(dataset: Path, tmp_path: Path) -> None:
    from bids_sr.run.memory import participant_memory_gb
    from bids_sr.run.plan import make_plan

    config = RunConfig(
        bids_dir=dataset, output_dir=tmp_path / "out", work_dir=tmp_path / "work", mem_gb=0.3
    )
    images = make_plan(config)
    needed, neediest = job_array.task_memory_gb(config, images)
    memory_of = {
        subject: participant_memory_gb(
            config, [image for image in images if image.subject == subject]
        )
        for subject in {image.subject for image in images}
    }
    assert needed == max(memory_of.values()) > config.mem_gb
    assert memory_of[neediest.removeprefix("sub-")] == needed
    assert job_array.task_memory_gb(config, [])[1] == "no image that can be processed"
