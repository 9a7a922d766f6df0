"""The boilerplate: the methods text of a run, with numbered references.

The text is markdown with pandoc citations (``[@key; @other]`` or ``@key``), gathered
from the graph that was really built.  The converter knows headings, paragraphs,
lists, emphasis, code, links and citations, and escapes the rest: no full markdown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from bids_sr.files.writing import write_text_atomic
from bids_sr.reports.bibliography import Reference, look_up
from bids_sr.reports.page import render

_KEY = r"@([A-Za-z][\w:-]*)"
_GROUP = re.compile(rf"\[([^\[\]]*{_KEY}[^\[\]]*)\](?!\()")
_BARE = re.compile(rf"(?<![\w@./]){_KEY}")
_CODE = re.compile(r"`([^`]+)`")
_BLOCKS = re.compile(r"\n\s*\n")


@dataclass(frozen=True, kw_only=True)
class MethodsText:
    """A methods text made ready for a page."""

    body: Markup
    """HTML without its references."""
    references: tuple[Reference, ...]
    """In the order of their first mention; number n is the n-th."""

    @property
    def bibtex(self) -> str:
        """What is cited, as BibTeX."""
        return "\n".join(reference.source for reference in self.references)

    @property
    def ris(self) -> str:
        """What is cited, in the RIS format."""
        return "\n".join(reference.ris for reference in self.references)


def gather_citations(text: str) -> tuple[str, ...]:
    """List the keys that a text cites, each once, in the order of their first mention.

    Parameters
    ----------
    text : str
        Markdown with pandoc citations.

    Returns
    -------
    tuple of str

    Raises
    ------
    BidsSrError
        If a key is not in the bibliography.
    """
    keys = _BARE.findall(_CODE.sub("", text))
    return tuple(look_up(key.rstrip(":-")).key for key in dict.fromkeys(keys))


def convert(text: str) -> MethodsText:
    """Convert a methods text to HTML with numbered references.

    Parameters
    ----------
    text : str
        Markdown with pandoc citations.

    Returns
    -------
    MethodsText

    Raises
    ------
    BidsSrError
        If a key is not in the bibliography.
    """
    keys = gather_citations(text)
    numbers = {key: number for number, key in enumerate(keys, start=1)}
    blocks = [_block(block.strip(), numbers) for block in _BLOCKS.split(text) if block.strip()]
    return MethodsText(
        body=Markup("\n").join(blocks), references=tuple(look_up(key) for key in keys)
    )


def write_citations(text: str, logs_dir: str | Path) -> list[Path]:
    """Write the methods text as ``CITATION.md``, ``.html``, ``.bib`` and ``.ris``.

    Parameters
    ----------
    text : str
        Markdown with pandoc citations.
    logs_dir : path
        Folder of the four files.

    Returns
    -------
    list of Path
        The files written; ``.bib`` and ``.ris`` hold only what is cited.

    Raises
    ------
    BidsSrError
        If a key is not in the bibliography; nothing is written then.
    """
    folder = Path(logs_dir)
    methods = convert(text)
    page = render("citation.html.j2", {"methods": methods})
    return [
        write_text_atomic(folder / "CITATION.md", text.strip() + "\n"),
        write_text_atomic(folder / "CITATION.html", page),
        write_text_atomic(folder / "CITATION.bib", methods.bibtex),
        write_text_atomic(folder / "CITATION.ris", methods.ris),
    ]


def _block(text: str, numbers: dict[str, int]) -> Markup:
    heading = re.fullmatch(r"(#{1,6})\s+(.+?)\s*#*", text)
    if heading:
        # The page's own title is h1 and its sections are h2.
        level = min(6, len(heading[1]) + 2)
        return Markup("<h{0}>{1}</h{0}>").format(level, _inline(heading[2], numbers))
    if text.startswith("#"):
        first, _, rest = text.partition("\n")
        return _block(first, numbers) + Markup("\n") + _block(rest.strip(), numbers)
    for bullet, tag in ((r"[-*+]\s+", "ul"), (r"\d+[.)]\s+", "ol")):
        if re.match(bullet, text):
            items = re.split(rf"(?m)^\s*{bullet}", text)[1:]
            body = Markup("").join(
                Markup("<li>{}</li>").format(_inline(item.strip(), numbers)) for item in items
            )
            return Markup("<{0}>{1}</{0}>").format(Markup(tag), body)
    return Markup("<p>{}</p>").format(_inline(text, numbers))


def _inline(text: str, numbers: dict[str, int]) -> Markup:
    """Convert what stands inside a block; code is kept as it is."""
    parts = _CODE.split(text)  # text, code, text, code, ..., text
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd else _prose(part, numbers)
        for part, odd in zip(parts, [False, True] * len(parts), strict=False)
    )


def _prose(text: str, numbers: dict[str, int]) -> Markup:
    def number(match: re.Match[str]) -> str:
        return f'<a href="#ref-{numbers[match[1]]}">{numbers[match[1]]}</a>'

    def group(match: re.Match[str]) -> str:
        return f"[{re.sub(_KEY, number, match[1])}]".replace(";", ",")

    def mention(match: re.Match[str]) -> str:
        return f"{escape(look_up(match[1]).short)} [{number(match)}]"

    html = str(escape(text))
    html = re.sub(r"\[([^\[\]]+)\]\((https?://[^\s()]+|#[\w-]+)\)", r'<a href="\2">\1</a>', html)
    html = _GROUP.sub(group, html)
    html = _BARE.sub(mention, html)
    html = re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"<strong>\1</strong>", html, flags=re.DOTALL)
    for mark in ("\\*", "_"):
        pattern = (
            rf"(?<![\w{mark}]){mark}(?=[^\s{mark}])([^{mark}]*[^\s{mark}]){mark}(?![\w{mark}])"
        )
        html = re.sub(pattern, r"<em>\1</em>", html)
    return Markup(html)
