"""Signs in names and sidecars that two scans of one suffix do not show the same contrast.

Also that an image is no acquired magnitude.  Times and angles are compared in
:mod:`bids_sr.bids.stacks`; intensities are not read.
"""

from __future__ import annotations

import re

from bids_sr.bids.image import AnatImage
from bids_sr.bids.sidecar import stated_number
from bids_sr.bids.unfit import no_magnitude_of_mri, words_of

_PLANES = "ax|axi|axial|tra|sag|sagittal|cor|coronal|tse|fse|pdw?|t1w?|t2w?"
_FAT_SUPPRESSED = re.compile(
    r"fat.?(sat|sup)|spair|spir(?![a-z])|stir(?![a-z])|(?<![a-z])tirm|(?<![a-z])fs(?![a-z])"
    rf"|({_PLANES})fs(?![a-z])|(?<![a-z])fs({_PLANES})(?![a-z])"
)
_SPECIES = {
    "water": re.compile(r"water|(?<![a-z0-9])w(?![a-z0-9])"),
    "fat": re.compile(r"fat(?!.?s[au])|(?<![a-z0-9])f(?![a-z0-9])"),
    "in phase": re.compile(r"in.?phase|(?<![a-z0-9])ip(?![a-z0-9])"),
    "opposed phase": re.compile(r"(opp|opposed|out).?phase|(?<![a-z0-9])op(?![a-z0-9])"),
}
"""What Dixon scans separate, by words of ImageType and acq."""
_REFORMATTED = re.compile(r"(?<![a-z])(mpr|mip|minip|reformatted|projection image)(?![a-z])")
_TEXTS = ("SeriesDescription", "ProtocolName")


def why_not_acquired(image: AnatImage) -> str:
    """Say why an image is no acquired magnitude: a phase, or a view of another scan."""
    if other := no_magnitude_of_mri(image.metadata):
        return other
    kinds = words_of(image.metadata, "ImageType")
    if _REFORMATTED.search(" ".join(kinds).lower()):
        return "it is a view of another scan (ImageType)"
    return ""


def why_other_contrast(first: AnatImage, second: AnatImage) -> str:
    """Say why two scans of one suffix have other contrasts; empty where nothing tells.

    Parameters
    ----------
    first, second : AnatImage
        Of one subject, session and suffix.
    """
    metadata = [image.metadata for image in (first, second)]
    sequences = [{*words_of(values, "ScanningSequence")} & {"SE", "GR"} for values in metadata]
    if all(sequences) and not sequences[0] & sequences[1]:
        return "one is a spin echo, one a gradient echo (ScanningSequence)"
    inverted = [bool(stated_number(values.get("InversionTime"))) for values in metadata]
    timed = all(stated_number(values.get("EchoTime")) for values in metadata)
    if first.suffix != "FLAIR" and timed and inverted[0] != inverted[1]:
        return "only one of them states an InversionTime"
    states = [values.get("MTState") for values in metadata]
    if all(isinstance(state, bool) for state in states) and states[0] != states[1]:
        return "only one of them has magnetisation transfer (MTState)"
    if _fat_suppressed(first, second):
        return "only one of them is fat-suppressed"
    species = [_species(image) for image in (first, second)]
    if species[0] != species[1]:
        words = " and ".join(" ".join(sorted(names)) or "not stated" for names in species)
        return f"they show {words} (Dixon)"
    return ""


def made_of_one_scan(first: AnatImage, second: AnatImage) -> bool:
    """Tell whether two images were computed from the same measurement.

    Their names differ in ``rec-`` only, or one is normalised and the other not, on one grid; or
    both state the same time of acquisition.
    """
    times = [str(image.metadata.get("AcquisitionTime") or "") for image in (first, second)]
    if times[0] == times[1] and re.search("[1-9]", times[0]):
        return True
    assert first.source_grid is not None
    assert second.source_grid is not None
    if not first.source_grid.same(second.source_grid):
        return False
    differ = {
        name
        for name in {*first.entities, *second.entities}
        if first.entities.get(name) != second.entities.get(name)
    }
    kinds = [{*words_of(image.metadata, "ImageType")} for image in (first, second)]
    normalised = ["NORM" in words for words in kinds]
    return differ == {"reconstruction"} or (all(kinds) and normalised[0] != normalised[1])


def _fat_suppressed(first: AnatImage, second: AnatImage) -> bool:
    """Tell whether fat is suppressed in only one of two scans, by a field that both have."""
    options = [words_of(image.metadata, "ScanOptions") for image in (first, second)]
    if all(options):
        return ("FS" in options[0]) != ("FS" in options[1])
    pairs = [tuple(image.entities.get("acquisition", "") for image in (first, second))]
    for field in _TEXTS:
        texts = tuple(str(image.metadata.get(field) or "") for image in (first, second))
        pairs += [texts] if all(texts) else []
    signs = [{bool(_FAT_SUPPRESSED.search(text.lower())) for text in pair} for pair in pairs]
    return any(len(both) > 1 for both in signs)


def _species(image: AnatImage) -> frozenset[str]:
    label = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", image.entities.get("acquisition", ""))
    text = " ".join([label, *words_of(image.metadata, "ImageType")]).lower()
    return frozenset(name for name, words in _SPECIES.items() if words.search(text))
