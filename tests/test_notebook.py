"""The notebook of the documentation runs from its first cell to its last, in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "getting-started" / "first-figure.ipynb"


def test_the_notebook_goes_from_a_nifti_to_a_figure(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    place = {"metadata": {"path": str(tmp_path)}}

    client.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (tmp_path / "fine.nii.gz").is_file()
    text = "".join(output.get("text", "") for output in outputs)
    cubic, fine = map(float, re.findall(r"([\d.]+) dB", text))
    assert fine > cubic + 2
