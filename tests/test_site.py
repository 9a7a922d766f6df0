"""The hooks of the documentation site: pages outside docs/, links, and nothing from the web."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

mkdocs = pytest.importorskip("mkdocs", reason="the site needs the extra `site`")

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGURATION = """\
site_name: a site
strict: true
use_directory_urls: false
theme: {name: null, custom_dir: theme}
plugins: []
exclude_docs: "*.py"
hooks: [docs/site_hooks.py]
validation: {omitted_files: warn, absolute_links: warn, unrecognized_links: warn, anchors: warn}
nav:
  - Home: README.md
  - Start: [start/first.md]
  - Results: [benchmarks/RESULTS.md]
  - Project: [CHANGES.md, CONTRIBUTING.md]
"""
TEMPLATE = """\
{% for section in nav %}[{{ section.title }}:
{% for page in section.children or [] %}{{ page.url }} {% endfor %}]{% endfor %}
{{ page.content }}
"""
PAGES = {
    "theme/main.html": TEMPLATE,
    "README.md": "# Home\n\n[first](docs/start/first.md), [decisions](docs/decisions/)\n",
    "CHANGES.md": "# Changes\n",
    "CONTRIBUTING.md": "# Contributing\n",
    "benchmarks/RESULTS.md": "# Results\n\n## A table\n\n[card](../code/card.md)\n",
    "code/card.md": "# Card\n\n[settings](settings.toml), [home](../README.md)\n",
    "code/settings.toml": "steps = 1\n",
    "docs/start/first.md": "# First\n\n[table](../../benchmarks/RESULTS.md#a-table)\n",
    "docs/start/second.md": "# Second\n\n```\n[no link](gone.md)\n```\n",
    "docs/decisions/0001.md": "# One\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "mkdocs.yml").write_text(CONFIGURATION)
    shutil.copy(REPOSITORY / "docs" / "site_hooks.py", tmp_path / "docs")
    return tmp_path


def build(repository: Path) -> Path:
    """Build the site of a repository; its folder."""
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    config = load_config(str(repository / "mkdocs.yml"))
    config.plugins.on_startup(command="build", dirty=False)
    build_site(config)
    return repository / "site"


def test_links_out_of_the_folder_of_the_documentation_lead_to_pages(repository: Path) -> None:
    site = build(repository)
    assert 'href="../benchmarks/RESULTS.html#a-table"' in (site / "start/first.html").read_text()
    assert 'href="../code/card.html"' in (site / "benchmarks/RESULTS.html").read_text()
    card = (site / "code/card.html").read_text()
    assert 'href="settings.toml"' in card
    assert 'href="../index.html"' in card
    assert (site / "code/settings.toml").read_text() == "steps = 1\n"
    home = (site / "index.html").read_text()
    assert 'href="start/first.html"' in home
    assert 'href="decisions/0001.html"' in home


def test_a_page_that_the_navigation_does_not_list_is_in_the_section_of_its_folder(
    repository: Path,
) -> None:
    home = (build(repository) / "index.html").read_text()
    assert "[Start:\nstart/first.html start/second.html ]" in home
    assert "[Results:\nbenchmarks/RESULTS.html code/card.html decisions/0001.html ]" in home


@pytest.mark.parametrize(
    "text", ["[x](gone.md)", "[x](second.md#gone)", "[x](../../gone.md)", "![x](gone.png)"]
)
def test_a_dead_link_stops_the_build(
    repository: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    from mkdocs.exceptions import Abort

    (repository / "docs/start/first.md").write_text(f"# First\n\n{text}\n")
    with pytest.raises(Abort):
        build(repository)
    (warning,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert "start/first.md" in warning
    assert "gone" in warning


@pytest.mark.parametrize(
    "text",
    ["![x](https://example.org/x.png)", '<script src="//example.org/x.js"></script>'],
)
def test_a_page_that_loads_from_the_web_stops_the_build(
    repository: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    from mkdocs.exceptions import Abort

    (repository / "docs/start/first.md").write_text(f"# First\n\n{text}\n")
    with pytest.raises(Abort):
        build(repository)
    assert "start/first.md loads something from the web" in caplog.text
