"""One anatomical image of the dataset, and what shall happen to it.

Holds facts only: nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_sr.bids.sidecar import AcquisitionFacts
from bids_sr.imaging import Grid

Action = Literal["super-resolve", "pass-through", "skip", "fail"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AnatImage:
    """An image in ``anat/`` of the input dataset, with its place in the plan."""

    path: Path
    """The file."""
    relpath: str
    """Its path below the dataset's root, with slashes."""
    entities: dict[str, str]
    """Entities by pybids' names (``subject``, ``session``, ``acquisition``, ...), in text; subject
    and session are those of its folders."""
    suffix: str
    """``T1w``, ``FLAIR``, ..."""
    action: Action
    """What happens to it."""
    reason: str
    """Why, in a sentence."""
    misplaced: bool = False
    """Whether its folder or its name shows that it is not the image of a subject."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Sidecar fields, inheritance applied."""
    facts: AcquisitionFacts | None = None
    """Its acquisition; None where it is skipped or could not be read."""
    source_grid: Grid | None = None
    """Acquired grid, after ``--slice-spacing``; None as above."""
    target_grid: Grid | None = None
    """Output grid; equals ``source_grid`` where the image is passed through."""
    target_spacing: float | None = None
    """Nominal output spacing across the slices, mm: the one in the ``res`` entity."""
    brain: bool = True
    """False where the sidecar names a body part that is not the head."""
    n_frames: int = 1
    """Volumes of a series; 1 for a 3-D image."""
    existing_mask: Path | None = None
    """Brain mask on the acquired grid, from ``--derivatives``."""
    existing_mask_uri: str = ""
    """Its BIDS URI; empty without such a mask."""
    mask_note: str = ""
    """Where the mask comes from, or why one that was found is not used."""
    is_reference: bool = False
    """The one T1w or T2w of its subject and session that becomes ``desc-preproc``."""
    reference_reason: str = ""
    """Why it and no other, in words; empty for all others."""
    reference_asked: bool = False
    """Whether it is the reference because its entities were asked for."""
    unfit: str = ""
    """Why it should not be provided as ``desc-preproc``; empty where nothing speaks against it."""
    fused_into: str = ""
    """Name, without resolution, of the volume that it and other stacks are fused into."""
    stack_note: str = ""
    """With which others it is fused, or why not, in words; empty where it is alone."""
    guide: str = ""
    """Path, below the dataset's root, of the thin scan that guides it; empty: none does."""
    guide_path: Path | None = None
    """That file where it is not processed in the run; it is then read as acquired."""
    guide_note: str = ""
    """Which scan guides it, or why none, in words; empty where the session has no other."""

    @property
    def subject(self) -> str:
        """Participant label, without ``sub-``; empty of a file outside of subjects' folders."""
        return self.entities["subject"]

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``, or None."""
        return self.entities.get("session")

    @property
    def stem(self) -> str:
        """File name without its extension."""
        return self.path.name.split(".")[0]

    @property
    def scale(self) -> float | None:
        """Acquired slice spacing / output spacing; None where there is no output."""
        if self.facts is None or self.target_grid is None:
            return None
        axis = self.facts.acquisition.slice_axis
        assert axis is not None
        return self.facts.acquisition.spacing / float(self.target_grid.spacings[axis])

    @property
    def selected(self) -> bool:
        """Whether the image belongs to the run, even if it fails."""
        return self.action != "skip"

    @property
    def processed(self) -> bool:
        """Whether the run writes an output for it."""
        return self.action in ("super-resolve", "pass-through")

    @property
    def skull_stripped(self) -> bool:
        """Whether its sidecar says that it is skull-stripped; a text such as "false" does not."""
        stated = self.metadata.get("SkullStripped")
        return str(stated).strip().lower() in ("true", "1")


def decision_row(
    image: AnatImage, *, status: str = "planned", message: str = "", output: str = ""
) -> dict[str, str]:
    """Describe the decision on an image as a row of ``decisions.tsv``.

    Parameters
    ----------
    image : AnatImage
        The image.
    status : str
        ``planned``, ``done``, ``failed`` or ``skipped``.
    message : str
        Error or warnings of the run; the plan's own warnings are put before it.
    output : str
        Path of the product below the output folder.

    Returns
    -------
    dict
        Column name -> text; empty values become ``n/a`` when written.
    """
    row = {
        "participant_id": f"sub-{image.subject}" if image.subject else "",
        "session_id": f"ses-{image.session}" if image.session else "",
        "image": image.relpath,
        "action": image.action,
        "reason": "; ".join(filter(None, [image.reason, image.stack_note, image.guide_note])),
        "status": status,
        "message": message,
        "output": output,
    }
    if image.facts is not None:
        acquisition = image.facts.acquisition
        row |= {
            "message": "; ".join([*image.facts.warnings, *filter(None, [message])]),
            "slice_axis": str(acquisition.slice_axis),
            "spacing": f"{acquisition.spacing:.4g}",
            "thickness": f"{acquisition.thickness:.4g}",
            "gap": f"{round(acquisition.gap, 4) + 0.0:.4g}",  # without traces of float32
            "profile": acquisition.slice_profile.name,
            "assumptions": "; ".join(image.facts.assumptions),
        }
    return row


def subjects_of(images: Iterable[AnatImage]) -> list[str]:
    """List the subjects that images belong to.

    Parameters
    ----------
    images : iterable of AnatImage
        The plan.

    Returns
    -------
    list of str
        Labels without ``sub-``, sorted.
    """
    return sorted({image.subject for image in images} - {""})
