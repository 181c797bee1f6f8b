"""Renders a page from its template: values are escaped, and a missing one is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def rendered(template: Path, filters: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The page that a template makes of these values; it may include templates from its folder and this one."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(template.name).render(values)


def breaking(text: str) -> Markup:
    """Text that may wrap after `+` and `_`, since names of compositions are long."""
    return Markup("_<wbr>").join(Markup("+<wbr>").join(part.split("+")) for part in text.split("_"))
