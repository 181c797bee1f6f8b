"""Shards in a real S3 server: verified, scored and matched as on a disk, and only the needed parts are fetched."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manifests.verify import check_card, check_folder, check_tar, records_in, variant_folders
from pipelines.errors import UsageError
from pipelines.evaluate.fetched import fetched
from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions, Options
from pipelines.evaluate.run import score
from pipelines.shards import open_shards
from pipelines.store import Place, StoreError, place_of
from tests import fuzzing
from tests.conftest import Command
from tests.pipelines.evaluate.conftest import write_predictions, wrong_in
from tests.store.server import BusyProxy, S3Server, busy_proxy

pytestmark = pytest.mark.usefixtures("s3_environment")

VARIANTS = ("pil_nearest", "ffmpeg+nv12_ascend")
TAR = "pil_nearest/validation-00001-of-00002.tar"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, server: S3Server) -> Path:
    """Four samples of 16×16 pixels, in two shards of each variant; also in `bucket/small`."""
    return put(fuzzing.make(tmp_path_factory.mktemp("small"), *VARIANTS), server, "bucket/small")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, server: S3Server) -> Path:
    """Eight samples of 1.1 MB in two shards; also in `bucket/heavy`."""
    folder = fuzzing.make(tmp_path_factory.mktemp("large"), samples=8, size=600, image_format="npy")
    return put(folder, server, "bucket/heavy")


def put(folder: Path, server: S3Server, path: str) -> Path:
    for file in folder.rglob("*"):
        if file.is_file():
            server.put(f"{path}/{folder.name}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return folder


@pytest.fixture
def proxy(server: S3Server) -> Iterator[BusyProxy]:
    with busy_proxy(server) as running:
        yield running


def scored(shards: str, predictions: str, output: str) -> dict[str, bytes]:
    """The report's files by name, with the shards' folder replaced by OUT."""
    assert score(Options(shards=shards, predictions=predictions, output=output)) == 0
    root, report = place_of(shards, "--shards").parent.address, place_of(output, "--output")
    return {name: (report / name).read(2**24).replace(root.encode(), b"OUT") for name in report.files()}


@pytest.fixture
def predictions(small: Path, tmp_path: Path) -> Path:
    """Predictions with one wrong image in each variant, each time a different one."""
    shards = open_shards(small)
    keys, labels = shards.samples()
    truth = dict(zip(keys, labels.tolist(), strict=True))
    wrong = {name: wrong_in(truth, [place]) for place, name in enumerate(shards.variants)}
    return write_predictions(tmp_path / "predictions", wrong)


def test_the_report_equals_that_of_the_same_files_on_a_disk(
    small: Path, predictions: Path, server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(predictions, server, f"bucket/{tmp_path.name}")
    given = server.uri(f"bucket/{tmp_path.name}/predictions")
    found = scored(server.uri("bucket/small/sample"), given, server.uri(f"bucket/{tmp_path.name}/report"))
    assert found.keys() == {"outcomes.parquet", "report.html", "report.md", "results.csv", "results.json"}
    assert b"data:image/webp" in found["report.html"]
    assert f"\nReport: s3://bucket/{tmp_path.name}/report/report.html\n" in capsys.readouterr().out
    assert found == scored(str(small), str(predictions), str(tmp_path / "disk"))


@pytest.mark.usefixtures("small")
def test_messages_name_predictions_by_their_uri(predictions: Path, server: S3Server, tmp_path: Path) -> None:
    (predictions / "pil_nearest.csv").write_text("key,pred\nzebra,3\n")
    put(predictions, server, f"bucket/{tmp_path.name}")
    given = server.uri(f"bucket/{tmp_path.name}/predictions")
    with pytest.raises(UsageError, match=f"^s3://bucket/{tmp_path.name}/predictions/pil_nearest.csv lacks 4 of 4 keys"):
        scored(server.uri("bucket/small/sample"), given, str(tmp_path / "report"))
    assert not (tmp_path / "report").exists()


def test_folders_of_label_maps_are_fetched_once(proxy: BusyProxy, tmp_path: Path) -> None:
    names = ("pil", "nv12_opencv")
    for number, name in enumerate(names):
        (tmp_path / "maps" / name).mkdir(parents=True)
        for key in "abc":
            (tmp_path / "maps" / name / f"{key}.png").write_bytes(f"{key} {number}".encode())
    put(tmp_path / "maps", proxy.server, f"bucket/{tmp_path.name}")
    root = place_of(proxy.server.uri(f"bucket/{tmp_path.name}/maps", proxy.address), "--predictions")
    with fetched({"reference": root / "pil", "other": root / "nv12_opencv"}, folders=True) as paths:
        for _ in range(2):
            for name, path in zip(names, (paths["reference"], paths["other"]), strict=True):
                assert files(path) == files(tmp_path / "maps" / name)
    assert not any(path.exists() for path in paths.values())
    assert {path: count for path, count in proxy.sent.items() if path.endswith(".png")} == {
        f"/bucket/{tmp_path.name}/maps/{name}/{key}.png": 3 for name in names for key in "abc"
    }


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_dump_is_matched_as_on_a_disk(
    small: Path, server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = open_shards(small)
    for stored in shards.stored("pil_nearest"):
        (tmp_path / f"{stored.key}.png").write_bytes(stored.members["png"])
    shown = []
    for where in (str(small), server.uri("bucket/small")):
        assert match(MatchOptions(where, tmp_path)) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "matches `pil_nearest` exactly" in shown[0]


def problems(place: Place) -> list[str]:
    """All problems of an output, with its path replaced by OUT."""
    folders = variant_folders(place)
    found = [problem for root in {folder.parent for folder in folders} for problem in check_card(root)]
    for folder in folders:
        found += [*check_folder(folder), *(problem for record in records_in(folder) for problem in check_tar(record))]
    return [str(problem).replace(str(place), "OUT") for problem in found]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1500] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (flip, f"OUT/sample/{TAR}: its sha256 is not the record's"),
        (cut, "bytes, but the record says"),
        (Path.unlink, f"OUT/sample/{TAR}: missing shard: it has no tar"),
        (lambda path: path.with_name("extra.tar").touch(), "OUT/sample/pil_nearest/extra.tar: extra file"),
        (lambda path: path.parent.joinpath("manifest.parquet").write_bytes(b"PAR1"), "is not Parquet"),
        (lambda path: shutil.rmtree(path.parent), "OUT/sample/pil_nearest: missing variant"),
    ],
)
def test_damage_is_found_as_on_a_disk(
    damage: Callable[[Path], object], problem: str, small: Path, server: S3Server, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "sample"))
    damage(folder / TAR)
    put(folder, server, f"bucket/{tmp_path.name}")
    found = problems(place_of(server.uri(f"bucket/{tmp_path.name}"), "PATH"))
    assert found == problems(place_of(str(tmp_path), "PATH"))
    assert any(problem in line for line in found)


@pytest.mark.usefixtures("small")
def test_verify_takes_a_uri(server: S3Server, command: Command) -> None:
    done = command("verify.py", server.uri("bucket/small"), "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "OK: 6 shards of 3 variants, every image decoded and checked\n"


def test_a_check_fetches_each_tar_once(large: Path, proxy: BusyProxy) -> None:
    """As counted in docs/scale.md: two tars of two blocks each, and their records."""
    assert problems(place_of(proxy.server.uri("bucket/heavy/sample", proxy.address), "PATH")) == []
    asked = Counter((request[:4], request[-4:]) for request in proxy.requests if "/validation-" in request)
    assert asked == {("HEAD", ".tar"): 4, ("GET ", ".tar"): 4, ("HEAD", "json"): 6, ("GET ", "json"): 6}
    sizes = {f"/bucket/heavy/sample/{path.relative_to(large).as_posix()}": path.stat().st_size for path in tars(large)}
    assert {path: count for path, count in proxy.sent.items() if path.endswith(".tar")} == sizes


def tars(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.tar"))


def test_only_the_wanted_samples_are_fetched(large: Path, proxy: BusyProxy) -> None:
    disk = open_shards(large)
    shards = open_shards(place_of(proxy.server.uri("bucket/heavy", proxy.address), "--shards"))
    name = shards.reference.name
    keys = shards.samples().keys
    path, size = f"/bucket/heavy/sample/{name}/{tars(large)[0].name}", tars(large)[0].stat().st_size
    assert size > 4 * 2**20

    def fetched(wanted: set[str] | None) -> int:
        proxy.sent.clear()
        found = {stored.key: stored.members for stored in shards.stored(name, wanted) if stored.members}
        assert found == {stored.key: stored.members for stored in disk.stored(name, wanted) if stored.members}
        assert set(found) == set(keys if wanted is None else wanted)
        return proxy.sent[path]

    assert fetched(None) == size
    assert fetched(set(keys[:1])) < 0.3 * size  # and nothing after it
    assert fetched({keys[3]}) < 0.4 * size
    assert fetched({keys[0], keys[5]}) < 0.3 * size


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("another/out", StoreError, "s3://another/out: access denied (AWS Error ACCESS_DENIED"),
        ("bucket/nowhere", UsageError, "no shards at s3://bucket/nowhere: give the folder that generate.py wrote"),
        ("bucket/small/sample/README.md", UsageError, "no shards at s3://bucket/small/sample/README.md"),
        ("bucket/small/sample/pil_nearest", UsageError, "is a single variant: give its dataset's folder"),
    ],
)
@pytest.mark.usefixtures("small")
def test_shards_that_cannot_be_scored_give_a_one_line_error(
    path: str, error: type[Exception], message: str, server: S3Server, tmp_path: Path
) -> None:
    options = Options(shards=server.uri(path), predictions=str(tmp_path), output=str(tmp_path / "report"))
    with pytest.raises(error) as failure:
        score(options)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "report").exists()
