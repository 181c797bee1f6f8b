"""The pixels of each method for the built-in photographs, recorded in a table together with what made them.

    python -m tests.pixels [--write]

Reports which library has changed if pixels have, and then exits with status 1. `--write` writes a new table or, if the
versions equal the table's but the kind of CPU is not in it, adds this kind. Nothing here tells what is right, only what
has changed.
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
# The default crop; and a frame so flat that heights shrink far more than widths, which Pillow 13 resizes in another
# order than Pillow 12.
FRAMES = {"crop 224": ("crop", (224,)), "stretch 400x100": ("stretch", (400, 100))}
_WRITE = "python -m tests.pixels --write"
_MEANT = f"If that is intended: `{_WRITE}`, and a line in CHANGELOG.md if pixels have changed."
_UNKNOWN = f"This kind of CPU, which may be the reason, is not in the table: `{_WRITE}` adds it."

# Digests by frame and token. A digest is a manifest's `pixels_sha256`.
Pixels = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Made:
    """What is made on this machine. `versions` are by library: first its own, then those of the libraries in it.

    `sources` is a digest of the photographs' files.
    """

    sources: str
    versions: Mapping[str, Mapping[str, str]]
    cpu: Mapping[str, Any]
    pixels: Pixels


@dataclass(frozen=True)
class Table:
    """Like `Made`, on several kinds of CPU. `pixels` are the first kind's; others record only their differences."""

    sources: str
    versions: Mapping[str, Mapping[str, str]]
    cpus: Sequence[Mapping[str, Any]]
    pixels: Pixels

    def knows(self, kind: Mapping[str, Any]) -> bool:
        """Whether the table has this kind of CPU."""
        return any(one["cpu"] == kind for one in self.cpus)

    def of(self, kind: Mapping[str, Any]) -> Pixels:
        """The pixels on a kind of CPU; on an unknown one, those of the first."""
        own: Pixels = next((one["pixels"] for one in self.cpus if one["cpu"] == kind), {})
        return {frame: {**digests, **own.get(frame, {})} for frame, digests in self.pixels.items()}


@dataclass(frozen=True)
class Compared:
    """Messages about what has changed, and about differences that the kind of CPU may explain."""

    changed: Sequence[str]
    unknown: Sequence[str]

    def __str__(self) -> str:
        changed = [*self.changed, _MEANT] if self.changed else []
        unknown = [*self.unknown, _UNKNOWN] if self.unknown else []
        return "\n".join([*changed, *unknown])


def make() -> Made:
    """Render the photographs by every method that runs here on the CPU. Raises RuntimeError if one fails."""
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
    """The repository's table."""
    return Table(**json.loads(TABLE.read_text()))


def write(table: Table) -> None:
    """Write the repository's table."""
    TABLE.write_text(json.dumps(asdict(table), indent=1) + "\n")


def anew(made: Made, table: Table | None) -> Table:
    """The table with this machine's pixels: added as another kind of CPU, or replacing it."""
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
        return Compared([f"The photographs' files differ; Pillow writes most of them: {why}."], [])
    lone, blamed = _lone(table, made), _blamed(table, made)
    changed = [f"{', '.join(lone)}: only in the table, or missing from it."] if lone else []
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
    """The differences by library. If the reference's differ, only its library is blamed: others build on its pixels."""
    base = reference(DEFAULT_REFERENCE).decode
    found: dict[str, list[str]] = {}
    for frame, tokens in _differing(table, made).items():
        owners = {token: (base if base.token in tokens else ON_CPU[token]).library.name for token in tokens}
        for library in dict.fromkeys(owners.values()):
            own = [token for token, owner in owners.items() if owner == library]
            found.setdefault(library, []).append(f"{', '.join(own)} in {frame}")
    return {library: "; ".join(parts) for library, parts in found.items()}


def _differing(table: Table, made: Made) -> dict[str, list[str]]:
    """The tokens whose pixels differ from the table's, by frame, for those that both have."""
    found = {}
    for frame, digests in table.of(made.cpu).items():
        now = made.pixels.get(frame, {})
        if tokens := [token for token, was in digests.items() if now.get(token, was) != was]:
            found[frame] = tokens
    return found


def _lone(table: Table, made: Made) -> list[str]:
    """Frames or tokens that only one of the table and this machine has."""
    if lone := table.pixels.keys() ^ made.pixels.keys():
        return sorted(lone)
    return sorted({token for frame in FRAMES for token in table.pixels[frame].keys() ^ made.pixels[frame].keys()})


def _moved(table: Table, made: Made) -> dict[str, str]:
    """Changes of versions, by library."""
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
    """Compare with the table, or write it."""
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
