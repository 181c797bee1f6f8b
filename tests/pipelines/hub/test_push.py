"""hub.py push with the real client and a Hub on loopback: what arrives there, who may see it, and what is refused."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.hub.options import PushOptions
from pipelines.hub.push import push
from tests.hub import Hub
from tests.hub.state import Repo
from tests.pipelines.hub.conftest import (
    COMBINED,
    DESCRIBED,
    NAME,
    VARIANTS,
    User,
    altered,
    card_of,
    failure,
    files,
    flipped,
    good,
    here,
    hold,
    put,
    refusal,
    sent,
    shards_of,
    with_config,
    writes,
)


def test_a_push_puts_every_file_in_place_and_the_card_last(published: Repo, made: Path) -> None:
    assert shards_of(published.files()) == shards_of(files(made))
    assert set(published.files()) - set(shards_of(files(made))) == {".gitattributes", *DESCRIBED}
    assert (published.private, published.gated) == (True, False)
    head = published.resolve("main")
    assert {path for path, file in head.files.items() if file.commit == head.id} == DESCRIBED


def test_a_second_push_sends_nothing(hub: Hub, user: User, published: Repo, made: Path) -> None:
    repo = hold(hub, published)
    # It was pushed to a Hub at another address, which the file has.
    moved = re.sub(rb"http://127\.0\.0\.1:\d+", hub.url.encode(), repo.files()["croissant.json"])
    put(repo, "main", {"croissant.json": moved})
    head = repo.resolve("main").id
    good(user.push(made))
    assert not sent(hub)
    assert hub.repo(NAME).resolve("main").id == head


def test_a_variant_can_follow_later(hub: Hub, user: User, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    shutil.copytree(made, folder)
    damaged = folder / "opencv" / "validation-00001-of-00003.tar"
    whole = damaged.read_bytes()
    damaged.write_bytes(flipped(whole))
    good(user.push(folder, "--variant", f"{COMBINED},pil_lanczos"))  # variants that are not pushed may be damaged
    assert set(shards_of(hub.repo(NAME).files())) == set(shards_of(files(made), COMBINED, "pil_lanczos"))
    damaged.write_bytes(whole)
    hub.requests.clear()
    good(user.push(folder, "--variant", "opencv"))
    assert len(sent(hub)) == 6  # the tars, the table and two pictures
    assert shards_of(hub.repo(NAME).files()) == shards_of(files(made), "opencv", "pil_lanczos", COMBINED)
    names = [config["config_name"] for config in card_of(hub.repo(NAME)).data.to_dict()["configs"]]
    assert sorted(names) == sorted(["opencv", "pil_lanczos", COMBINED])


def test_xet_carries_the_same_bytes(hub: Hub, user: User, made: Path) -> None:
    good(user.push(made, "--variant", "opencv", HF_HUB_DISABLE_XET="0"))
    assert shards_of(hub.repo(NAME).files()) == shards_of(files(made), "opencv")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("validation-00001-of-00003.tar", {}),
        ("validation-00001-of-00003.tar", {"manifests_only": True}),
        ("manifest.parquet", {"public": True}),
    ],
)
def test_a_damaged_set_is_not_pushed(
    made: Path, tmp_path: Path, name: str, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sample"
    shutil.copytree(made, folder)
    path = folder / "pil_lanczos" / name
    path.write_bytes(flipped(path.read_bytes()))
    with here(tmp_path / "home") as hub:
        assert push(PushOptions(str(folder), NAME, **asked)) == 1
        assert not writes(hub)
    assert f"pil_lanczos/{name}" in capsys.readouterr().out


def test_imagenet_is_private_and_gated_before_a_pixel_is_sent(hub: Hub, user: User, imagenet: Path) -> None:
    good(user.push(imagenet))
    repo = hub.repo(NAME)
    assert (repo.private, repo.gated) == (True, "manual")
    order = [request.path for request in writes(hub)]
    settings = next(place for place, path in enumerate(order) if path.endswith("/settings"))
    assert settings < order.index(sent(hub)[0].path)
    prompt = card_of(repo).data.to_dict()["extra_gated_prompt"]
    assert "non-commercial research" in prompt


def test_imagenet_is_made_public_only_by_those_who_claim_the_right(hub: Hub, user: User, imagenet: Path) -> None:
    assert "--i-have-the-right-to" in refusal(user.push(imagenet, "--public"))
    assert not writes(hub)
    good(user.push(imagenet, "--public", "--i-have-the-right-to"))
    assert (hub.repo(NAME).private, hub.repo(NAME).gated) == (False, "manual")


def test_imagenet_is_not_pushed_to_a_public_repository(hub: Hub, user: User, imagenet: Path, bare: Repo) -> None:
    hold(hub, bare)
    assert "public" in refusal(user.push(imagenet))
    assert not writes(hub)


def test_other_datasets_are_public_or_gated_on_request(hub: Hub, user: User, made: Path) -> None:
    good(user.push(made, "--variant", "opencv", "--public"))
    assert (hub.repo(NAME).private, hub.repo(NAME).gated) == (False, False)
    good(user.push(made, "--variant", "opencv", "--gated", repo="lab/gated"))
    assert (hub.repo("lab/gated").private, hub.repo("lab/gated").gated) == (True, "manual")
    assert "terms" in card_of(hub.repo("lab/gated")).data.to_dict()["extra_gated_prompt"]


def test_a_push_of_manifests_contains_no_pixels(bare: Repo, imagenet: Path) -> None:
    expected = {path for path in files(imagenet) if path.startswith("mix_resize/") and not path.endswith(".tar")}
    # Of one variant there is no distance.
    assert set(bare.files()) == (expected | {".gitattributes", *DESCRIBED}) - {"differences.png"}
    assert {path: bare.files()[path] for path in expected} == {path: files(imagenet)[path] for path in expected}
    assert (bare.private, bare.gated) == (False, False)


def test_manifests_without_pixels_do_not_join_pixels(hub: Hub, user: User, published: Repo, made: Path) -> None:
    hold(hub, published)
    assert "pixels" in refusal(user.push(made, "--manifests-only"))
    assert not writes(hub)


def test_a_refused_push_makes_nothing_public(hub: Hub, user: User, imagenet: Path, made: Path) -> None:
    good(user.push(imagenet))
    hub.requests.clear()
    refusal(user.push(imagenet, "--manifests-only", "--public"))
    refusal(user.push(made, "--public"))
    assert hub.repo(NAME).private
    assert not writes(hub)


def test_a_repository_has_one_configuration(hub: Hub, user: User, published: Repo, made: Path) -> None:
    repo = hold(hub, published)
    for name in VARIANTS:
        put(repo, "main", altered(made / name, with_config(size=160)))
    for names in ("opencv", ",".join(VARIANTS)):
        assert "configuration" in refusal(user.push(made, "--variant", names))
    assert not writes(hub)


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_an_invalid_manifest_gives_a_one_line_error(
    hub: Hub, user: User, published: Repo, made: Path, content: bytes
) -> None:
    put(hold(hub, published), "main", {"pil_lanczos/manifest.json": content})
    assert "pil_lanczos" in refusal(user.push(made, "--variant", "opencv"))
    assert not writes(hub)


def test_a_user_who_may_not_push_gets_a_one_line_error(hub: Hub, user: User, made: Path, published: Repo) -> None:
    wrong = "hf_" + "w" * 34
    assert "hf auth login" in refusal(user.push(made, HF_TOKEN=""))
    assert "token" in refusal(user.push(made, HF_TOKEN=wrong))
    assert "permission" in refusal(user.push(made, HF_TOKEN=hub.stranger))
    hold(hub, published).private = False
    assert "permission" in refusal(user.push(made, "--variant", "opencv", HF_TOKEN=hub.stranger))
    assert hub.repo(NAME).resolve("main").id == published.resolve("main").id


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--variant", "pil_lancoz"), "pil_lanczos"),
        (("--repo", "noised"), "ORG/NAME"),
        (("--repo", "lab/no ised"), "lab/no ised"),
    ],
)
def test_a_wrong_name_gives_a_one_line_error(
    hub: Hub, user: User, made: Path, words: tuple[str, ...], named: str
) -> None:
    assert named in refusal(user.push(made, *words))
    assert not writes(hub)


def test_a_folder_without_shards_gives_a_one_line_error(hub: Hub, user: User, tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(user.push(tmp_path / "nowhere"))
    assert not writes(hub)


def test_a_push_survives_faults(hub: Hub, user: User, made: Path) -> None:
    busy = {"status": 503, "headers": {"Retry-After": "1"}}
    hub.fail("POST", "/repos/create", **busy)
    hub.fail("GET", f"/api/datasets/{NAME}", **busy)
    hub.fail("POST", "/preupload/", status=429, headers={"Retry-After": "1"})
    hub.fail("PUT", "signature", after=100_000)
    hub.fail("PUT", "signature", after=50_000, reset=True)
    hub.fail("POST", "/validate-yaml", **busy)
    hub.fail("POST", "/commit/", status=429, headers={"Retry-After": "1"})
    hub.fail("POST", "/commit/", after=100)
    good(user.push(made))
    assert not [fault for fault in hub._faults if fault.times]
    assert shards_of(hub.repo(NAME).files()) == shards_of(files(made))


def test_a_failed_push_continues(hub: Hub, user: User, made: Path) -> None:
    hub.fail("POST", "/commit/", times=99, status=503, headers={"Retry-After": "1"})
    assert "503" in failure(user.push(made, "--variant", "opencv,pil_lanczos"))
    hub._faults.clear()
    before = {request.path.partition("?")[0] for request in sent(hub)}
    hub.requests.clear()
    assert before
    good(user.push(made, "--variant", "opencv,pil_lanczos"))
    assert not before & {request.path.partition("?")[0] for request in sent(hub)}
    assert shards_of(hub.repo(NAME).files()) == shards_of(files(made), "opencv", "pil_lanczos")


def test_all_variants_are_pushed_if_none_is_named(published: Repo) -> None:
    assert {path.partition("/")[0] for path in published.files() if "/" in path} == set(VARIANTS)


def test_what_is_published_shows_charts_and_no_part_of_an_image(published: Repo) -> None:
    files = published.files()
    page = files["index.html"].decode()
    assert all(f'data-variant="{name}"' in page for name in VARIANTS)
    assert "data:image/webp" not in page
    assert '"details":[]' in page
    card = files["README.md"].decode()
    for name in ("differences.png", "residuals.png"):
        assert f"]({name})" in card
        with Image.open(io.BytesIO(files[name])) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert min(picture.size) > 100
