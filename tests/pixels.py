"""The pixels that each method makes of the built-in photographs, in a table with what they were made with.

    python -m tests.pixels [--write]

Says which library has moved where pixels have; ends with status 1 then. `--write` writes the table anew or, where
versions are those of the table and the kind of CPU is not in it, adds this kind. Nothing here says what is right: only
what has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generators.variant import DEFAULT_REFERENCE, parse, reference
from manifests.provenance import cpu
from pipelines.generate.given import read
from pipelines.generate.render import Renderer
from pipelines.generate.sources import SampleSource
from tests.methods import ON_CPU
from tests.rows import image_row

TABLE = Path(__file__).with_suffix(".json")
# A crop, as by default; and a frame so flat that heights shrink far more than widths, which Pillow 13 resizes in
# another order than Pillow 12.
FRAMES = {"crop 224": ("crop", (224,)), "stretch 400x100": ("stretch", (400, 100))}
_WRITE = "python -m tests.pixels --write"
_MEANT = f"If that is meant: `{_WRITE}`, and a line in CHANGELOG.md where pixels have changed."
_UNKNOWN = f"This kind of CPU, which may be the reason, is not in the table: `{_WRITE}` adds it."

# Digests by frame and token. A digest is a manifest's `pixels_sha256`.
Pixels = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Made:
    """What is made here. `versions` are by library: its own first, then those of what is built into it.

    `sources` is a digest of the photographs' files.
    """

    sources: str
    versions: Mapping[str, Mapping[str, str]]
    cpu: Mapping[str, Any]
    pixels: Pixels


@dataclass(frozen=True)
class Table:
    """What was made: as `Made`, on CPUs of several kinds. `pixels` are the first's; others name what they differ in."""

    sources: str
    versions: Mapping[str, Mapping[str, str]]
    cpus: Sequence[Mapping[str, Any]]
    pixels: Pixels

    def knows(self, kind: Mapping[str, Any]) -> bool:
        """Whether pixels were made on this kind of CPU."""
        return any(one["cpu"] == kind for one in self.cpus)

    def of(self, kind: Mapping[str, Any]) -> Pixels:
        """The pixels on a kind of CPU; on one that is not known, the first's."""
        own: Pixels = next((one["pixels"] for one in self.cpus if one["cpu"] == kind), {})
        return {frame: {**digests, **own.get(frame, {})} for frame, digests in self.pixels.items()}


@dataclass(frozen=True)
class Compared:
    """Lines about what has changed, and about what differs where the kind of CPU may be the reason."""

    changed: Sequence[str]
    unknown: Sequence[str]

    def __str__(self) -> str:
        changed = [*self.changed, _MEANT] if self.changed else []
        unknown = [*self.unknown, _UNKNOWN] if self.unknown else []
        return "\n".join([*changed, *unknown])


def make() -> Made:
    """Render the photographs by every method that runs here on the CPU. Raises RuntimeError where one fails."""
    source = SampleSource()
    listing = source.listing()
    methods = list(ON_CPU.values())
    base = reference(DEFAULT_REFERENCE)
    variants = [parse(method.token, base) for method in methods]
    pixels = {}
    for name, (geometry, size) in FRAMES.items():
        totals = {method.token: hashlib.sha256() for method in methods}
        renderer = Renderer(variants, base, geometry, size, "npy", 0)
        for rendered in renderer.render_all(read(source, list(listing.samples))):
            for total, (row, *_) in zip(totals.values(), rendered, strict=True):
                if row.status != "ok":
                    raise RuntimeError(f"{row.key}: {row.error}")
                total.update(f"{row.key} {image_row(row).pixel_sha256}\n".encode())
        pixels[name] = {token: total.hexdigest() for token, total in totals.items()}
    used = dict.fromkeys(method.library for method in methods)
    versions = {library.name: library.versions() for library in used}
    return Made(str(listing.facts["content_sha256"]), versions, cpu(), pixels)


def load() -> Table:
    """The table of the repository."""
    return Table(**json.loads(TABLE.read_text()))


def write(table: Table) -> None:
    """Write the table of the repository."""
    TABLE.write_text(json.dumps(asdict(table), indent=1) + "\n")


def anew(made: Made, table: Table | None) -> Table:
    """The table with what is made here: another kind of CPU in it, or this one alone."""
    if table is None or table.knows(made.cpu) or compare(table, made).changed:
        return Table(made.sources, made.versions, [{"cpu": made.cpu, "pixels": {}}], made.pixels)
    differing = _differing(table, made)
    own = {frame: {token: made.pixels[frame][token] for token in tokens} for frame, tokens in differing.items()}
    return Table(table.sources, table.versions, [*table.cpus, {"cpu": made.cpu, "pixels": own}], table.pixels)


def compare(table: Table, made: Made) -> Compared:
    """What has changed since the table was written."""
    moved = _moved(table, made)
    if table.sources != made.sources:
        why = ", ".join(moved.values()) or "no library has moved"
        return Compared([f"The photographs are other files, most of which Pillow writes: {why}."], [])
    lone, blamed = _lone(table, made), _blamed(table, made)
    changed = [f"{', '.join(lone)}: in the table alone, or not in it."] if lone else []
    unknown = []
    for library in made.versions:
        what = blamed.get(library)
        if library in moved:
            changed.append(f"{library} has moved ({moved[library]}): {what or 'no pixel'} changed.")
        elif what and table.knows(made.cpu):
            built = _changes(table.versions.get(library, {}), made.versions[library])
            reason = f"it is another build ({built})" if built else "it is another build, or the change is our own"
            changed.append(f"{library} has not moved, but {what} changed: {reason}.")
        elif what:
            unknown.append(f"{library} has not moved, but {what} differ.")
    return Compared(changed, unknown)


def _blamed(table: Table, made: Made) -> dict[str, str]:
    """What differs, by the library that it is of. All is the reference's where that differs: others are made of it."""
    base = reference(DEFAULT_REFERENCE).decode
    found: dict[str, list[str]] = {}
    for frame, tokens in _differing(table, made).items():
        owners = {token: (base if base.token in tokens else ON_CPU[token]).library.name for token in tokens}
        for library in dict.fromkeys(owners.values()):
            own = [token for token, owner in owners.items() if owner == library]
            found.setdefault(library, []).append(f"{', '.join(own)} in {frame}")
    return {library: "; ".join(parts) for library, parts in found.items()}


def _differing(table: Table, made: Made) -> dict[str, list[str]]:
    """The tokens whose pixels are not the table's by frame, of those that both have."""
    found = {}
    for frame, digests in table.of(made.cpu).items():
        now = made.pixels.get(frame, {})
        if tokens := [token for token, was in digests.items() if now.get(token, was) != was]:
            found[frame] = tokens
    return found


def _lone(table: Table, made: Made) -> list[str]:
    """Frames, or tokens, that either the table or what is made here lacks."""
    if lone := table.pixels.keys() ^ made.pixels.keys():
        return sorted(lone)
    return sorted({token for frame in FRAMES for token in table.pixels[frame].keys() ^ made.pixels[frame].keys()})


def _moved(table: Table, made: Made) -> dict[str, str]:
    """What has changed in the versions of libraries that are not those of the table, by library."""
    found = {}
    for library, now in made.versions.items():
        was = table.versions.get(library, {})
        if any(was.get(name) != version for name, version in now.items() if "/" not in name):
            found[library] = _changes(was, now)
    return found


def _changes(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = {name: (was.get(name, "none"), version) for name, version in now.items() if was.get(name) != version}
    return ", ".join(f"{name} {before} → {after}" for name, (before, after) in changed.items())


def main() -> int:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table instead")
    given = parser.parse_args()
    made = make()
    if given.write:
        table = anew(made, load() if TABLE.exists() else None)
        write(table)
        print(f"{TABLE.name} is written; kinds of CPU in it: {len(table.cpus)}")
        return 0
    found = compare(load(), made)
    count = len(next(iter(made.pixels.values())))
    print(f"Python {platform.python_version()}:", str(found) or f"{count} methods make the pixels of {TABLE.name}.")
    return bool(found.changed)


if __name__ == "__main__":
    sys.exit(main())
