"""A bibliography: the references that a methods text may cite.

Reads the plain BibTeX of ``data/boilerplate.bib`` (UTF-8, fields in braces, no
macros) and prints references; it is not a general BibTeX processor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from urllib.parse import quote

from markupsafe import Markup, escape

from bids_sr.exceptions import BidsSrError

_ENTRY = re.compile(r"^@(\w+)\{([^,\s]+),\n(.*?)^\}\n", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", re.MULTILINE)
_RIS_TYPES = {"article": "JOUR", "inproceedings": "CPAPER", "misc": "GEN", "book": "BOOK"}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One entry of the bibliography."""

    key: str
    fields: dict[str, str]
    """Field name -> text without braces."""
    source: str
    """The entry as BibTeX."""

    @property
    def authors(self) -> str:
        """All authors, family names first: ``Unser M, Aldroubi A, Eden M``."""
        names = []
        for author in self.fields["author"].split(" and "):
            if author == "others":
                names.append("et al.")
                continue
            family, _, first_names = author.partition(", ")
            initials = "".join(part[0] for part in re.split(r"[\s-]+", first_names) if part)
            names.append(f"{family} {initials}".strip())
        return ", ".join(names)

    @property
    def short(self) -> str:
        """As in running text: ``Unser et al. (1993)``."""
        families = [name.partition(",")[0] for name in self.fields["author"].split(" and ")]
        if len(families) > 2 or "others" in families:
            who = f"{families[0]} et al."
        else:
            who = " and ".join(families)
        return f"{who} ({self.fields['year']})" if "year" in self.fields else who

    @property
    def url(self) -> str | None:
        """Address of the DOI, or None."""
        doi = self.fields.get("doi")
        return f"https://doi.org/{quote(doi, safe='/():;')}" if doi else None

    @property
    def ris(self) -> str:
        """The entry in the RIS format, which reference managers import."""
        kind = self.source.partition("{")[0].removeprefix("@").lower()
        get = self.fields.get
        start, _, end = get("pages", "").partition("--")
        names = [name for name in self.fields["author"].split(" and ") if name != "others"]
        lines = [
            ("TY", _RIS_TYPES.get(kind, "GEN")),
            *(("AU", name) for name in names),
            ("TI", self.fields["title"]),
            ("T2", get("journal") or get("booktitle") or get("howpublished") or ""),
            ("VL", get("volume", "")),
            ("IS", get("number", "")),
            ("SP", start),
            ("EP", end),
            ("PY", get("year", "")),
            ("DO", get("doi", "")),
            ("UR", self.url or ""),
        ]
        return "".join(f"{tag}  - {value}\n" for tag, value in lines if value) + "ER  - \n"

    def html(self) -> Markup:
        """Print the reference in full, with the DOI as a link."""
        get = self.fields.get
        year = Markup(" ({}).").format(self.fields["year"]) if get("year") else Markup(".")
        if self.authors.endswith("."):
            year = Markup(str(year).rstrip(".") if not get("year") else str(year))
        venue = get("journal") or get("booktitle") or get("howpublished") or ""
        numbers = get("volume", "")
        if get("number"):
            numbers += f"({self.fields['number']})"
        if get("pages"):
            numbers += ("\N{COLON}" if numbers else "") + self.fields["pages"].replace("--", "–")
        link = Markup("")
        if self.url:
            link = Markup(' <a href="{}">doi:{}</a>').format(self.url, self.fields["doi"])
        return (
            escape(self.authors)
            + year
            + Markup(" {}. <em>{}</em>").format(self.fields["title"], venue)
            + (Markup(" {}").format(numbers) if numbers else Markup(""))
            + Markup(".")
            + link
        )


def parse_bibtex(text: str) -> dict[str, Reference]:
    """Read BibTeX entries.

    Parameters
    ----------
    text : str
        Each entry's closing brace stands alone on its line.

    Returns
    -------
    dict
        Key -> reference, in the order of the file.

    Raises
    ------
    BidsSrError
        If a key stands twice, or an entry has no author or title.
    """
    references: dict[str, Reference] = {}
    for match in _ENTRY.finditer(text):
        key = match[2]
        fields = {
            name.lower(): re.sub(r"[{}]", "", value) for name, value in _FIELD.findall(match[3])
        }
        missing = {"author", "title"} - set(fields)
        if key in references or missing:
            problem = "stands twice" if key in references else f"lacks {sorted(missing)}"
            raise BidsSrError(
                f"The BibTeX entry {key!r} {problem}; each key is expected once, with author "
                "and title. Correct the .bib file."
            )
        references[key] = Reference(key=key, fields=fields, source=match[0])
    return references


@cache
def bibliography() -> dict[str, Reference]:
    """Read the references that come with the package."""
    source = resources.files("bids_sr") / "data" / "boilerplate.bib"
    return parse_bibtex(source.read_text(encoding="utf-8"))


def look_up(key: str) -> Reference:
    """Find a reference.

    Raises
    ------
    BidsSrError
        If the bibliography does not have it.
    """
    try:
        return bibliography()[key]
    except KeyError:
        raise BidsSrError(
            f"The methods text cites {key!r}, which is not in bids_sr/data/boilerplate.bib "
            f"(it has: {', '.join(sorted(bibliography()))}). Correct the key or add the entry."
        ) from None
