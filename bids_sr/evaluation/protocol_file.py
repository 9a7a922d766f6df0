"""A protocol file: tests that are frozen, so that anybody's numbers can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bids_sr.evaluation.guides import guide_file
from bids_sr.evaluation.protocol import Protocol
from bids_sr.evaluation.references import Reference
from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.files import read_toml
from bids_sr.imaging import Volume
from bids_sr.plain_values import WrongTypeError, structured

_NEEDED = ("name", "seed", "protocols")


@dataclass(frozen=True, kw_only=True)
class ProtocolFile:
    """State the tests of a benchmark, and on which images."""

    name: str
    seed: int
    """Of noise and motion."""
    protocols: tuple[Protocol, ...]
    images: Mapping[str, str] = field(default_factory=dict)
    """What :func:`values_digest` gives for each image, by its name; empty: any images."""

    @classmethod
    def read(cls, path: Path) -> ProtocolFile:
        """Read a file.

        Raises
        ------
        ConfigError
            If it cannot be read or is not a protocol file.
        """
        content = read_toml(path, what="the protocol file", error=ConfigError)
        missing = [name for name in _NEEDED if content.get(name, "") in ("", [])]
        try:
            if missing:
                raise TypeError(f"no {', '.join(missing)}")
            return structured(content, cls)  # type: ignore[no-any-return]
        except ConfigError as error:  # of a protocol
            raise ConfigError(f"{path}: {error}") from error
        except (WrongTypeError, KeyError, TypeError) as error:
            found = f"{error.value!r}" if isinstance(error, WrongTypeError) else f"{error}"
            raise ConfigError(
                f"{path}: found {found}; expected name (a text), seed (a whole number), a table "
                "[[protocols]] for each test, and perhaps [images] with a digest of each. "
                "Correct the file."
            ) from error

    def __post_init__(self) -> None:
        """Check the seed, and keep each protocol once."""
        if self.seed < 0:
            raise ConfigError(f"Found seed = {self.seed}; expected 0 or more.")
        object.__setattr__(self, "protocols", tuple(dict.fromkeys(self.protocols)))

    def fits(self, reference: Reference, protocol: Protocol) -> bool:
        """Tell whether an image has what a test needs: its guide, where there is one."""
        return not protocol.guide or guide_file(reference.path, protocol.guide) is not None

    def chosen(self, references: Sequence[Reference]) -> tuple[list[Reference], list[str]]:
        """Return the images of the benchmark among others, and what to know of them.

        Raises
        ------
        InputDataError
            If one of them holds other bytes than it should, or there is none.
        """
        if not self.images:
            return list(references), []
        here = [reference for reference in references if reference.name in self.images]
        for reference in here:
            found = values_digest(reference.path)
            if found != self.images[reference.name]:
                raise InputDataError(
                    f"{reference.path}: found voxels with the digest {found}; expected those of "
                    f"{self.name}, {self.images[reference.name]}. Fetch the image again."
                )
        absent = sorted(self.images.keys() - {reference.name for reference in here})
        if not here:
            raise InputDataError(
                f"Found none of the images of {self.name}; expected {', '.join(absent)}. Give the "
                "folder that holds them."
            )
        words = f"{self.name}: {len(here)} of {len(self.images)} images"
        return here, [words + (f"; not here: {', '.join(absent)}" if absent else "")]


def values_digest(path: Path) -> str:
    """Return the SHA-256 of an image's voxels: however the file is packed, it is the same.

    It is taken of the float32 values with the axes nearest to RAS+, the first axis slowest, little
    endian, after the three spacings in micrometres as 32-bit integers.
    """
    volume = Volume.load(path).canonical()
    digest = hashlib.sha256(np.rint(volume.spacings * 1000).astype("<i4").tobytes())
    digest.update(np.ascontiguousarray(volume.data, "<f4").tobytes())
    return digest.hexdigest()
