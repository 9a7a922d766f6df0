"""Cross-references of docstrings (Sphinx roles) for the site, as an extension of Griffe."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:mod|func|class|meth|data|attr):`~?\.?([\w.]+)`")
LITERAL = re.compile(r"``([^`]+)``")


class Roles(Extension):
    """Show the name that a role names, as code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = LITERAL.sub(r"`\1`", text)
