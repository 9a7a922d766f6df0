from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.cli import execution
from bids_sr.exceptions import ConfigError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugin: Nope\n", "names the plugin 'Nope'"),
        ("- a\n", "names the plugin None"),
        ("plugin: [", "cannot read --use-plugin"),
    ],
)
def test_a_bad_plugin_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plugin.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        execution.read_plugin(path)


def test_a_plugin_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plugin.yml"
    path.write_text("plugin: SLURM\nplugin_args:\n  sbatch_args: --time=60\n")
    assert execution.read_plugin(path) == ("SLURM", {"sbatch_args": "--time=60"})
