"""Check, or fetch again, the copy of NiiVue that the viewer is made of.

    python requirements/viewer_bundle.py            compares the stored copy with its checksum
    python requirements/viewer_bundle.py --fetch    writes it anew from the npm package

``bids_sr/data/viewer/niivue.json`` names the package, its version and both checksums: the
integrity of the package as npm states it, and the SHA-256 of the script in it.  Fetching needs
``npm``, which asks the registry that it is set to.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "bids_sr" / "data" / "viewer"


class BundleError(Exception):
    """The copy is not the one that is recorded."""


def recorded(folder: Path = FOLDER) -> dict[str, str]:
    """Read which package the copy is of, and its checksums."""
    table: dict[str, str] = json.loads((folder / "niivue.json").read_text(encoding="utf-8"))
    return table


def check(folder: Path = FOLDER) -> str:
    """Compare the stored copy with its checksum, and return what it is in words.

    Raises
    ------
    BundleError
        If they differ, or the licences are missing.
    """
    known = recorded(folder)
    script = gzip.decompress((folder / known["file"]).read_bytes())
    _compare("the script", hashlib.sha256(script).hexdigest(), known["sha256"])
    if known["package"] not in (folder / "LICENSES.txt").read_text(encoding="utf-8"):
        raise BundleError(f"LICENSES.txt does not name {known['package']}")
    return f"{known['package']} {known['version']}: {len(script)} bytes, as recorded"


def fetch(folder: Path = FOLDER) -> str:
    """Fetch the package with npm, check it, and write the copy; the same bytes every time."""
    known = recorded(folder)
    with tempfile.TemporaryDirectory() as temporary:
        wanted = f"{known['package']}@{known['version']}"
        command = ["npm", "pack", "--silent", "--pack-destination", temporary, wanted]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (path,) = Path(temporary).glob("*.tgz")
        package = path.read_bytes()
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode("ascii")
    _compare("the package", f"sha512-{digest}", known["integrity"])
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        member = archive.extractfile(known["member"])
        if member is None:
            raise BundleError(f"{known['member']} in the package is no file")
        script = member.read()
    _compare("the script", hashlib.sha256(script).hexdigest(), known["sha256"])
    (folder / known["file"]).write_bytes(gzip.compress(script, compresslevel=9, mtime=0))
    return check(folder)


def _compare(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise BundleError(f"{what} has the checksum {found}, expected {expected}")


def main() -> int:
    """Check or fetch; 1 where something is not as recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fetch", action="store_true", help="write the copy anew with npm")
    try:
        sys.stdout.write((fetch() if parser.parse_args().fetch else check()) + "\n")
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
