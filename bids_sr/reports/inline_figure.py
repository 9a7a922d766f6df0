"""A figure inlined in a page: only the elements of our own drawings are allowed.

A figure may come from anybody who can write into ``figures/``, and what stands in a page could run
in it.  The flip figure is taken apart and written anew from lists of what is allowed; what it does
when it is clicked is the page's.  A drawing with anything else does not go in.
"""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree

from bids_sr.reports.figures import FLIP_ACTIONS, FLIP_STYLE
from bids_sr.reports.stack_figures import LAYER_ACTIONS, LAYER_STYLE

_SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = frozenset({"svg", "title", "style", "g", "rect", "image", "text", "tspan", "path"})
_ATTRIBUTES = frozenset(
    [
        "d",
        "fill",
        "font-family",
        "font-size",
        "font-weight",
        "height",
        "preserveAspectRatio",
        "role",
        "stroke",
        "stroke-linecap",
        "stroke-width",
        "tabindex",
        "text-anchor",
        "transform",
        "vector-effect",
        "viewBox",
        "width",
        "x",
        "y",
    ]
)
_VALUE = re.compile(r"[-+#\w.,% ()']*")  # no colon: no address
_OTHER_ATTRIBUTES = {
    "aria-label": re.compile(r"[^\x00-\x1f]{1,200}"),  # text, written anew with its signs escaped
    "class": re.compile("bids-sr-(flip|layers)|after|before|layer( shown)?"),
    "href": re.compile("data:image/(png|jpeg);base64,[A-Za-z0-9+/=]*"),
    "style": re.compile("image-rendering:pixelated"),
}
_DROPPED = frozenset(re.findall(r'(on\w+="[^"]*")', FLIP_ACTIONS + LAYER_ACTIONS))
"""What a figure does by itself where it is opened alone."""
ROOTS = ("bids-sr-flip", "bids-sr-layers")
_MAX_DEPTH = 8


class _NotOursError(ValueError):
    """A drawing contains something that our own drawings do not."""


def inline_svg(text: str) -> str | None:
    """Write a flip figure anew, from what is allowed in it.

    Parameters
    ----------
    text : str
        An SVG.

    Returns
    -------
    str or None
        SVG to stand in HTML; None for anything but a flip figure of ours, and nothing else in it.
    """
    if not text.startswith("<svg ") or "<!" in text or "<?" in text:  # no entities
        return None
    try:
        root = ElementTree.fromstring(text)
        if root.tag != f"{_SVG}svg" or root.get("class") not in ROOTS:
            return None
        return _written(root, 0)
    except (ElementTree.ParseError, _NotOursError, ValueError):
        return None


def _written(element: ElementTree.Element, depth: int) -> str:
    name = element.tag.removeprefix(_SVG)
    style = f"<style>{element.text}</style>" if name == "style" else ""
    if name not in _ELEMENTS or depth > _MAX_DEPTH or (name == "svg") != (depth == 0):
        raise _NotOursError
    if style:
        if style not in (FLIP_STYLE, LAYER_STYLE) or element.attrib or len(element):
            raise _NotOursError
        return style
    attributes = "".join(map(_attribute, element.attrib.items()))
    inside = escape(element.text or "", quote=False) + "".join(
        _written(child, depth + 1) + escape(child.tail or "", quote=False) for child in element
    )
    return f"<{name}{attributes}>{inside}</{name}>"


def _attribute(item: tuple[str, str]) -> str:
    name, value = item
    if f'{name}="{value}"' in _DROPPED:
        return ""
    allowed = _OTHER_ATTRIBUTES.get(name, _VALUE if name in _ATTRIBUTES else None)
    if allowed is None or not allowed.fullmatch(value):
        raise _NotOursError
    return f' {name}="{escape(value)}"'
