"""How a page is made of its template: what is put into it is escaped, and what it lacks is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def rendered(template: Path, filters: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    """The page that a template and these words make; the template may include what lies beside it, and here."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(template.name).render(words)


def breaking(text: str) -> Markup:
    """Text that may be broken after `+` and `_`, since the names of compositions are long."""
    return Markup("_<wbr>").join(Markup("+<wbr>").join(part.split("+")) for part in text.split("_"))
