"""Which file to use: real names and grids, commands that a shell reads as they are meant."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest

from bids_sr.records.quality import QualityRecord
from bids_sr.records.verdict import LOOK, Check, Verdict
from bids_sr.reports.next_steps import steps_of_session, steps_of_subject, warnings_of_use
from bids_sr.reports.output_files import SessionFiles, read_output_files
from bids_sr.reports.records import ImageRecord
from bids_sr.reports.step_of_user import Places, Step

FOLDER = "my study (1); rm -rf x"
"""A name that hurts wherever it is not quoted."""
ONE_MM = ((180, 220, 150), (1.0, 1.0, 1.0))
THICK = ((180, 220, 30), (1.0, 1.0, 5.0))


def write(path: Path, grid: tuple[tuple[int, ...], tuple[float, ...]] = ONE_MM) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nb.Nifti1Image(np.zeros(grid[0], np.uint8), np.diag([*grid[1], 1.0]))
    image.to_filename(path)


def image_of(root: Path, source: str, product: str, **row: str) -> ImageRecord:
    """Write an acquired image beside the output folder and its product in it."""
    write(root.parent / "raw" / source, THICK)
    write(root / product)
    cells = {"status": "done", "output": product, "spacing": "5", **row}
    return ImageRecord(image=source, row=cells)


class Subject:
    """An output folder of one subject that grows file by file."""

    def __init__(self, root: Path, session: str = "") -> None:
        self.root = root
        self.anat = f"sub-01/{session}/anat" if session else "sub-01/anat"
        self.prefix = f"sub-01_{session}" if session else "sub-01"
        self.images: list[ImageRecord] = []

    def add(self, suffix: str, entities: str = "", **row: str) -> None:
        stem = f"{self.anat}/{self.prefix}{entities}"
        product = f"{stem}_res-1mm_desc-sr_{suffix}.nii.gz"
        self.images.append(image_of(self.root, f"{stem}_{suffix}.nii.gz", product, **row))

    def beside(self, name: str, grid: Any = ONE_MM) -> None:
        write(self.root / self.anat / f"{self.prefix}_{name}.nii.gz", grid)

    def sessions(self) -> list[SessionFiles]:
        return read_output_files(self.root, "sub-01", self.images, [])

    def places(self, **changes: Any) -> Places:
        known: dict[str, Any] = {"root": self.root, "label": "sub-01"}
        return Places(**known | {"bids_dir": self.root.parent / "raw"} | changes)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(tmp_path / FOLDER / "out sr")


def words_of(steps: Iterable[Step]) -> list[list[str]]:
    """Take every command apart as a shell does; comments would hide what is not quoted."""
    return [shlex.split(command.text) for step in steps for command in step.commands]


def step(steps: Iterable[Step], aim: str) -> Step:
    return next(step for step in steps if aim in step.aim)


def head(subject: Subject) -> None:
    subject.add("T1w")
    subject.add("FLAIR")
    subject.beside("desc-preproc_T1w")
    subject.beside("desc-brain_mask")
    subject.beside("acq-FLAIR_space-orig_desc-brain_mask", THICK)


def test_files_say_what_they_are_and_which_share_a_grid(subject: Subject) -> None:
    head(subject)
    subject.beside("desc-sr_uncertainty")
    subject.beside("label-CSF_desc-atropos_probseg")  # not for the table
    (session,) = subject.sessions()
    grids = {Path(file.name).name: file.grid_number for file in session.files}
    assert grids == {
        "sub-01_desc-preproc_T1w.nii.gz": 1,
        "sub-01_res-1mm_desc-sr_FLAIR.nii.gz": 1,
        "sub-01_res-1mm_desc-sr_T1w.nii.gz": 1,
        "sub-01_desc-brain_mask.nii.gz": 1,
        "sub-01_acq-FLAIR_space-orig_desc-brain_mask.nii.gz": 2,
        "sub-01_desc-sr_uncertainty.nii.gz": 1,
    }
    orig = next(file for file in session.files if file.grid_number == 2)
    assert (orig.voxels, orig.matrix) == ("1 × 1 × 5 mm", "180 × 220 × 30")
    assert session.contrasts == ("T1w", "FLAIR")
    words = " ".join(warnings_of_use([session]))
    assert "diagnose" in words
    assert "_uncertainty as an image" in words
    assert "space-orig" in words


def test_what_failed_or_is_gone_is_not_offered(subject: Subject) -> None:
    subject.add("T1w", status="failed")
    subject.add("FLAIR")
    (subject.root / subject.images[1].row["output"]).unlink()
    assert subject.sessions() == []


@pytest.mark.parametrize("output", ["../secret.nii.gz", "{}/secret.nii.gz", "sub-02/x.nii.gz"])
def test_a_record_cannot_name_files_elsewhere(subject: Subject, output: str) -> None:
    for folder in (subject.root.parent, subject.root / "sub-02"):
        write(folder / "secret.nii.gz")
        write(folder / "x.nii.gz")
    subject.add("FLAIR")
    subject.images[0].row["output"] = output.format(subject.root.parent)
    assert subject.sessions() == []


def test_an_acquired_image_lies_in_its_dataset(subject: Subject) -> None:
    subject.add("FLAIR")
    write(subject.root.parent / "secret.nii.gz")
    (file,) = subject.sessions()[0].files
    assert subject.places().acquired(file) is not None
    assert file.image is not None
    outside = replace(file, image=replace(file.image, image="../secret.nii.gz"))
    assert subject.places().acquired(outside) is None


def test_a_file_that_is_not_readable_is_told(subject: Subject) -> None:
    subject.add("FLAIR")
    (subject.root / subject.images[0].row["output"]).write_bytes(b"not an image")
    (session,) = subject.sessions()
    assert session.files[0].voxels == "the header could not be read"
    assert step(steps_of_session(subject.places(), session), "matter lesions").usable


def test_every_path_in_a_command_is_one_word_and_exists(subject: Subject) -> None:
    head(subject)
    (session,) = subject.sessions()
    steps = [*steps_of_subject(subject.places(), [session])]
    steps += steps_of_session(subject.places(), session)
    commands = words_of(steps)
    assert len(commands) >= 9
    parent = str(subject.root.parent)
    for words in commands:
        named = [
            word for word in words if "/" in word and not word.startswith(("import", "$link"))
        ]
        assert all(word.removeprefix("bids_sr=").startswith(parent) for word in named), words
        for word in named:
            path = Path(word.removeprefix("bids_sr="))
            if path.is_relative_to(subject.root) or path.is_relative_to(
                subject.root.parent / "raw"
            ):
                assert path.exists(), word


def test_fmriprep_and_smriprep(subject: Subject) -> None:
    head(subject)
    places, sessions = subject.places(), subject.sessions()
    offered = steps_of_subject(places, sessions)[0]
    assert offered.file == "sub-01_desc-preproc_T1w.nii.gz"
    fmriprep, smriprep = words_of([offered])
    raw, out = str(subject.root.parent / "raw"), str(subject.root)
    assert fmriprep[:2] == ["fmriprep", raw]
    assert fmriprep[3:6] == ["participant", "--participant-label", "01"]
    assert fmriprep[6:8] == ["--derivatives", f"bids_sr={out}"]
    assert fmriprep[8:] == ["--anat-only"]
    assert smriprep[-2:] == ["--derivatives", out]
    write(subject.root.parent / "raw/sub-01/func/sub-01_task-rest_bold.nii.gz", THICK)
    with_bold, _ = words_of(steps_of_subject(places, sessions)[:1])
    assert with_bold[8:] == ["--bold2anat-init", "t1w"]


PARSE = """
import json, sys
from smriprep.cli.run import get_parser
parser = get_parser()
parser.set_defaults(skull_strip_template=None)  # the default is looked up in TemplateFlow
options = parser.parse_args(json.loads(sys.argv[1]))
known = [*map(str, options.derivatives)], options.participant_label
print(json.dumps([*known, options.subject_anatomical_reference]))
"""


def test_the_command_of_smriprep_is_read_by_its_own_parser(
    subject: Subject, tmp_path: Path
) -> None:
    pytest.importorskip("smriprep", reason="pip install smriprep, or bids_sr[test]")
    head(subject)
    subject.anat, subject.prefix = "sub-01/ses-02/anat", "sub-01_ses-02"
    head(subject)
    _, words = words_of(steps_of_subject(subject.places(), subject.sessions())[:1])
    home = {"TEMPLATEFLOW_HOME": str(tmp_path), "TEMPLATEFLOW_AUTOUPDATE": "0"}
    command = [sys.executable, "-W", "ignore", "-c", PARSE, json.dumps(words[1:])]
    done = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    derivatives, labels, reference = json.loads(done.stdout.splitlines()[-1])
    assert derivatives == [str(subject.root)]
    assert labels == ["01"]
    assert reference == "sessionwise"


@pytest.mark.parametrize(
    ("grid", "options", "note"),
    [
        (ONE_MM, ["-all"], "Do not give -hires"),
        (((300, 300, 180), (0.8, 0.8, 0.8)), ["-all"], "with -hires it keeps them"),
        (((180, 300, 150), (1.0, 1.0, 1.0)), ["-all", "-cw256"], "field of view is 300 mm"),
    ],
)
def test_freesurfer(
    subject: Subject, tmp_path: Path, grid: Any, options: list[str], note: str
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    subject.add("T1w")
    subject.beside("desc-preproc_T1w", grid)
    (session,) = subject.sessions()
    offered = step(steps_of_session(subject.places(), session), "recon-all")
    (command,) = offered.commands
    path = subject.root / subject.anat / "sub-01_desc-preproc_T1w.nii.gz"
    # The folder of this test has a space in its name, at which recon-all would stop.
    stand_in = 'recon-all() { printf "%s\\n" "$@"; readlink -f "$4"; }; '
    done = subprocess.run(
        ["bash", "-c", stand_in + command.text],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    )
    *words, resolved = done.stdout.splitlines()
    assert words[:3] + words[4:] == ["-s", "sub-01", "-i", *options]
    assert not any(sign.isspace() for sign in words[3].removeprefix(str(temporary)))
    assert resolved == str(path)
    assert "stops at spaces" in command.about
    assert note in " ".join(offered.notes)


def test_freesurfer_needs_no_link_for_a_path_without_spaces(tmp_path: Path) -> None:
    subject = Subject(tmp_path / "out")
    subject.add("T1w")
    subject.beside("desc-preproc_T1w")
    (session,) = subject.sessions()
    (words,) = words_of([step(steps_of_session(subject.places(), session), "recon-all")])
    path = subject.root / subject.anat / "sub-01_desc-preproc_T1w.nii.gz"
    assert words == ["recon-all", "-s", "sub-01", "-i", str(path), "-all"]


def test_lesion_tools_get_flair_and_t1w(subject: Subject) -> None:
    head(subject)
    (session,) = subject.sessions()
    places = subject.places(command="bids_sr raw out participant -w work")
    offered = step(steps_of_session(places, session), "lesions")
    own, lst, wmh, samseg = words_of([offered])
    flair = str(subject.root / subject.images[1].row["output"])
    t1w = str(subject.root / subject.images[0].row["output"])
    assert own[-4:] == ["--participant-label", "01", "--segmentation", "wmh"]
    assert lst[1:5] == ["--t1", t1w, "--flair", flair]
    assert wmh[wmh.index("--i") + 1] == flair
    registered = words_of([step(steps_of_session(places, session), "one grid")])[0][-1]
    assert samseg[1:4] == ["--input", t1w, registered]
    assert samseg[samseg.index("--lesion-mask-pattern") + 1 :][:2] == ["0", "1"]


def test_a_file_that_needs_a_look_says_so_first(subject: Subject) -> None:
    head(subject)
    check = Check(name="noise", title="Noise", value=9.0, status=LOOK)
    t1w, flair = subject.images
    subject.images = [
        replace(t1w, quality=QualityRecord(image=t1w.image, verdict=Verdict(checks=(check,)))),
        flair,
    ]
    (session,) = subject.sessions()
    steps = steps_of_subject(subject.places(), [session])
    steps += steps_of_session(subject.places(), session)
    for aim in ("fMRIPrep", "recon-all", "lesions"):
        assert step(steps, aim).notes[0].startswith("Look at the T1w first: 1 of its checks")


def test_without_flair_or_head_nothing_is_promised(subject: Subject) -> None:
    subject.add("PDw")
    (session,) = subject.sessions()
    steps = steps_of_subject(subject.places(), [session])
    steps += steps_of_session(subject.places(), session)
    assert [s.aim for s in steps if s.usable] == ["A viewer"]
    assert all(not s.commands for s in steps if not s.usable)


def test_the_viewer_beside_the_page_is_named_if_it_is_there(subject: Subject) -> None:
    subject.add("FLAIR")
    (session,) = subject.sessions()
    words = "sub-01_viewer.html, beside this page"
    assert words not in step(steps_of_session(subject.places(), session), "viewer").notes[0]
    (subject.root / "sub-01_viewer.html").touch()
    assert words in step(steps_of_session(subject.places(), session), "viewer").notes[0]


def test_the_finest_image_of_a_contrast_is_chosen(subject: Subject) -> None:
    subject.add("FLAIR", "_acq-sag", spacing="6")
    subject.add("FLAIR", "_acq-tra", spacing="3.3")
    (session,) = subject.sessions()
    best = session.best("FLAIR")
    assert best is not None
    assert "acq-tra" in best.name


def test_the_raw_like_dataset_is_named_if_it_has_the_subject(subject: Subject) -> None:
    head(subject)
    raw_like = subject.root.parent / "raw like"
    table = {"config": {"bids_dir": "/x", "raw_like_dir": str(raw_like)}, "run": {"command": 3}}
    assert Places.of_run(subject.root, "sub-01", table).raw_like_dir is None
    (raw_like / "sub-01").mkdir(parents=True)
    places = Places.of_run(subject.root, "sub-01", table)
    offered = step(steps_of_subject(places, subject.sessions()), "only raw BIDS")
    assert words_of([offered])[0][1] == str(raw_like)


@pytest.mark.parametrize("table", [{}, {"config": 3, "run": []}, {"config": {"bids_dir": 7}}])
def test_places_of_an_odd_record(tmp_path: Path, table: dict[str, Any]) -> None:
    assert Places.of_run(tmp_path, "sub-01", table).bids_dir is None
