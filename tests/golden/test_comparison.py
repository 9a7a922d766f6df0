"""The comparison with golden files: what it shows, and that each file is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden_files import FOLDER, Golden, changed
from golden_texts import REPOSITORY


def test_a_changed_value_is_shown_by_its_name(tmp_path: Path) -> None:
    lines = ["== sub-01.json", "Scale: 3.0", "Steps: 3", "Gain: 1.234", "Method: self"]
    Golden(tmp_path, writing=True)("it", lines)
    compare = Golden(tmp_path, writing=False)
    compare("it", lines)
    compare("it", [*lines[:3], "Gain: 1.2345", lines[4]])
    for number, line in ((2, "Steps: 4"), (3, "Gain: 1.334"), (4, "Method: latent")):
        altered = [*lines[:number], line, *lines[number + 1 :]]
        assert [*changed(lines, altered)] == ["== sub-01.json", f"- {lines[number]}", f"+ {line}"]
        with pytest.raises(AssertionError) as error:
            compare("it", altered)
        assert f"- {lines[number]}\n+ {line}" in str(error.value)
    assert [*changed(lines, lines[:-1])] == ["== sub-01.json", "- Method: self"]
    assert [*changed(lines, [*lines, "New: 1"])] == ["== sub-01.json", "+ New: 1"]
    with pytest.raises(AssertionError, match="BIDS_SR_GOLDEN=write"):
        compare("none", lines)


def test_every_golden_file_is_read_by_a_test() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    unread = [
        path.stem
        for path in FOLDER.glob("*.txt")
        if f'"{path.stem}"' not in sources
        and not any(
            path.stem.startswith(f"{kind}_") and f'"{path.stem[len(kind) + 1 :]}"' in sources
            for kind in ("super_resolve", "options", "exit_codes")
        )
    ]
    assert unread == []
