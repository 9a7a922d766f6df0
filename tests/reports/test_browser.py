"""Pages in a real browser: scripts run, controls work, nothing is asked of a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bids_sr.imaging import Volume
from bids_sr.reports.assemble import assemble_subject
from bids_sr.reports.figures import plot_before_after
from bids_sr.reports.group import group_report

from .conftest import decision, write_decisions, write_quality

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the PATH"),
]


def browse(page: Path, script: str, folder: Path) -> tuple[str, set[str]]:
    """Open a page, run a script in it, and return the document and the addresses asked for."""
    copy = page.with_name(f"browsed_{page.name}")
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    log = folder / "net.json"
    command = [
        str(BROWSER),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"),
        *("--virtual-time-budget=2000", "--dump-dom", copy.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    events = json.loads(log.read_text())["events"]
    addresses = {event.get("params", {}).get("url", "") for event in events}
    copy.unlink()
    return done.stdout, {url for url in addresses if re.match(r"https?:", url)}


def test_layer_controls_say_what_is_seen(run_copy: Path, tmp_path: Path) -> None:
    page = assemble_subject(run_copy, "01")
    script = """
      var svg = document.querySelector('.bids-sr-layers'), log = [];
      var controls = document.querySelector('[data-layers]');
      var buttons = Array.from(controls.querySelectorAll('button'));
      function pressed() {
        return buttons.filter(function (button) {
          return button.getAttribute('aria-pressed') === 'true'; }).map(
          function (button) { return button.textContent; }).join('+');
      }
      function note() {
        var seen = Array.from(svg.querySelectorAll('.layer')).filter(function (layer) {
          return getComputedStyle(layer).visibility === 'visible'; }).map(
          function (layer) { return layer.getAttribute('aria-label'); }).join('+');
        log.push(seen + '=' + pressed() + '=' +
                 document.querySelector('[data-shown]').textContent.trim());
      }
      note();
      buttons[0].click(); note();
      svg.dispatchEvent(new MouseEvent('click')); note();
      svg.dispatchEvent(new KeyboardEvent('keydown', {key: ' '})); note();
      document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'f', bubbles: true})); note();
      document.title = log.join(' | ');
    """
    document, addresses = browse(page, script, tmp_path)
    order = ["Super-resolved", "Acquired", "Interpolated", "Super-resolved", "Acquired"]
    expected = " | ".join(f"{name}={name}=Shown: {name}." for name in order)
    assert f"<title>{expected}</title>" in document
    assert not [url for url in addresses if "doi.org" in url]


def test_flip_controls_say_what_is_seen(run_copy: Path, tmp_path: Path) -> None:
    """A figure of two images, as guides and earlier versions have them."""
    volume = Volume(np.random.default_rng(0).random((30, 30, 8), np.float32), np.eye(4))
    (figure,) = (run_copy / "sub-01" / "figures").glob("*_desc-sr_*.svg")
    plot_before_after(volume, volume, figure)
    page = assemble_subject(run_copy, "01")
    script = """
      var svg = document.querySelector('.bids-sr-flip'), log = [];
      function note() {
        log.push((svg.classList.contains('flipped') ? 'before' : 'after') + '=' +
          document.querySelector('[data-flip] [aria-pressed=true]').dataset.show);
      }
      note();
      document.querySelector('[data-show=before]').click();
      setTimeout(note, 50);
      setTimeout(function () { svg.dispatchEvent(new MouseEvent('click')); }, 100);
      setTimeout(note, 150);
      setTimeout(function () { document.title = log.join(' '); }, 200);
    """
    document, _ = browse(page, script, tmp_path)
    assert "<title>after=after before=before after=after</title>" in document


@pytest.mark.parametrize("clipboard", ["undefined", "{writeText: note}"])
def test_commands_are_copied_from_disk(run_copy: Path, tmp_path: Path, clipboard: str) -> None:
    """With the browser's clipboard, and where it keeps that from pages on disk."""
    page = assemble_subject(run_copy, "01")
    script = f"""
      var copied = [];
      function note(text) {{ copied.push(text); return Promise.resolve(); }}
      Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}});
      document.execCommand = function () {{
        copied.push(document.activeElement.value); return true; }};
      var buttons = Array.from(document.querySelectorAll('.command .copy'));
      document.querySelectorAll('details').forEach(function (part) {{ part.open = true; }});
      buttons[0].click();
      setTimeout(function () {{
        var command = buttons[0].parentNode.querySelector('code').textContent;
        document.title = [copied.length, copied[0] === command, buttons[0].textContent,
          buttons.every(function (button) {{ return !button.hidden; }})].join(' ');
      }}, 300);
    """
    document, _ = browse(page, script, tmp_path)
    assert "<title>1 true Copied true</title>" in document


def test_table_is_sorted_and_filtered(run_copy: Path, tmp_path: Path) -> None:
    group_report(run_copy)
    script = """
      var rows = function () {
        return Array.from(document.querySelectorAll('#images tbody tr')).filter(
          function (row) { return !row.hidden; }).map(
          function (row) { return row.cells[0].textContent; }).join(',');
      };
      var log = [rows()];
      var head = document.querySelector('#images thead button');
      head.click(); head.click(); log.push(rows());
      var field = document.getElementById('filter');
      field.value = 'ses-01'; field.dispatchEvent(new Event('input')); log.push(rows());
      document.title = log.join(' | ');
    """
    document, _ = browse(run_copy / "group_FLAIR.html", script, tmp_path)
    first, second = "sub-01_ses-01_FLAIR", "sub-02_FLAIR"
    assert f"<title>{first},{second} | {second},{first} | {first}</title>" in document


def test_table_is_sorted_by_the_verdict(run_copy: Path, tmp_path: Path) -> None:
    """Images with the most checks that ask for a look at one end, those without a verdict last."""
    rows = []
    for label, mask in (("1", 1400.0), ("2", 300.0), ("3", 1400.0)):
        image = f"sub-{label}/anat/sub-{label}_PDw.nii.gz"
        write_quality(
            run_copy / f"sub-{label}/anat/sub-{label}_desc-sr_qc.json",
            image,
            brain_mask={"Method": "template", "VolumeMl": mask},
        )
        rows.append(decision(image, action="super-resolve", status="done"))
    rows[2]["status"] = "failed"
    write_decisions(run_copy, rows)
    group_report(run_copy)
    script = """
      var order = function () {
        return Array.from(document.querySelectorAll('#images tbody tr')).map(
          function (row) { return row.cells[0].textContent.trim(); }).join(','); };
      var head = Array.from(document.querySelectorAll('#images thead button')).filter(
        function (button) { return button.textContent === 'Verdict'; })[0];
      head.click(); var up = order(); head.click();
      document.title = up + ' | ' + order();
    """
    document, _ = browse(run_copy / "group_PDw.html", script, tmp_path)
    assert (
        "<title>sub-1_PDw,sub-2_PDw,sub-3_PDw | sub-2_PDw,sub-1_PDw,sub-3_PDw</title>" in document
    )


def test_nothing_that_others_wrote_runs_in_a_page(run_copy: Path, tmp_path: Path) -> None:
    """Files as anybody could leave them, who may write into the output folder."""
    run = "document.documentElement.dataset.ran = 1"
    payload = f"\"'><img src=x onerror='{run}'><script>{run}</script><svg onload='{run}'>"
    (figure,) = (run_copy / "sub-01" / "figures").glob("*_desc-sr_*.svg")
    drawing = figure.read_text()
    figure.write_text(drawing.replace("<svg ", f'<svg onload="{run}" ').replace("</svg>", payload))
    for path in run_copy.rglob("*.json"):
        content = json.loads(path.read_text())
        changed = {
            name: payload if isinstance(value, str) and name != "Image" else value
            for name, value in content.items()
        }
        path.write_text(json.dumps({**changed, payload: payload, "Warnings": [payload]}))
    table = run_copy / "decisions.tsv"
    head, *rows = table.read_text().splitlines()
    columns = head.split("\t")
    written = [head]
    for row in rows:
        cells = dict(zip(columns, row.split("\t"), strict=True))
        written.append("\t".join((cells | {"message": payload, "reason": payload}).values()))
    table.write_text("\n".join(written) + "\n")
    methods = run_copy / "logs" / "CITATION.md"
    methods.parent.mkdir(exist_ok=True)
    methods.write_text(f"{payload} [x](javascript:{run}) [y](data:text/html,{payload})\n")

    group_report(run_copy)
    script = """
      document.title = Array.from(document.querySelectorAll('a')).filter(
        function (link) { return !/^(https:|file:)$/.test(link.protocol) &&
          !(link.download && /^data:application\\/x-[a-z-]+;charset=utf-8,[^<]*$/.test(link.href));
        }).length;
    """
    for page in (assemble_subject(run_copy, "01"), run_copy / "group_FLAIR.html"):
        assert "onerror" in page.read_text()  # it is there, as text
        document, _ = browse(page, script, tmp_path)
        assert "<title>0</title>" in document
        assert "data-ran" not in document.split("<body", 1)[0]
