"""What the site needs beyond the pages in docs/, as hooks of MkDocs (`mkdocs.yml`).

* What a page links to elsewhere in the repository (README, CHANGES, benchmark results, model
  cards) becomes part of the site under its path in the repository, without a copy in git.
* Links stay as they work in the repository; here they are rewritten for the site.  A link to
  nothing is left as it is, and MkDocs reports it.
* A page that `nav` does not list follows the pages of its folder there, else those of the results.
* A page that would load anything from the web is an error.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
ROOTS = ("README.md", "CHANGES.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md")
LINK = re.compile(r"(\]\()([^)\s]+)(?=\))")
FENCE = re.compile(r"^\s*```")
LOADED = re.compile(
    r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//[^>]*"""
)
CANONICAL = re.compile(r"""\brel=["']?(?:canonical|edit|me)\b""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside docs/, and what `nav` does not list."""
    waiting = [*ROOTS, *(f"docs/{page.src_uri}" for page in files.documentation_pages())]
    known = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith("docs/"):
            source = str(REPOSITORY / path)
            files.append(File.generated(config, path, abs_src_path=source))
        if not path.endswith(".md"):
            continue
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        for target in (_aim(path, link) for link in _links(text)):
            outside = target and not target.startswith("docs/") and target not in known
            if outside and (REPOSITORY / target).is_file():
                known.add(target)
                waiting.append(target)
    config.nav = _complete(config.nav or [], files)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page from paths of the repository to paths of the site."""
    here = page.file.src_uri
    in_docs = (REPOSITORY / "docs" / here).is_file()
    source = f"docs/{here}" if in_docs else here

    def rewritten(link: str) -> str:
        target = _aim(source, link)
        on_site = target.removeprefix("docs/")
        if not target or files.get_file_from_path(on_site) is None:
            return link
        anchor = "#" + link.partition("#")[2] if "#" in link else ""
        return posixpath.relpath(on_site, posixpath.dirname(here) or ".") + anchor

    return _replace_links(markdown, rewritten)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads anything from the web."""
    loaded = [tag for tag in LOADED.findall(output) if not CANONICAL.search(tag)]
    if loaded:
        raise PluginError(f"{page.file.src_uri} loads something from the web: {loaded[0]}")
    return output


def _replace_links(text: str, replace: Callable[[str], str]) -> str:
    """Replace the targets of the links outside code blocks."""
    lines, in_code = text.split("\n"), False
    for number, line in enumerate(lines):
        if FENCE.match(line):
            in_code = not in_code
        elif not in_code:
            lines[number] = LINK.sub(lambda found: found[1] + replace(found[2]), line)
    return "\n".join(lines)


def _links(text: str) -> list[str]:
    """List the targets of the links outside code blocks."""
    links: list[str] = []

    def note(link: str) -> str:
        links.append(link)
        return link

    _replace_links(text, note)
    return links


def _aim(source: str, link: str) -> str:
    """Return the path in the repository that a link of a page leads to; empty if elsewhere."""
    name = link.partition("#")[0]
    if not name or "://" in name or name.startswith("mailto:"):
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), name))
    folder = REPOSITORY / path
    if folder.is_dir():
        pages = sorted(page.name for page in folder.glob("*.md"))
        return f"{path}/{pages[0]}" if pages else ""
    return path


def _complete(nav: list[Any], files: Files) -> list[Any]:
    """Add the pages that `nav` lacks behind the pages of their folder, else to the results."""
    results = next(section["Results"] for section in nav if "Results" in section)
    listed = {page for section in nav for page in _pages(section)}
    for page in sorted(files.documentation_pages(), key=lambda file: file.src_uri):
        if page.src_uri in listed:
            continue
        folder = posixpath.dirname(page.src_uri)
        for section in nav:
            ((_, pages),) = section.items()
            if isinstance(pages, list) and any(posixpath.dirname(p) == folder for p in pages):
                pages.append(page.src_uri)
                break
        else:
            results.append(page.src_uri)
    return nav


def _pages(section: dict[str, Any]) -> list[str]:
    """List the pages of a section."""
    ((_, pages),) = section.items()
    return pages if isinstance(pages, list) else [pages]
