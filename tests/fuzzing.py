"""Damaged and malicious files: hypothesis strategies that change bytes, JSON values and tar headers.

A reader of untrusted files must return a result, or raise one of the project's own errors with one printable line.
"""

from __future__ import annotations

import copy
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from generators.variant import parse
from manifests.schema import CARD, ManifestError
from manifests.untrusted import parse_json
from pipelines.errors import SysNoiseError
from pipelines.generate.card import card
from pipelines.generate.config import ImageConfig, describe
from pipelines.generate.croissant import CROISSANT, croissant, parts_in
from pipelines.generate.output import Output
from pipelines.generate.shard import Job, Task, make_shard
from pipelines.generate.sources.find import find
from pipelines.options import Inputs
from pipelines.page.write import write_page
from pipelines.store import Disk
from tests.machine import recipe_here
from tests.steps import result_of

T = TypeVar("T")

# Bytes: far more than reading any of these small files takes, far less than a decompression bomb.
_MOST_MEMORY = 2**27

DEEP: Any = json.loads("[" * 100 + "]" * 100)
# Values that break readers: of wrong types, out of range, and names that lead elsewhere or control terminals.
HOSTILE: list[Any] = [
    *(None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, float("inf"), float("nan"), "", [], {}, [[]], {"": None}, DEEP),
    *("../../elsewhere", "/etc/passwd", "..", "a/b", "a\\b", "a.b", "\x1b[31m", "a\nb", "\x9b", "\u202e", "\ud800"),
    *("x" * 5000, "0" * 64, "validation-00000-of-99999.tar", "NaN", "é", "-rf"),
]
_hostile = st.sampled_from(HOSTILE).map(copy.deepcopy)
# Names that a tar's header may have.
NAMES = [b"../../escaped.png", b"/escaped.png", b"a\x1b[31m.png", b"\xff\xfe.png", b"", b".png", b"a" * 100]
TYPES = b"0\x00157xgLKSV23456AD\xff"


def fuzz(examples: int) -> settings:
    """Settings for a test that reads files: few examples, the same ones each time, each with a deadline."""
    return settings(
        max_examples=examples,
        deadline=20_000,
        derandomize=True,
        database=None,
        # Damaging whole files is slow and draws much data. Files made by fixtures are only read.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def outcome(read: Callable[[], T]) -> T | None:
    """The reader's result; None for a refusal, which must be one printable line and take little memory."""
    tracemalloc.start()
    try:
        return read()
    except (SysNoiseError, ManifestError) as error:
        text = str(error)
        assert text
        assert text.isprintable(), text
        return None
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < _MOST_MEMORY, peak


def make(folder: Path, *tokens: str, samples: int = 4, size: int = 16, image_format: str = "png") -> Path:
    """Small shards of these variants and the reference, two for each variant; the dataset's folder."""
    found = find("sample", Inputs(), samples)
    half = samples // 2
    config = ImageConfig("sample", "crop", (size,), "pil", image_format, half, describe(found))
    variants = [config.base, *(parse(token, config.base) for token in tokens)]
    recipes = {variant.name: recipe_here(config, variant) for variant in variants}
    with Output(Disk(str(folder / "sample"))).locked() as output:
        output.begin(recipes, overwrite=False)
        job = Job(config, found.source, output, recipes)
        for shard in (0, 1):
            result_of(
                make_shard(Task(shard, 2, found.samples[shard * half : (shard + 1) * half], tuple(variants)), job, {})
            )
        summaries = [output.finish(recipe, 2) for recipe in recipes.values()]
        output.write(output.root / CARD, card("sample", summaries))
        output.write(output.root / CROISSANT, croissant("sample", parts_in(output.root)))
    assert write_page(output.root)
    return folder / "sample"


def files(folder: Path) -> set[Path]:
    """Everything below a folder."""
    return set(folder.rglob("*"))


@st.composite
def changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with a few of them flipped, cut off, inserted, repeated, deleted or overwritten by ones."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        way = draw(st.sampled_from(("flip", "truncate", "insert", "repeat", "ones", "delete")))
        length = draw(st.integers(1, 64))
        if way == "flip" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif way == "truncate":
            del found[at:]
        elif way == "insert":
            found[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif way == "repeat":
            found[at:at] = found[at : at + length]
        elif way == "ones":
            found[at : at + length] = b"\xff" * len(found[at : at + length])
        elif way == "delete":
            del found[at : at + length]
    return bytes(found)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values inside a JSON value; of long lists, those of the first items."""
    yield path
    if len(path) > 9:
        return
    inside: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value[:2]))
    for key, inner in inside:
        yield from _places(inner, (*path, key))


@st.composite
def changed_json(draw: st.DrawFn, value: Any) -> Any:
    """The value with some part replaced by a hostile one, or removed, or with a hostile part added."""
    found = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([place for place in _places(found) if place] or [()]))
        if not path:
            return draw(_hostile)
        holder = found
        for step in path[:-1]:
            holder = holder[step]
        way = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add")))
        if way == "replace":
            holder[path[-1]] = draw(_hostile)
        elif way == "remove":
            del holder[path[-1]]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(("..", "\x1b]0;x\x07", "image_id", "\n")))] = draw(_hostile)
        else:
            holder.append(draw(_hostile))
    return found


def as_json(value: Any, write: Callable[[Any], str] = json.dumps) -> bytes:
    """A hostile value as JSON text, in exactly the form of an honest one if possible."""
    try:
        return write(value).encode()
    except (ValueError, RecursionError):
        return json.dumps(value).encode()


def described(data: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file with hostile values, damaged bytes, or a duplicate name."""
    value = parse_json(data)
    canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
    return st.one_of(
        changed_json(value).map(lambda changed: as_json(changed, lambda inner: canonical(inner) + "\n")),
        changed_json(value).map(as_json),
        changed_bytes(data),
        st.just(data.replace(b"{", b'{"name": "../elsewhere", ', 1)),
        st.sampled_from((b"", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"NaN", b"null", b"\x1b[2J", b"{}", b"[]")),
    )


def tar_of(members: Sequence[tuple[str, bytes]]) -> bytes:
    """A plain tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def headers(data: bytes) -> list[int]:
    """The offsets of the headers of a valid tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.offset for member in tar]


@st.composite
def changed_tar(draw: st.DrawFn, data: bytes) -> bytes:
    """A tar with a changed header, whose checksum is right; or with changed bytes like any file."""
    if draw(st.integers(0, 3)) == 0:
        return draw(changed_bytes(data))
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.sampled_from(headers(data)))
        field, value = draw(
            st.one_of(
                st.tuples(st.just(0), st.sampled_from(NAMES).map(lambda name: name.ljust(100, b"\0"))),
                st.tuples(
                    st.just(124), st.sampled_from((b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b" " * 12))
                ),
                st.tuples(st.just(124), st.integers(0, 2**33 - 1).map(lambda size: b"%011o\0" % size)),
                st.tuples(st.just(156), st.sampled_from([bytes([kind]) for kind in TYPES])),
                st.tuples(st.just(157), st.sampled_from(NAMES).map(lambda name: name.ljust(100, b"\0"))),
                st.tuples(st.just(345), st.just(b"../" * 50)),
            )
        )
        found[at + field : at + field + len(value)] = value
        found[at + 148 : at + 156] = b" " * 8
        found[at + 148 : at + 156] = b"%06o\0 " % sum(found[at : at + 512])
    return bytes(found)
