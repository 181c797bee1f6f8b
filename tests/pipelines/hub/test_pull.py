"""hub.py pull with the real client and a Hub on loopback: files arrive whole, are checked, and are fetched once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.hub.options import PullOptions
from pipelines.hub.published import ContradictionError
from pipelines.hub.pull import pull
from tests.hub import Hub
from tests.hub.state import Repo
from tests.pipelines.hub.conftest import (
    COMBINED,
    NAME,
    User,
    altered,
    failure,
    files,
    flipped,
    good,
    here,
    hold,
    put,
    refusal,
    sha256,
    shards_of,
    with_config,
)

FIRST, SECOND, LAST = (f"pil_lanczos/validation-0000{index}-of-00003" for index in range(3))


@pytest.fixture
def repo(hub: Hub, published: Repo) -> Repo:
    return hold(hub, published)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "pulled"


def fetched(hub: Hub, made: Path) -> set[str]:
    """The paths of the tars of which any byte was sent."""
    asked = " ".join(request.path for request in hub.requests if request.method == "GET" and request.sent)
    return {
        path for path, data in files(made).items() if path.endswith(".tar") and (path in asked or sha256(data) in asked)
    }


def test_a_pull_gets_what_was_pushed(hub: Hub, user: User, repo: Repo, made: Path, output: Path) -> None:
    good(user.pull(f"pil_lanczos,{COMBINED}", output))
    expected = shards_of(files(made), "pil_lanczos", COMBINED)
    assert shards_of(files(output / "sample")) == expected
    assert "OK" in good(user.verify(output))
    assert not {request.authorized for request in hub.requests if request.origin == "cdn"} & {True}
    hub.requests.clear()
    good(user.pull("all", output))  # existing files are not fetched again
    assert {path.partition("/")[0] for path in fetched(hub, made)} == {"opencv", "pil_bilinear"}
    assert shards_of(files(output / "sample")) == shards_of(files(made))
    hub.requests.clear()
    good(user.pull("all", output))
    assert not fetched(hub, made)
    assert "OK" in good(user.verify(output))


@pytest.mark.parametrize(
    "path",
    [f"{SECOND}.tar", f"{SECOND}.json", "pil_lanczos/manifest.parquet", "pil_lanczos/manifest.json"],
    ids=["tar", "record", "table", "summary"],
)
def test_a_set_that_contradicts_itself_is_refused(
    published: Repo, made: Path, output: Path, tmp_path: Path, path: str
) -> None:
    with here(tmp_path / "home") as hub:
        repo = hold(hub, published)
        held = repo.files()[path]
        is_text = path.endswith("json")
        put(repo, "bad", {path: held.replace(b"pil_bilinear", b"pil_bicubic1") if is_text else flipped(held)})
        with pytest.raises(ContradictionError) as refused:
            pull(PullOptions(NAME, ("pil_lanczos",), str(output), "bad"))
        message = str(refused.value)
        assert refused.value.exit_status == 1
        assert path in message or ("pil_lanczos" in message and "manifest." in message)
        assert not (output / "sample" / path).exists()
        assert not (output / "sample" / "pil_lanczos" / "manifest.json").exists()
        assert files(output / "sample").items() <= files(made).items()
        assert pull(PullOptions(NAME, ("pil_lanczos",), str(output))) == 0  # the good one can take its place
    assert shards_of(files(output / "sample")) == shards_of(files(made), "pil_lanczos")


def test_a_shorter_tar_is_refused(user: User, repo: Repo, output: Path) -> None:
    put(repo, "bad", {f"{LAST}.tar": repo.files()[f"{LAST}.tar"][:-512]})
    done = user.pull("pil_lanczos", output, "--revision", "bad")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{LAST}.tar" in done.stdout + done.stderr
    assert not (output / "sample" / f"{LAST}.tar").exists()


def test_a_failed_pull_continues(hub: Hub, user: User, repo: Repo, made: Path, output: Path) -> None:
    lost = sha256(repo.files()[f"{LAST}.tar"])
    hub.fail("GET", lost, times=99, status=503, headers={"Retry-After": "1"})
    assert "503" in failure(user.pull("pil_lanczos", output))
    assert {f"{FIRST}.tar", f"{FIRST}.json", f"{SECOND}.tar"} <= set(files(output / "sample"))
    assert not (output / "sample" / f"{LAST}.json").exists()
    assert not (output / "sample" / "pil_lanczos" / "manifest.json").exists()
    assert "/." not in user.verify(output).stdout  # unchecked tars are not taken for shards
    hub._faults.clear()
    hub.requests.clear()
    good(user.pull("pil_lanczos", output))
    assert fetched(hub, made) == {f"{LAST}.tar"}
    assert "OK" in good(user.verify(output))


def test_a_pull_survives_faults(hub: Hub, user: User, repo: Repo, output: Path) -> None:
    busy = {"status": 503, "headers": {"Retry-After": "1"}}
    hub.fail("GET", f"/api/datasets/{NAME}", **busy)
    hub.fail("GET", "/tree/|/revision/", **busy)
    hub.fail("GET", "/resolve/.*json", **busy)
    hub.fail("HEAD", "/resolve/", status=429, headers={"Retry-After": "1"})
    hub.fail("GET", "signature", after=40_000)
    hub.fail("GET", "signature", after=40_000, reset=True)
    hub.fail("GET", "signature", status=429, headers={"Retry-After": "1"})
    good(user.pull("pil_lanczos", output))
    assert "OK" in good(user.verify(output))


def test_tars_damaged_after_a_pull_are_fetched_again(published: Repo, made: Path, output: Path, tmp_path: Path) -> None:
    with here(tmp_path / "home") as hub:
        hold(hub, published)
        options = PullOptions(NAME, ("pil_lanczos",), str(output))
        assert pull(options) == 0
        for name, change in ((FIRST, flipped), (SECOND, lambda data: data[:1000])):
            path = output / "sample" / f"{name}.tar"
            path.write_bytes(change(path.read_bytes()))
        assert pull(options) == 0
    assert shards_of(files(output / "sample")) == shards_of(files(made), "pil_lanczos")


def test_a_revision_is_pulled_as_it_was(published: Repo, made: Path, output: Path, tmp_path: Path) -> None:
    with here(tmp_path / "home") as hub:
        repo = hold(hub, published)
        repo.tags["v1"] = repo.resolve("main")
        put(repo, "main", altered(made / "pil_lanczos", with_config(size=160)))
        assert pull(PullOptions(NAME, ("pil_lanczos",), str(output), "v1")) == 0
    assert shards_of(files(output / "sample")) == shards_of(files(made), "pil_lanczos")


def test_another_set_is_left_as_it_is(user: User, repo: Repo, made: Path, output: Path) -> None:
    shutil.copytree(made / "pil_lanczos", output / "sample" / "pil_lanczos")
    for path, data in altered(made / "pil_lanczos", with_config(size=160)).items():
        (output / "sample" / path).write_bytes(data)
    before = files(output)
    assert str(output / "sample" / "pil_lanczos") in refusal(user.pull("pil_lanczos", output))
    assert files(output) == before


def test_a_name_that_leads_elsewhere_is_refused(user: User, repo: Repo, made: Path, output: Path) -> None:
    put(repo, "main", altered(made / "opencv", with_config(dataset="../elsewhere")))
    done = user.pull("opencv", output)
    assert not (output.parent / "elsewhere").exists()
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.parametrize("names", ["pil_lancoz", "opencv,pil_lancoz"])
def test_an_unknown_variant_is_told_with_the_near_one(user: User, repo: Repo, output: Path, names: str) -> None:
    assert "pil_lanczos" in refusal(user.pull(names, output))
    assert not output.exists()


def test_a_set_without_pixels_must_be_rebuilt(hub: Hub, user: User, bare: Repo, output: Path) -> None:
    hold(hub, bare)
    assert "rebuild" in refusal(user.pull("mix_resize", output))
    assert not output.exists()


def test_an_output_that_cannot_be_written_is_not_blamed_on_the_hub(user: User, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", Path("/proc/pulled")):
        assert str(output) in failure(user.pull("opencv", output))


def test_a_refused_pull_gives_a_one_line_error(hub: Hub, user: User, repo: Repo, output: Path) -> None:
    wrong = "hf_" + "w" * 34
    assert "revision" in refusal(user.pull("pil_lanczos", output, "--revision", "v9"))
    assert "token" in refusal(user.pull("pil_lanczos", output, HF_TOKEN=wrong))
    assert "hf auth login" in refusal(user.pull("pil_lanczos", output, HF_TOKEN=""))
    assert NAME in refusal(user.pull("pil_lanczos", output, HF_TOKEN=hub.stranger))
    repo.private, repo.gated = False, "manual"
    for token in ("", hub.stranger):
        assert "gated" in refusal(user.pull("pil_lanczos", output, HF_TOKEN=token))
    del hub.repos[NAME]
    assert NAME in refusal(user.pull("pil_lanczos", output))
    assert not output.exists()


def test_a_gated_set_is_pulled_by_a_user_with_access(hub: Hub, user: User, repo: Repo, output: Path) -> None:
    repo.private, repo.gated = False, "manual"
    repo.granted.add("stranger")
    good(user.pull("opencv", output, HF_TOKEN=hub.stranger))
    assert "OK" in good(user.verify(output))
