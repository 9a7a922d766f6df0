from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from bids_sr.engines import BUNDLED_TEMPLATE, template
from bids_sr.engines.head_template import head_template
from bids_sr.engines.template import brain_template, describe, require_template, tissue_maps
from bids_sr.exceptions import ConfigError, MissingToolError

CHILD = 0.85  # of the size of the bundled template
MOVED = np.array([0.0, 10.0, 20.0])  # mm


def write_template(home: Path, *, tissues: bool = True) -> list[Path]:
    """Write the bundled template as two cohorts of TemplateFlow, smaller and moved, with skull."""
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=2)
    affine = image.affine.copy()
    affine[:3] *= CHILD
    affine[:3, 3] += MOVED
    mask = np.asarray(datasets.load_mni152_brain_mask(resolution=2).dataobj)
    maps = {
        "T1w": np.where(mask > 0, np.asarray(image.dataobj), 0.1),
        "desc-brain_mask": mask,
        "label-GM_probseg": np.asarray(datasets.load_mni152_gm_template(resolution=2).dataobj),
        "label-WM_probseg": np.asarray(datasets.load_mni152_wm_template(resolution=2).dataobj),
    }
    import nibabel as nib

    written = []
    for cohort in ("1", "2"):
        folder = home / "tpl-Small" / f"cohort-{cohort}"
        folder.mkdir(parents=True)
        for name, data in maps.items():
            if name.endswith("probseg") and not tissues:
                continue
            path = folder / f"tpl-Small_cohort-{cohort}_res-1_{name}.nii.gz"
            nib.Nifti1Image(data.astype(np.float32), affine).to_filename(path)
            written.append(path)
    (home / "tpl-Small" / "template_description.json").write_text('{"Name": "Small"}')
    return written


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give TemplateFlow an empty folder."""
    folder = tmp_path / "templateflow"
    folder.mkdir()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "written at import"))
    with warnings.catch_warnings():  # it leaves a file open
        warnings.simplefilter("ignore")
        from templateflow import TemplateFlowClient
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(folder))
    monkeypatch.setattr(template, "_client", lambda: TemplateFlowClient(folder, autoupdate=False))
    yield folder
    head_template.cache_clear()


def test_the_bundled_template_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_client", lambda: pytest.fail("TemplateFlow was asked"))
    require_template(BUNDLED_TEMPLATE, tissues=True, offline=True)
    head = brain_template(BUNDLED_TEMPLATE, 3)
    assert head.mask.data.dtype == bool
    assert head.image.shape == head.mask.shape == tissue_maps(BUNDLED_TEMPLATE, 3)[0].shape
    assert "nilearn" in describe(BUNDLED_TEMPLATE)


def test_a_template_of_templateflow_becomes_a_head_of_its_size(home: Path) -> None:
    write_template(home)
    require_template("Small:cohort-2", tissues=True, offline=True)
    adult, child = head_template(), head_template("Small:cohort-2")
    assert child.size == pytest.approx(CHILD, abs=0.01)
    assert child.brain.data.sum() == pytest.approx(CHILD**3 * adult.brain.data.sum(), rel=0.03)
    np.testing.assert_allclose(child.centre, CHILD * adult.centre + MOVED, atol=0.5)
    assert float(np.median(child.image.data[child.brain.data])) == pytest.approx(
        float(np.median(adult.image.data[adult.brain.data])), abs=3
    )
    below = child.head.data & ~child.brain.data
    share = below.mean() / (adult.head.data & ~adult.brain.data).mean()
    assert 0.5 < share < 1.5  # the layers end at the child's skull base, not at the adult's
    grey, white = tissue_maps("Small:cohort-2", 2)
    assert 0.9 < float(grey.data.max()) <= 1.01
    assert grey.shape == white.shape
    assert "Small:cohort-2" in describe("Small:cohort-2")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Small", "Name a cohort"),
        ("Small:cohort-9", "found tpl-Small_cohort-1"),
        ("Nowhere", "TemplateFlow has no Nowhere"),
        ("../etc", "expected MNI152, NAME or NAME:cohort-C"),
    ],
)
def test_a_template_that_is_none_is_refused(home: Path, name: str, message: str) -> None:
    write_template(home)
    with pytest.raises(ConfigError, match=message):
        require_template(name, tissues=False)


def test_missing_tissue_maps_are_refused_only_where_they_are_needed(home: Path) -> None:
    write_template(home, tissues=False)
    require_template("Small:cohort-1", tissues=False, offline=True)
    with pytest.raises(ConfigError, match="found nothing for its map of grey matter"):
        require_template("Small:cohort-1", tissues=True)


def test_files_are_fetched_once_and_offline_names_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    for path in write_template(served):
        listed = home / path.relative_to(served)  # TemplateFlow lists what it has as empty files
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.touch()
    with pytest.raises(MissingToolError, match=r"cohort-1_res-1_T1w.*--offline does not allow"):
        require_template("Small:cohort-1", tissues=True, offline=True)
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            requests.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        client = template._client()
        client.cache.config.s3_root = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(template, "_client", lambda: client)
        require_template("Small:cohort-1", tissues=True)
        require_template("Small:cohort-1", tissues=True)
        assert len(requests) == 4
        server.shutdown()
    brain_template("Small:cohort-1", 4)
    (lost,) = home.rglob("*cohort-2*T1w.nii.gz")
    with pytest.raises(MissingToolError, match="it cannot be fetched"):  # nobody serves any more
        require_template("Small:cohort-2", tissues=False)
    assert lost.stat().st_size == 0
