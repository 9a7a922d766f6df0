"""Bring the weights and templates that an image shall carry, each by its SHA-256.

    python container/install_opt.py /opt/bids_sr --weights "hd-bet" --templates "tpl-X" \
        --source container/opt

The source is a folder, or the address of one (``https://...``), laid out like the target:
``weights/...`` as ``bids_sr-tools fetch --weights-dir`` leaves it, ``templateflow/tpl-.../...``.
Its ``SHA256SUMS`` (in the format of ``sha256sum``; for an address it lies in ``container/opt``)
says what belongs to it.  A file that is missing, differs, or has no digest ends the build.
With nothing asked for, two empty folders are made.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from bids_sr.download import download
from bids_sr.exceptions import WeightsError
from bids_sr.files import file_digest
from bids_sr.published import PublishedWeights, published_weights

LOCAL = Path(__file__).resolve().parent / "opt"
SUMS = "SHA256SUMS"


def read_sums(path: Path) -> dict[str, str]:
    """Read digests in the format of ``sha256sum``: relative path -> 64 hexadecimal digits.

    Raises
    ------
    WeightsError
        If a line is not one, or its path leaves the folder.
    """
    digests = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        value, _, name = line.partition(" ")
        name = name.strip().removeprefix("*").removeprefix("./")
        inside = name and not name.startswith("/") and ".." not in PurePosixPath(name).parts
        if len(value) != 64 or set(value.lower()) - set("0123456789abcdef") or not inside:
            raise WeightsError(
                f"Found {line!r} at {path}:{number}; expected `<SHA-256>  <relative path>`, as "
                "sha256sum writes it in that folder."
            )
        digests[name] = value.lower()
    return digests


def bring(path: str, sha256: str, source: str, target: Path) -> None:
    """Bring one file from a folder or an address, checked before it gets its name.

    Raises
    ------
    WeightsError
        If it is not there or has another digest.
    """
    if "://" in source:
        download(f"{source.rstrip('/')}/{quote(path)}", target / path, sha256=sha256)
        return
    origin = Path(source) / path
    if not origin.is_file():
        raise WeightsError(
            f"Found no {origin}; expected the file with SHA-256 {sha256} that {SUMS} lists. Put "
            "it there, or name a mirror by OPT_FROM=https://..."
        )
    found = file_digest(origin)
    if found != sha256:
        raise WeightsError(
            f"Found SHA-256 {found} of {origin}; expected {sha256} as {SUMS} lists. It is damaged "
            "or another version: get it again, and check where its digest comes from."
        )
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(origin, target / path)


def files_of(weights: PublishedWeights, sums: dict[str, str]) -> dict[str, str]:
    """Map the files of published weights, below the source, to their digests.

    Raises
    ------
    WeightsError
        If nobody has said a file's digest.
    """
    wanted = {}
    for name, released in weights.files.items():
        path = f"weights/{weights.folder}/{name}"
        known = released or sums.get(path)
        if known is None:
            raise WeightsError(
                f"Found no SHA-256 of {path}; expected a line of it in container/opt/{SUMS}. "
                f"`bids_sr-tools fetch {weights.name} --weights-dir container/opt/weights` brings "
                f"the files from {weights.page}; `sha256sum` says what they are."
            )
        wanted[path] = known
    return wanted


def main(argv: list[str] | None = None) -> int:
    """Bring what is named; 1 with the reason if that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--weights", default="", help="names as `bids_sr-tools fetch` has them")
    parser.add_argument("--templates", default="", help="folders of TemplateFlow, as tpl-...")
    parser.add_argument("--source", default=str(LOCAL), help="folder or address")
    options = parser.parse_args(argv)
    for folder in ("weights", "templateflow"):
        (options.target / folder).mkdir(parents=True, exist_ok=True)
    wanted: dict[str, str] = {}
    try:
        place = LOCAL if "://" in options.source else Path(options.source)
        if options.weights + options.templates and not place.is_dir():
            raise WeightsError(f"Found no folder {place}; expected weights or templates in it.")
        sums = read_sums(place / SUMS) if (place / SUMS).is_file() else {}
        for name in options.weights.split():
            weights = published_weights(name)
            if not weights.packaged:
                wanted |= files_of(weights, sums)
        for name in options.templates.split():
            found = {p: s for p, s in sums.items() if p.startswith(f"templateflow/{name}/")}
            if not found:
                raise WeightsError(
                    f"Found no file of templateflow/{name}/ in {place / SUMS}; expected the "
                    "SHA-256 of each."
                )
            wanted |= found
        for path, sha256 in wanted.items():
            bring(path, sha256, options.source, options.target)
            sys.stdout.write(f"{sha256}  {path}\n")
    except WeightsError as error:
        sys.stderr.write(f"install_opt: {error}\n")
        return 1
    record = options.target / SUMS
    carried = (read_sums(record) if record.is_file() else {}) | wanted
    record.write_text("".join(f"{sha256}  {path}\n" for path, sha256 in carried.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
