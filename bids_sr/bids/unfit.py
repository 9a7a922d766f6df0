"""Signs in names and sidecars that an image cannot represent a subject's brain.

Intensities are not read.  An image without such a sign passes, which proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bids_sr.bids.sidecar import UNKNOWN_WORDS
from bids_sr.records.json_values import in_one_line

AGENT_FIELDS = (
    "ContrastBolusAgent",
    "ContrastBolusIngredient",
    "ContrastBolusVolume",
    "ContrastBolusTotalDose",
)
TEXT_FIELDS = ("SeriesDescription", "ProtocolName", "ImageType")
BODY_FIELDS = ("BodyPart", "BodyPartExamined")
NO_AGENT = (*UNKNOWN_WORDS, "NO", "NO CONTRAST", "WITHOUT", "FALSE", "0", "0.0")
# A word ends where letters do: "T1_GD" and "t1 +c", not "gdx" or "record".  German ones too: KM is
# a contrast agent, HWS, BWS and LWS are parts of the spine.
_WORDS = {
    "contrast-enhanced": re.compile(
        r"post.?(con|gad|gd)|gadolin|(?<![a-z])(gd|gad|gado)(?![a-z])|(?<![a-z])with.?contrast"
        r"|\+ ?c(?![a-z])|(?<![a-z])c ?\+|t1ce?(?![a-z])|(?<![a-z])ce(?![a-z])"
        r"|(?<![a-z])post(?![a-z]|.?(op|surg|treat|ict))"
        r"|(?<![a-z])km(?![a-z])",
    ),
    "a localiser": re.compile(
        r"locali[sz](?!ed)|scout|survey|topogram|(?<![a-z])(loc|locs)(?![a-z])"
        r"|3-? ?pl(ane)?(?![a-z])"
    ),
    "no head": re.compile(
        r"spine|spinal|cervic|thorac|lumb|sacr(al|um)|knee|ankle|shoulder|pelvi|abdom|cardiac"
        r"|heart|liver|prostat|breast|(?<![a-z])(hws|bws|lws)(?![a-z])|wirbel|rachis|columna"
    ),
}
OTHER_MODALITIES = ("CT", "PT", "PET", "NM", "US", "CR", "DX")
_NOT_MAGNITUDE = frozenset({"P", "PHASE", "R", "REAL", "I", "IMAGINARY"})
_MAGNITUDE = frozenset({"M", "MAGNITUDE", "M_SE", "M_FFE", "M_IR"})
_NATIVE = re.compile(
    r"(?<![a-z])(pre|no|non|without|w/o|ohne|vor|sans)[^a-z]*(gd|gado?|gadolinium|km|ce|contrast)"
    r"(?![a-z])"
)


def why_unfit(
    entities: Mapping[str, str], metadata: Mapping[str, Any], *, brain: bool = True
) -> str:
    """Say why an image should not be provided as the brain of its subject.

    Parameters
    ----------
    entities : mapping
        Entities by pybids' names.
    metadata : mapping
        Sidecar fields, inheritance applied.
    brain : bool
        Whether the sidecar names no body part other than brain or head.

    Returns
    -------
    str
        The reason with the text that it was read from; empty if there is none.
    """
    if "chunk" in entities:
        return f"it is a part of a scan (chunk-{entities['chunk']})"
    if agent := agent_of(entities, metadata):
        return agent
    if other := no_magnitude_of_mri(metadata):
        return other
    if not brain:
        part = next((field for field in BODY_FIELDS if in_one_line(metadata.get(field))), "")
        shown = in_one_line(metadata.get(part))
        return f"it shows no head ({part}: {shown})" if part else "it shows no head"
    signs = (_told(what, entities, metadata) for what in ("a localiser", "no head"))
    return next(filter(None, signs), "")


def agent_of(entities: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """Say that an image is contrast-enhanced, and where that was read; empty if nothing tells."""
    if "ceagent" in entities:
        return f"it is contrast-enhanced (ce-{entities['ceagent']})"
    for field in AGENT_FIELDS:
        value = in_one_line(metadata.get(field))
        if value.upper() not in NO_AGENT:
            return f"it is contrast-enhanced ({field}: {value})"
    return _told("contrast-enhanced", entities, metadata)


def no_magnitude_of_mri(metadata: Mapping[str, Any]) -> str:
    """Say that an image is a phase, or of CT or PET, by its sidecar; empty if nothing tells."""
    modality = in_one_line(metadata.get("Modality")).upper()
    if modality in OTHER_MODALITIES:
        return f"it is no MRI (Modality: {modality})"
    kinds = {word.upper() for word in words_of(metadata, "ImageType")}
    if kinds & _NOT_MAGNITUDE and not kinds & _MAGNITUDE:
        return "it is not a magnitude image (ImageType)"
    return ""


def words_of(metadata: Mapping[str, Any], field: str) -> list[str]:
    r"""Return the words of a DICOM field, a list or joined by ``\`` or commas."""
    value = metadata.get(field)
    parts = value if isinstance(value, list) else re.split(r"[\\,]", str(value or ""))
    return [str(part).strip() for part in parts if str(part).strip()]


def localiser(entities: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """Say that an image is a localiser, and where that was read; empty if nothing tells."""
    return _told("a localiser", entities, metadata)


def elsewhere(entities: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """Say that an image shows no head, and where that was read; empty if nothing tells."""
    return _told("no head", entities, metadata)


def body_part(metadata: Mapping[str, Any]) -> str:
    """Return the part of the body that a sidecar names, in capitals; empty where it names none."""
    said = (in_one_line(metadata.get(field)).upper() for field in BODY_FIELDS)
    return next((part for part in said if part not in UNKNOWN_WORDS), "")


def _told(what: str, entities: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """Look for words in the names of an image."""
    texts = {"acq": entities.get("acquisition", "")}
    texts |= {field: str(metadata.get(field) or "") for field in TEXT_FIELDS}
    for field, text in texts.items():
        if _WORDS[what].search(_NATIVE.sub(" ", text.lower())):
            verb = "shows" if what == "no head" else "is"
            return f"it {verb} {what} ({field}: {text})"
    return ""
