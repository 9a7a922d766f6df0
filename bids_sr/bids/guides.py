"""Guides: which thin scan of a session helps to reconstruct the thick ones of other contrasts.

Decided by names, sidecars and headers.  Whether a guide shows the same anatomy and helps is seen
when it is registered and slices are held out (:mod:`bids_sr.sr.together`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bids_sr.bids.image import AnatImage
from bids_sr.bids.selection import GuideRule
from bids_sr.bids.unfit import agent_of, body_part, elsewhere, localiser

THIN_MM = 1.5
"""Voxel size and slice thickness up to which a scan is thin."""


def with_guides(images: Sequence[AnatImage], rule: GuideRule) -> list[AnatImage]:
    """Tell each thick image which scan guides it.

    Parameters
    ----------
    images : sequence of AnatImage
        The plan.  Images that are left out may guide if their headers were read.
    rule : GuideRule
        Which scans may guide.

    Returns
    -------
    list of AnatImage
        The same images in the same order.

    Notes
    -----
    A guide is a single volume of the same subject and session, of another suffix, against which
    :func:`why_no_guide` has nothing.  Of several the one with the smallest :func:`coarsest` length
    (to 0.1 mm) is taken, then one without contrast agent, then one that is processed in the run,
    then the first by path.
    """
    sessions: dict[tuple[str, str | None], list[AnatImage]] = {}
    for image in images:
        if image.source_grid is not None and image.n_frames == 1 and image.action != "fail":
            sessions.setdefault((image.subject, image.session), []).append(image)
    return [
        _with_guide(image, sessions[image.subject, image.session], rule)
        if _takes_guide(image)
        else image
        for image in images
    ]


def why_no_guide(image: AnatImage, scan: AnatImage, rule: GuideRule) -> str:
    """Say why a scan cannot guide an image of another contrast; empty where nothing tells.

    Parameters
    ----------
    image, scan : AnatImage
        Of one subject and session.
    rule : GuideRule
        Which scans may guide.
    """
    if not rule.takes(scan.entities, scan.suffix):
        return f"--guide asks for {rule.words}"
    if (length := coarsest(scan)) > THIN_MM:
        return f"its voxels or slices are {length:.3g} mm, those of a guide at most {THIN_MM:g} mm"
    if part := localiser(scan.entities, scan.metadata):
        return part
    if "chunk" in scan.entities:
        return f"it is a part of a scan (chunk-{scan.entities['chunk']})"
    named = [body_part(each.metadata) for each in (image, scan)]
    if all(named) and named[0] != named[1]:
        return f"they show {named[0]} and {named[1]}"
    if image.brain != scan.brain:
        return "only one of them shows a head"
    signs = [elsewhere(each.entities, each.metadata) for each in (image, scan)]
    if bool(signs[0]) != bool(signs[1]):
        return f"of one of the two, {signs[0] or signs[1]}"
    return ""


def coarsest(image: AnatImage) -> float:
    """Return the largest of voxel sizes and slice thickness of an acquired image, mm."""
    assert image.source_grid is not None
    assert image.facts is not None
    spacings = (float(spacing) for spacing in image.source_grid.spacings)
    return round(max(*spacings, image.facts.acquisition.thickness or 0.0), 3)


def _takes_guide(image: AnatImage) -> bool:
    single = image.action == "super-resolve" and image.n_frames == 1
    return single and not localiser(image.entities, image.metadata) and coarsest(image) > THIN_MM


def _with_guide(image: AnatImage, session: Sequence[AnatImage], rule: GuideRule) -> AnatImage:
    scans = sorted((scan for scan in session if scan.suffix != image.suffix), key=_rank)
    for scan in scans:
        if not why_no_guide(image, scan, rule):
            path = None if scan.processed else scan.path
            length = coarsest(scan)
            note = f"guided by {scan.stem} ({length:.3g} mm) if that improves held-out slices"
            note += "; it is not processed in this run and is read as acquired" if path else ""
            return replace(image, guide=scan.relpath, guide_path=path, guide_note=note)
    if scans:
        scan = min(scans, key=lambda scan: not rule.takes(scan.entities, scan.suffix))
        note = f"not guided by {scan.stem}: {why_no_guide(image, scan, rule)}"
        return replace(image, guide_note=note)
    if rule.wanted:
        note = "not guided: the session has no image of another contrast in this run"
        return replace(image, guide_note=note)
    return image


def _rank(scan: AnatImage) -> tuple[float, bool, bool, str]:
    agent = bool(agent_of(scan.entities, scan.metadata))
    return round(coarsest(scan), 1), agent, not scan.processed, scan.relpath
