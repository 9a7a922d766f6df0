"""Next steps: for each aim of a user, the files of this subject to use and the exact commands.

Nothing is run here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_sr.reports.output_files import OutputFile, SessionFiles
from bids_sr.reports.step_of_user import Command, Places, Step, word

FREESURFER_FIELD_MM = 256
_FINE_MM = 0.95
"""Voxels below it turn on FreeSurfer's high-resolution mode in fMRIPrep and sMRIPrep."""
_ALIGN = (
    "import ants, sys; fixed, moving = map(ants.image_read, sys.argv[1:3]); "
    'rigid = ants.registration(fixed, moving, "Rigid")["fwdtransforms"]; '
    'ants.image_write(ants.apply_transforms(fixed, moving, rigid, interpolator="bSpline"), '
    "sys.argv[3])"
)


def steps_of_subject(places: Places, sessions: Sequence[SessionFiles]) -> list[Step]:
    """List the aims that concern all sessions of a subject together.

    Parameters
    ----------
    places : Places
    sessions : sequence of SessionFiles
        From :func:`.read_output_files`.
    """
    steps = [_fmriprep(places, sessions)]
    if places.raw_like_dir is not None:
        data, results = word(places.raw_like_dir), word(places.beside("derivatives"))
        steps.append(
            Step(
                aim="A tool that takes only raw BIDS",
                file=str(places.raw_like_dir),
                commands=(
                    Command(
                        text=f"TOOL {data} {results} participant "
                        f"--participant-label {_label(places)}",
                        about="Replace TOOL by the tool. Super-resolved images have rec-SR in "
                        "their names; everything else is linked to the acquired dataset.",
                    ),
                ),
            )
        )
    return steps


def steps_of_session(places: Places, session: SessionFiles) -> list[Step]:
    """List the aims that are served session by session.

    Parameters
    ----------
    places : Places
    session : SessionFiles
    """
    steps = [_freesurfer(places, session), _lesions(places, session), _viewer(places, session)]
    if len(session.contrasts) > 1:
        steps.append(_one_grid(places, session))
    return steps


def warnings_of_use(sessions: Sequence[SessionFiles]) -> list[str]:
    """Say what the files of a subject must not be used for."""
    kinds = {file.kind for session in sessions for file in session.files}
    words = [
        "Do not diagnose from a super-resolved image, and do not send it to a clinical archive: "
        "detail between the slices is estimated. Look at the acquired slices."
    ]
    if "uncertainty" in kinds:
        words.append(
            "Do not use a file that ends in _uncertainty as an image: it says how wrong the "
            "result may be at each voxel."
        )
    names = [file.name for session in sessions for file in session.files]
    if any("_space-orig_" in name for name in names):
        words.append(
            "Do not take brain or tissue volumes from files with space-orig: they lie on the "
            "acquired slices, whose thickness blurs every border. Use them only on top of the "
            "acquired image."
        )
    if "reference" in kinds:
        words.append(
            "Do not count desc-preproc and desc-sr as two images: desc-preproc is a copy, under "
            "the name that fMRIPrep and sMRIPrep look for."
        )
    if "fused" in kinds:
        words.append(
            "Do not use a single stack (desc-sr) if its fused volume (desc-fused) exists, "
            "unless you study the stacks."
        )
    return words


def _fmriprep(places: Places, sessions: Sequence[SessionFiles]) -> Step:
    aim = "fMRIPrep or sMRIPrep"
    references = [file for session in sessions for file in session.of("reference", "T1w")]
    if not references:
        reason = "no T1w of a head with a brain mask is in this output, and both tools need one"
        return Step(aim=aim, file=reason, usable=False)
    data = word(places.bids_dir) if places.bids_dir else "BIDS_FOLDER"
    separate = " --subject-anatomical-reference sessionwise" if len(references) > 1 else ""
    functional = "" if places.has_bold else " --anat-only"
    who = f"participant --participant-label {_label(places)}"
    t1w = "" if functional else " --bold2anat-init t1w"
    commands = (
        Command(
            text=f"fmriprep {data} {word(places.beside('fmriprep'))} {who} --derivatives "
            f"{word(f'bids_sr={places.root}')}{t1w}{functional}{separate}",
            about="--anat-only: the dataset has no functional images of this subject."
            if functional
            else "",
        ),
        Command(
            text=f"smriprep {data} {word(places.beside('smriprep'))} {who}{separate} "
            f"--derivatives {word(places.root)}"
        ),
    )
    notes = [
        "Both take the T1w and its brain mask as they are and skip bias correction and brain "
        "extraction. They need a licence of FreeSurfer (--fs-license-file or FS_LICENSE)."
    ]
    if separate:
        notes.append(
            "One T1w per session: if your version does not know --subject-anatomical-reference "
            "sessionwise, run bids_sr again with --anat-reference-per subject."
        )
    name = ", ".join(Path(file.name).name for file in references)
    care = [text for session in sessions for text in _care(session.best("T1w"))]
    return Step(aim=aim, file=name, commands=commands, notes=(*care, *notes))


def _freesurfer(places: Places, session: SessionFiles) -> Step:
    aim = "FreeSurfer surfaces (recon-all)"
    subject = places.name_of(session)
    references = session.of("reference", "T1w")
    t1w = references[0] if references else None
    if t1w is None:
        return _freesurfer_without_t1w(aim, session, subject)
    wide = t1w.largest_extent > FREESURFER_FIELD_MM
    notes = []
    if 0 < t1w.largest_voxel < _FINE_MM:
        notes.append(
            f"The voxels are {t1w.voxels}. Without -hires, recon-all resamples them to 1 mm; with "
            "-hires it keeps them, which takes longer and is unproven for super-resolved images."
        )
    else:
        notes.append(
            f"The voxels are {t1w.voxels}: recon-all resamples (conforms) every image to 1 mm. Do "
            "not give -hires, which is for voxels below 1 mm."
        )
    if wide:
        notes.append(
            f"The field of view is {t1w.largest_extent:.0f} mm, more than the "
            f"{FREESURFER_FIELD_MM} mm that recon-all takes: -cw256 crops it."
        )
    notes.append(
        "Cortical thickness from a super-resolved T1w rests on fewer measurements than that from "
        "a 3D scan: do not mix both without a covariate."
    )
    link, path, about = _without_spaces(places, t1w)
    command = f"{link}recon-all -s {word(subject)} -i {path} -all"
    return Step(
        aim=aim,
        file=Path(t1w.name).name,
        commands=(Command(text=command + (" -cw256" if wide else ""), about=about),),
        notes=(*_care(session.best("T1w")), *notes),
    )


def _freesurfer_without_t1w(aim: str, session: SessionFiles, subject: str) -> Step:
    heads = [file for suffix in ("T2w", "FLAIR") if (file := session.best(suffix)) is not None]
    if not heads or not session.of("mask"):
        return Step(aim=aim, file="no T1w of a head is in this session", usable=False)
    image = heads[0]
    volumes = Command(
        text=f"mri_synthseg --i {word(image.path)} --o {word(f'{subject}_synthseg.nii.gz')} "
        f"--vol {word(f'{subject}_synthseg.csv')}",
        about="Volumes of brain structures from any contrast (FreeSurfer 7.3 or later).",
    )
    return Step(
        aim=aim,
        file=f"no T1w is in this session; for volumes: {Path(image.name).name}",
        commands=(volumes,),
        notes=("recon-all needs a T1w.",),
    )


def _lesions(places: Places, session: SessionFiles) -> Step:
    aim = "White matter lesions"
    flair, t1w = session.best("FLAIR"), session.best("T1w")
    if flair is None:
        return Step(aim=aim, file="no FLAIR has a result in this session", usable=False)
    subject = places.name_of(session)
    commands = []
    if places.command and "--segmentation" not in places.command:
        commands.append(
            Command(
                text=f"{places.command} --participant-label {_label(places)} --segmentation wmh",
                about="bids_sr itself: lesions on the FLAIR, on the acquired slices too, with a "
                "table that says which of them rest on measured data.",
            )
        )
    if t1w is not None:
        folder = places.beside("lst-ai") / subject
        commands.append(
            Command(
                text=f"lst --t1 {word(t1w.path)} --flair {word(flair.path)} --output "
                f"{word(folder)} --temp {word(folder / 'temp')} --device cpu",
                about="LST-AI, for multiple sclerosis; it registers the two images itself.",
            )
        )
    output = places.beside("wmh-synthseg") / f"{subject}_wmh.nii.gz"
    commands.append(
        Command(
            text=f"mkdir -p {word(output.parent)} && mri_WMHsynthseg --i {word(flair.path)} --o "
            f"{word(output)} --csv_vols {word(output.with_name(f'{subject}_volumes.csv'))} "
            "--device cpu --threads 4 --crop --save_lesion_probabilities",
            about="WMH-SynthSeg (FreeSurfer 8), on the FLAIR alone.",
        )
    )
    commands.append(_samseg(places, flair, t1w, word(places.beside("samseg") / subject)))
    notes = (
        *_care(flair, t1w),
        "Lesions that lie within one slice, or are smaller than the slice thickness, are the "
        "least certain: compare them with the acquired FLAIR.",
    )
    return Step(aim=aim, file=Path(flair.name).name, commands=tuple(commands), notes=notes)


def _samseg(places: Places, flair: OutputFile, t1w: OutputFile | None, folder: str) -> Command:
    after = f"--threads 4 --output {folder}"
    if t1w is None:
        return Command(
            text=f"run_samseg --input {word(flair.path)} --lesion --lesion-mask-pattern 1 {after}",
            about="SAMSEG (FreeSurfer), on the FLAIR alone.",
        )
    moved = places.registered(flair, t1w)
    return Command(
        text=f"run_samseg --input {word(t1w.path)} {word(moved)} --lesion "
        f"--lesion-mask-pattern 0 1 {after}",
        about="SAMSEG (FreeSurfer). It needs both on one grid: run the command of \u201cAll "
        "contrasts on one grid\u201d first. 0 1: lesions are bright in the second image.",
    )


def _viewer(places: Places, session: SessionFiles) -> Step:
    shown = [file for suffix in session.contrasts if (file := session.best(suffix)) is not None]
    commands = []
    for number, file in enumerate(shown):
        acquired = places.acquired(file)
        both = " ".join(word(path) for path in (acquired, file.path) if path is not None)
        about = "FSLeyes" if number == 0 else f"FSLeyes, {file.suffix}"
        commands.append(Command(text=f"fsleyes {both}", about=about))
        if number == 0 and acquired is not None:
            snap = f"itksnap -g {word(file.path)} -o {word(acquired)}"
            commands.append(Command(text=snap, about="The same with ITK-SNAP"))
            commands.append(
                Command(text=f"freeview -v {both}", about="The same with FreeView (FreeSurfer)")
            )
    own = f"{places.label}_viewer.html"
    browser = f"{own}, beside this page, shows all of them in a browser, without these programs."
    notes = (
        *([browser] if (places.root / own).is_file() else []),
        "Acquired image and result lie in one space: the viewer shows one over the other. Any "
        "viewer of NIfTI files will do. bids_sr writes no DICOM, so that no result reaches "
        "clinical reading by mistake.",
    )
    names = ", ".join(Path(file.name).name for file in shown)
    return Step(aim="A viewer", file=names, commands=tuple(commands), notes=notes)


def _one_grid(places: Places, session: SessionFiles) -> Step:
    volumes = [file for suffix in session.contrasts if (file := session.best(suffix)) is not None]
    fixed, *others = volumes
    commands = []
    for moving in others:
        moved = places.registered(moving, fixed)
        commands.append(
            Command(
                text=f"mkdir -p {word(moved.parent)} && python -c {word(_ALIGN)} "
                f"{word(fixed.path)} {word(moving.path)} {word(moved)}",
                about=f"{moving.suffix} onto the grid of the {fixed.suffix}, with ANTs, in the "
                "Python environment of bids_sr.",
            )
        )
        transform = moved.with_name(moved.name.replace(".nii.gz", ".lta"))
        commands.append(
            Command(
                text=f"mkdir -p {word(moved.parent)} && mri_coreg --mov {word(moving.path)} "
                f"--ref {word(fixed.path)} --reg {word(transform)} && mri_vol2vol --mov "
                f"{word(moving.path)} --targ {word(fixed.path)} --reg {word(transform)} "
                f"--cubic --o {word(moved)}",
                about="The same with FreeSurfer.",
            )
        )
    numbers = {file.grid_number for file in volumes}
    same = len(numbers) == 1 and 0 not in numbers
    words = "lie on one grid" if same else "lie on different grids"
    suffixes = [file.suffix for file in volumes]
    notes = (
        f"The {', '.join(suffixes[:-1])} and {suffixes[-1]} of this session {words}. They lie in "
        "the space of the scanner; the patient may have moved between the scans, so register them "
        "rigidly before you compare voxels. This interpolates each image once more.",
    )
    return Step(
        aim="All contrasts on one grid",
        file=f"grid of {Path(fixed.name).name}",
        commands=tuple(commands),
        notes=notes,
    )


def _care(*files: OutputFile | None) -> list[str]:
    """Say which files a check asks to look at before they are used."""
    return [
        f"Look at the {file.suffix} first: {len(file.image.verdict.looks)} of its checks ask for "
        "it, see the verdict."
        for file in files
        if file is not None and file.image is not None and file.image.verdict is not None
        if file.image.verdict.looks
    ]


def _without_spaces(places: Places, file: OutputFile) -> tuple[str, str, str]:
    """Return the start of a command that links the output folder, the path to use, and why."""
    if not any(sign.isspace() for sign in str(file.path)):
        return "", word(file.path), ""
    return (
        f'link=$(mktemp -d) && ln -s {word(places.root)} "$link"/results && ',
        f'"$link"/results/{word(file.path.relative_to(places.root).as_posix())}',
        "recon-all stops at spaces in paths, so it reads the image through a link without spaces.",
    )


def _label(places: Places) -> str:
    return word(places.label.removeprefix("sub-"))
