"""Sources in a real S3 server: every layout is the same set as on a disk, read with few requests, and fails as one."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from generators.variant import parse
from pipelines.errors import SourceError, UsageError
from pipelines.generate.config import ImageConfig, describe
from pipelines.generate.output import Output
from pipelines.generate.plan import plan
from pipelines.generate.shard import Job, make_shard
from pipelines.generate.sources import Missing, Segmented
from pipelines.generate.sources.find import Found, find
from pipelines.generate.sources.reading import Piece, in_order, read_pieces
from pipelines.options import Inputs
from pipelines.store import Disk, Remote, StoreError, place_of, remote, retry
from tests.machine import recipe_here
from tests.pipelines.generate.layouts import IMAGES, LAYOUTS
from tests.steps import result_of
from tests.store.server import S3Server, busy_proxy

pytestmark = pytest.mark.usefixtures("s3_environment")


@pytest.fixture(autouse=True, scope="module")
def listings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of tars' listings for this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYSNOISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class Both:
    """A layout on a disk, and the same in the server, at either address."""

    def __init__(self, layout: str, server: S3Server, root: Path) -> None:
        make, self.dataset = LAYOUTS[layout]
        self.server, self.root, self.bucket = server, root, f"bucket/{root.name}"
        self.inputs = make(root)
        for path in root.rglob("*"):
            if path.is_file():
                server.put(f"{self.bucket}/{path.relative_to(root).as_posix()}", path.read_bytes())

    @property
    def local(self) -> Found:
        return find(self.dataset, self.inputs, None)

    def remote(self, address: str | None = None) -> Found:
        moved = [
            text and self.server.uri(f"{self.bucket}/{Path(text).relative_to(self.root).as_posix()}", address)
            for text in astuple(self.inputs)
        ]
        return find(self.dataset, Inputs(*moved), None)


@pytest.fixture(scope="module", params=LAYOUTS)
def both(request: pytest.FixtureRequest, server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(request.param, server, tmp_path_factory.mktemp(request.param))


def test_every_layout_is_the_same_set_in_a_store(both: Both, server: S3Server) -> None:
    """Samples, bytes, label maps, notes and the manifest's description of the source equal those on the disk."""
    local, remote = both.local, both.remote()
    assert list(remote.samples) == list(local.samples)
    assert describe(remote) == describe(local)
    where = f"s3://{both.bucket}"
    assert [note.replace(where, str(both.root)) for note in remote.notes] == local.notes
    source = pickle.loads(pickle.dumps(remote.source))
    assert source == remote.source
    assert server.secret.encode() not in pickle.dumps(source)
    for samples in (local.samples, local.samples[1:4], local.samples[::-1]):
        held = list(source.read(samples))
        assert held == list(local.source.read(samples))
        assert [data for data in held if isinstance(data, bytes)] == [
            IMAGES[name] for sample in samples for name in IMAGES if sample.key in (name, f"{name}_leftImg8bit")
        ]
    if isinstance(source, Segmented) and isinstance(local.source, Segmented):
        for sample in local.samples:
            near, far = local.source.label_map(sample), source.label_map(sample)
            assert isinstance(near, Missing) is isinstance(far, Missing) is sample.key.startswith("d")
            assert np.array_equal(near, far)


def test_shards_and_manifests_are_the_same_byte_for_byte(server: S3Server, tmp_path: Path) -> None:
    both = Both("webdataset", server, tmp_path / "source")
    made = []
    for name, found in (("disk", both.local), ("s3", both.remote())):
        config = ImageConfig("imagenet", "crop", (224,), "pil+pil_bilinear", "png", 4, describe(found))
        variant = parse("pil_lanczos", config.base)
        recipe = recipe_here(config, variant)
        with Output(Disk(str(tmp_path / name)) / "imagenet").locked() as output:
            output.begin({variant.name: recipe}, overwrite=False)
            job = Job(config, found.source, output, {variant.name: recipe})
            assert [result_of(make_shard(task, job, {})) for task in plan(found.samples, 4, [variant], {})] == [0, 0]
            output.finish(recipe, 2)
        root = tmp_path / name
        made.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()})
    assert len(made[0]) == 7
    assert made[0] == made[1]


# Requests for all six images. The worst case is a tar or zip with its members in another order than the samples: a GET
# for each. Arrow opens a file with a HEAD.
ASKED = {
    "imagenet-tree": {"HEAD": 6, "GET": 6},
    "imagenet-flat": {"HEAD": 6, "GET": 6},
    "imagenet-tar": {"HEAD": 1, "GET": 6},
    "imagenet-webdataset": {"HEAD": 2, "GET": 2},
    "imagenet-parquet": {"HEAD": 2, "GET": 2 + 2},  # footers, and the rest
    "coco-folder": {"HEAD": 6, "GET": 6},
    "coco-zip": {"HEAD": 2, "GET": 3 + 6},  # the zip's directory takes three
    "cityscapes": {"HEAD": 6, "GET": 6},
    "speech-ljspeech": {"HEAD": 6, "GET": 6},
    "speech-tar": {"HEAD": 2, "GET": 2},
}


def test_the_number_of_requests(both: Both, server: S3Server) -> None:
    with busy_proxy(server) as proxy:
        found = both.remote(proxy.address)
        asked = [request.split() for request in proxy.requests]
        assert not [path for method, path in asked if method == "HEAD" and path.endswith((".JPEG", ".jpg", ".png"))]
        counted = list[Counter[str]]()
        while len(counted) < 3 and ASKED[found.source.kind] not in counted:  # the SDK repeats slow requests
            proxy.requests.clear()
            list(found.source.read(found.samples))
            counted.append(Counter(request.split()[0] for request in proxy.requests))
        assert ASKED[found.source.kind] in counted


@pytest.mark.parametrize("layout", ["tree", "webdataset", "parquet", "coco-zip"])
def test_an_object_that_disappears_is_not_a_samples_fault(layout: str, server: S3Server, tmp_path: Path) -> None:
    both = Both(layout, server, tmp_path)
    found = both.remote()
    place_of(server.uri(both.bucket), "--source").remove()
    with pytest.raises(SourceError, match="can no longer be read"):
        list(found.source.read(found.samples))


def no_connection(*args: object) -> None:
    """Fails like a store that is down, for which the AWS SDK itself would retry for seconds."""
    raise OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7")


def test_a_store_that_goes_down_is_not_a_samples_fault(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    found = both.remote()
    whole = list(found.source.read(found.samples))
    with monkeypatch.context() as patch:
        patch.setattr(retry, "PATIENCE", 0.1)
        patch.setattr(retry, "_LONGEST_WAIT", 0.02)
        patch.setattr(remote, "_connect", no_connection)
        with pytest.raises(StoreError, match=rf"s3://{both.bucket}/.*: the store failed \(AWS Error NETWORK"):
            list(found.source.read(found.samples))
    assert list(found.source.read(found.samples)) == whole


def test_a_store_that_is_busy_loses_nothing(server: S3Server, tmp_path: Path) -> None:
    both = Both("flat", server, tmp_path)
    with busy_proxy(server) as proxy:
        found = both.remote(proxy.address)
        proxy.refused, proxy.refusals = 0, 40
        assert list(found.source.read(found.samples)) == list(both.local.source.read(found.samples))
        assert proxy.refused == 40


def test_missing_labels_and_annotations(server: S3Server, tmp_path: Path) -> None:
    inputs = Both("flat", server, tmp_path)
    uri = server.uri(inputs.bucket)
    none = uri.replace("?", "/none.txt?", 1)
    with pytest.raises(UsageError, match=r"the labels in s3://bucket/.*/none.txt cannot be read"):
        find("imagenet", Inputs(uri.replace("?", "/flat?", 1), none, None), None)
    with pytest.raises(UsageError, match=r"the annotations in s3://bucket/.*/none.txt cannot be read"):
        find("coco", Inputs(uri.replace("?", "/flat?", 1), None, none), None)
    with pytest.raises(UsageError, match=r"--source s3://bucket/.*/none.txt does not exist"):
        find("imagenet", Inputs(none, None, None), None)


ANYWHERE = Remote("s3://bucket/folder")


def test_reading_ahead_keeps_order_and_is_bounded() -> None:
    """Only a few results are fetched in advance, and fewer if they are large."""
    fetched: list[int] = []

    def fetch(item: int) -> int:
        fetched.append(item)
        return item

    for size, most in ((0, 16), (2**24, 2), (2**30, 1)):
        fetched.clear()
        seen: list[int] = []
        for result in in_order(ANYWHERE, range(200), fetch, lambda _, size=size: size):  # type: ignore[misc] # a default
            assert len(fetched) - len(seen) <= most
            seen.append(result)
        assert seen == list(range(200))


def test_nothing_is_read_ahead_from_a_disk() -> None:
    fetched: list[int] = []
    results = in_order(Disk("/"), range(9), fetched.append)
    next(results)
    assert fetched == [0]


def test_abandoned_read_ahead_ends_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after Ctrl-C while the store does not answer: nothing waits for the store's five minutes."""
    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_connect", no_connection)
        results = in_order(ANYWHERE, range(9), lambda item: ANYWHERE.read(100) if item else b"first")
        assert next(results) == b"first"
        results.close()
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_pieces_have_the_files_bytes(where: str, server: S3Server, tmp_path: Path) -> None:
    """Near, far, overlapping, backwards, empty, large and beyond the end."""
    data = np.random.default_rng(1).bytes(9_000_000)
    (tmp_path / "file").write_bytes(data)
    server.put("bucket/pieces", data)
    place = place_of(str(tmp_path / "file") if where == "disk" else server.uri("bucket/pieces"), "--source")
    spans = [(0, 10), (10, 10), (30, 5), (25, 20), (5, 1), (6, 0), (70_000, 4_000_000), (4_070_000, 200_000)]
    spans += [(4_400_000, 4_500_000), (8_999_990, 100), (9_000_000, 5), (9_500_000, 5), (0, 2**62)]
    found = list(read_pieces([place], [Piece(0, *span) for span in spans]))
    assert found == [data[offset : offset + length] for offset, length in spans]
