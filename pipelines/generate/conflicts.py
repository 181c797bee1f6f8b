"""Conflicts between the variants that an output already has and those that a run is to make."""

from __future__ import annotations

from collections.abc import Mapping

from generators.draw import TOKENS
from manifests.schema import Recipe


def conflict(name: str, old: Recipe, now: Mapping[str, Recipe]) -> str | None:
    """Why the variant `name` conflicts with those to be made; None if it does not.

    The same variant must have the same recipe; another variant, the same configuration and the same versions of the
    libraries that both use. For a variant of an earlier version, only what both record is compared.
    """
    for new in [now[name]] if name in now else now.values():
        if new.name == name and new.is_probed == old.is_probed:
            differences = old.differences(new)
        else:
            differences = old.shared_with(new).differences(new.shared_with(old))
        if differences:
            # The probe pictures' digest is the least informative: it changes with any version of a library.
            first = min(differences, key=lambda difference: difference.startswith("provenance.probe_sha256"))
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            return f"was made with another {_what(first)}, {first}{more}"
    return None


def _what(difference: str) -> str:
    if difference.startswith("config.source"):
        return "source"
    if difference.startswith(tuple(f"provenance.libraries.{token}: " for token in TOKENS.values())):
        return "draw"
    if difference.startswith("provenance.libraries"):
        return "build of a library" if "/sha256: " in difference else "library version"
    if difference.startswith("provenance.probe_sha256"):
        return "kind of machine or code, which makes different pixels of the built-in pictures"
    return "kind of machine" if difference.startswith("provenance") else "configuration"
