"""Which images the user selects, and whether an image is among them.

Knows names and entities; opens no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_sr.bids.names import ParsedName, specification
from bids_sr.bids.sidecar import AcquisitionOverrides
from bids_sr.exceptions import ConfigError, did_you_mean
from bids_sr.method_facts import DEFAULT_METHOD, METHOD_FACTS, MethodFacts, OutputGrid

DEFAULT_MODALITIES = ("T1w", "T2w", "FLAIR", "PDw")
# Compared as numbers, as BIDS says: run-1 is run-01.
INDEX_ENTITIES = ("run", "echo", "flip", "inv", "chunk")
ABSENT = (None, "Query.NONE")
PRESENT = ("*", "Query.ANY")
ANYTHING = "Query.OPTIONAL"


@dataclass(frozen=True, kw_only=True)
class ReferenceRule:
    """Which T1w, and if requested which T2w, are provided as ``desc-preproc``."""

    order: Literal["finest", "first-lex"] = "finest"
    """``finest``: finest slice spacing, ties go to the first path; ``first-lex``: the first."""
    preferred: Mapping[str, str | None] = field(default_factory=dict)
    """Entity -> value (None: absent); images with these values are preferred to all others."""
    per: Literal["session", "subject"] = "session"
    """Whether there is one per suffix in every session or in every subject."""
    surface_contrasts: tuple[str, ...] = ()
    """``T2w``, ``FLAIR``: contrasts that tools may refine surfaces with; none unless requested."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of which there is a ``desc-preproc`` image, the T1w first."""
        return ("T1w", *(("T2w",) if "T2w" in self.surface_contrasts else ()))

    def __post_init__(self) -> None:
        known: dict[str, str] = specification()["entities"]
        names = sorted({*known, *known.values()})
        for entity in self.preferred:
            if entity not in names:
                raise ConfigError(
                    f"--anat-reference: unknown entity {entity!r}; expected one of "
                    f"{', '.join(names)}{did_you_mean(entity, names)}."
                )

    @classmethod
    def from_words(
        cls,
        anat_reference: Iterable[str],
        anat_reference_per: Literal["session", "subject"],
        surface_contrasts: Iterable[str] = (),
    ) -> ReferenceRule:
        """Read the words of the option: ``finest``, ``first-lex``, ``ENTITY=VALUE ...``."""
        preferred: dict[str, str | None] = {}
        order: Literal["finest", "first-lex"] = "finest"
        for word in anat_reference:
            entity, equals, value = word.partition("=")
            if equals and entity and value:
                preferred[entity] = None if value == "null" else value
            elif word == "first-lex":
                order = "first-lex"
            elif word != "finest":
                raise ConfigError(
                    f"--anat-reference: {word!r} is not a rule; expected finest, first-lex or "
                    "ENTITY=VALUE such as acquisition=mprage (null: without that entity)."
                )
        contrasts = tuple(surface_contrasts)
        return cls(
            order=order,
            preferred=preferred,
            per=anat_reference_per,
            surface_contrasts=contrasts,
        )

    def prefers(self, entities: Mapping[str, str]) -> bool:
        """Tell whether an image with these entities is preferred to others."""
        known: dict[str, str] = specification()["entities"]
        return all(
            _matches(known.get(entity, entity), entities.get(known.get(entity, entity)), value)
            for entity, value in self.preferred.items()
        )


@dataclass(frozen=True, kw_only=True)
class GuideRule:
    """Which thin scans may guide thick ones of another contrast."""

    allowed: bool = True
    """Whether any may."""
    wanted: Mapping[str, str | tuple[str, ...] | None] = field(default_factory=dict)
    """Entity or ``suffix`` -> value, values, None (absent) or ``*``; empty: every thin scan."""

    @classmethod
    def from_words(cls, words: Iterable[str]) -> GuideRule:
        """Read the words of the option: ``auto``, ``none``, or ``SUFFIX`` and ``ENTITY=VALUE``."""
        words = tuple(words)
        if words in (("auto",), ("none",)):
            return cls(allowed=words == ("auto",))
        spellings: dict[str, str] = specification()["entities"]
        known = sorted({*spellings, *spellings.values(), "suffix"})
        suffixes: list[str] = []
        wanted: dict[str, str | tuple[str, ...] | None] = {}
        for word in words:
            entity, equals, value = word.partition("=")
            if not equals:
                suffixes.append(entity)
            elif entity not in known or not value:
                raise ConfigError(
                    f"--guide {word!r}: expected ENTITY=VALUE with an entity among "
                    f"{', '.join(known)}{did_you_mean(entity, known)}."
                )
            elif entity == "suffix":
                suffixes.append(value)
            else:
                wanted[spellings.get(entity, entity)] = None if value == "null" else value
        for suffix in suffixes:
            if suffix not in specification()["anat_suffixes"]:
                raise ConfigError(
                    f"--guide {suffix!r}: expected auto or none alone, or an image suffix such as "
                    "T1w and ENTITY=VALUE such as acquisition=mprage (null: without that entity)"
                    f"{did_you_mean(suffix, ('auto', 'none', *DEFAULT_MODALITIES))}."
                )
        if suffixes:
            wanted["suffix"] = tuple(suffixes)
        return cls(wanted=wanted)

    @property
    def words(self) -> str:
        """The filter as it is written on the command line."""
        values = {
            entity: " ".join(value) if isinstance(value, tuple) else value or "null"
            for entity, value in self.wanted.items()
        }
        return " ".join(f"{entity}={value}" for entity, value in values.items())

    def takes(self, entities: Mapping[str, str], suffix: str) -> bool:
        """Tell whether an image with these entities may guide others."""
        values = {**entities, "suffix": suffix}
        return self.allowed and all(
            _matches(entity, values.get(entity), value) for entity, value in self.wanted.items()
        )


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which images the user selects, and what is done with them."""

    participant_label: tuple[str, ...] = ()
    """Subjects, with or without ``sub-``; empty for all."""
    session_label: tuple[str, ...] = ()
    """Sessions, with or without ``ses-``; empty for all."""
    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    """Suffixes."""
    bids_filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Lower-case modality -> entity -> value, values, None (absent) or ``*`` (present)."""
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    """Name -> derivative dataset that may hold brain masks."""
    overrides: AcquisitionOverrides = field(default_factory=AcquisitionOverrides)
    """Thickness, spacing and profile from the command line."""
    output_resolution: float | Literal["native"] | None = None
    """Target spacing, mm; ``native``: in-plane spacing; None: in-plane spacing, at least 1 mm."""
    output_grid: OutputGrid = "fov"
    """How the output voxels lie on the acquired field of view."""
    sr_method: str = DEFAULT_METHOD
    """Method of super-resolution; ``none`` passes every image through."""
    min_anisotropy: float = 1.5
    """Images with a smaller anisotropy are passed through."""
    fuse_stacks: bool = True
    """Whether stacks of one contrast are fused."""
    guide: GuideRule = field(default_factory=lambda: GuideRule(allowed=False))
    """Which thin scans may guide thick ones."""
    reference: ReferenceRule = field(default_factory=ReferenceRule)
    """Which images are provided as ``desc-preproc``."""

    @property
    def method_facts(self) -> MethodFacts:
        """Facts about the method."""
        return METHOD_FACTS[self.sr_method]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects without ``sub-``, each once."""
        return _stripped(self.participant_label, "sub-")

    @property
    def sessions(self) -> tuple[str, ...]:
        """Sessions without ``ses-``, each once."""
        return _stripped(self.session_label, "ses-")


def check_filters(filters: Mapping[str, Mapping[str, Any]], modalities: Iterable[str]) -> None:
    """Refuse a filter that could not have its effect.

    Parameters
    ----------
    filters : mapping
        Content of the BIDS filter file.
    modalities : iterable of str
        Suffixes that may be filtered, besides the default ones.

    Raises
    ------
    ConfigError
        If a modality or an entity is unknown, or a value is not one that can be compared.
    """
    known = sorted({name.lower() for name in (*DEFAULT_MODALITIES, *modalities)})
    entities = sorted([*specification()["entities"].values(), "datatype", "suffix", "extension"])
    for modality, wanted in filters.items():
        if modality not in known:
            raise ConfigError(
                f"BIDS filter file: unknown modality {modality!r}; expected one of "
                f"{', '.join(known)}{did_you_mean(modality, known)}. Add the modality to "
                "--modalities or remove it from the filter file."
            )
        if not isinstance(wanted, Mapping):
            raise ConfigError(
                f"BIDS filter file: {modality} is {wanted!r}; expected an object of entities, "
                'such as {"acquisition": "2D"}.'
            )
        for entity, value in wanted.items():
            if entity not in entities:
                raise ConfigError(
                    f"BIDS filter file: unknown entity {entity!r} of {modality}; expected one "
                    f"of {', '.join(entities)}{did_you_mean(entity, entities)}."
                )
            _check_value(modality, entity, value)


def why_not(name: ParsedName, selection: Selection) -> str | None:
    """Tell why an image is not wanted.

    Parameters
    ----------
    name : ParsedName
        Its file name.
    selection : Selection
        What the user wants.

    Returns
    -------
    str or None
        The reason in words, or None where the image is wanted.
    """
    session = name.entities.get("session")
    if selection.sessions and session not in selection.sessions:
        label = f"session {session}" if session else "an image without session"
        return f"{label} is not among --session-label {' '.join(selection.sessions)}"
    if name.suffix not in selection.modalities:
        modalities = " ".join(selection.modalities)
        return f"suffix {name.suffix} is not among --modalities {modalities}"
    if name.unknown or "subject" not in name.entities:
        return (
            f"the file name is not BIDS ({', '.join(name.unknown) or 'no sub-'} is not an entity "
            "of an anatomical image)"
        )
    part = name.entities.get("part", "mag")
    if part != "mag":
        return f"part-{part} is not a magnitude image"
    values = {
        **name.entities,
        "datatype": "anat",
        "suffix": name.suffix,
        "extension": name.extension,
    }
    for entity, wanted_value in selection.bids_filters.get(name.suffix.lower(), {}).items():
        if not _matches(entity, values.get(entity), wanted_value):
            label = values.get(entity, "absent")
            return f"{entity} is {label}; the BIDS filter file wants {wanted_value!r}"
    return None


def _matches(entity: str, actual: str | None, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        return any(_matches(entity, actual, choice) for choice in wanted)
    if wanted == ANYTHING:
        return True
    if wanted in ABSENT:
        return actual is None
    if actual is None:
        return False
    if wanted in PRESENT:
        return True
    if entity in INDEX_ENTITIES and actual.isdigit() and str(wanted).isdigit():
        return int(actual) == int(wanted)
    return actual == str(wanted)


def _check_value(modality: str, entity: str, value: Any) -> None:
    choices = value if isinstance(value, list | tuple) else [value]
    for choice in choices:
        if isinstance(choice, bool) or not isinstance(choice, str | int | type(None)):
            raise ConfigError(
                f"BIDS filter file: {entity} of {modality} is {value!r}; expected text, a whole "
                'number, null (absent), "*" (present) or a list of these.'
            )


def _stripped(labels: Iterable[str], prefix: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label.removeprefix(prefix) for label in labels))
