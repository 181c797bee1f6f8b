"""Parsing `--method`, what it refuses, and what makes up a program's version."""

from __future__ import annotations

import hashlib
import pickle
import stat
import sys
from pathlib import Path

import pytest

from generators.own import OwnMethodError, named_in, of_program, own_methods, with_own
from generators.registry import METHODS, Method
from generators.selection import expand
from generators.variant import VariantError, parse, reference

RESIZE = "{width} {height}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program, a script and weights, in which commands are given."""
    monkeypatch.chdir(tmp_path)
    for name in ("codec", "plain.sh"):
        (tmp_path / name).write_text("#!/bin/sh\ncat\n")
    (tmp_path / "codec").chmod(0o755)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.bin").write_bytes(bytes(1000))
    return tmp_path


def one(text: str) -> Method:
    (method,) = own_methods([text])
    return method


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mine", "is not TOKEN=STAGE:PROGRAM"),
        ("mine=decode", "is not TOKEN=STAGE:PROGRAM"),
        ("mine=decode:  ", "is not TOKEN=STAGE:PROGRAM"),
        ("Mine=decode:cat", "'Mine' cannot be a token"),
        ("=decode:cat", "'' cannot be a token"),
        ("my-codec=decode:cat", "'my-codec' cannot be a token"),
        ("pil=decode:cat", "pil is already taken"),
        ("int8=color:cat", "int8 is already taken"),
        ("paper=decode:cat", "paper is already taken"),
        ("reference=decode:cat", "reference is already taken"),
        ("none=decode:cat", "none is already taken"),
        ("mine=deocde:cat", "'deocde' is not a stage of the pixels"),
        ("mine=pool:cat", "'pool' is not a stage of the pixels"),
        ("mine=decode:cat 'a", "cannot be split into words"),
        ("mine=decode:sh -c 'a\nb'", "a line break"),
        ("mine=resize:cat {width}", "put {height} among its arguments"),
        ("mine=resize:cat", "put {width} and {height} among its arguments"),
        ("mine=color:cat {width}", "which only a resize can use"),
        ("mine=decode:no_such_program", "it is not in PATH"),
        ("mine=decode:./nowhere", "there is no such file"),
        ("mine=decode:./models", "it is a folder"),
        ("mine=decode:./plain.sh", "chmod"),
        ("mine=decode:codec", r"write ./codec"),
    ],
)
def test_invalid_methods_are_refused(here: Path, text: str, why: str) -> None:
    with pytest.raises(OwnMethodError) as caught:
        own_methods([text])
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_token_can_be_given_only_once() -> None:
    with pytest.raises(OwnMethodError, match="mine is given twice"):
        own_methods(["mine=decode:cat", "mine=color:cat"])


def test_a_custom_method_is_in_all_groups_but_the_paper_s() -> None:
    known = with_own(own_methods(["mine=decode:cat", f"my_resize=resize:cat {RESIZE}", "x2=color:cat"]))
    base = reference(known=known)
    assert parse("x2+mine", base, known).name == "mine+x2"
    assert parse("mine+pil_bilinear", base, known).spelled_out == {
        **{"decode": "mine", "resize": "pil_bilinear", "color": "none"}
    }
    for group, tokens in (("decode", {"mine"}), ("resize", {"my_resize"}), ("all", {"mine", "my_resize", "x2"})):
        names = {variant.name for variant in expand([group], base, known=known)[0]}
        assert names - {variant.name for variant in expand([group], base)[0]} == tokens
    assert expand(["paper"], base, known=known) == expand(["paper"], base)
    own_base = reference("mine+my_resize", known=known)
    assert own_base.name == "my_resize"
    assert parse("pil+my_resize", own_base, known).name == "pil"
    with pytest.raises(VariantError, match="mine has only one version"):
        parse("mine-1.0", base, known)


def test_its_version_covers_its_files_and_names_no_folder(here: Path) -> None:
    weights = here / "models" / "weights.bin"
    versions = one(f"mine=decode:./codec --fast --weights={weights} plain.sh models /nowhere/cache").library.versions()
    assert versions == {
        "mine": sha256(here / "codec"),
        "mine/weights.bin": sha256(weights),
        "mine/plain.sh": sha256(here / "plain.sh"),
        "mine=decode": "codec --fast --weights=weights.bin plain.sh models cache",
    }
    python = one(f"mine=decode:{sys.executable} models/weights.bin").library.versions()
    assert python["mine"] == sha256(Path(sys.executable))
    assert of_program("mine", {**versions, **one("mine2=color:cat").library.versions(), "Pillow": "1"}) == versions


def test_files_with_the_same_name_are_distinguished(here: Path) -> None:
    (here / "weights.bin").write_bytes(b"")
    both = one("mine=decode:./codec models/weights.bin weights.bin").library.versions()["mine/weights.bin"]
    assert sha256(here / "weights.bin").removeprefix("sha256:") in both
    assert sha256(here / "models" / "weights.bin") in both


@pytest.mark.parametrize("name", ["codec", "models/weights.bin"])
def test_a_changed_program_is_refused(here: Path, name: str) -> None:
    method = pickle.loads(pickle.dumps(one("mine=decode:./codec models/weights.bin")))
    before = method.library.versions()
    assert method.problem() is None
    path = here / name
    mode, content = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    path.write_bytes(content[:-1] + b"#")
    assert method.problem() == f"is not the program that was given: {path.name} differs"
    assert method.library.versions() != before
    path.unlink()
    assert method.problem()
    path.write_bytes(content)
    path.chmod(mode)
    assert method.problem() is None
    assert method.library.versions() == before


def test_a_provenance_identifies_custom_methods() -> None:
    known = named_in(
        [*one("mine=color:cat").library.versions(), "Pillow", "OpenCV/libjpeg", "a=b", "pil=decode", "=", "a=b=c"]
    )
    assert {token: method.stage for token, method in known.items()} == {"mine": "color"}
    assert known["mine"].problem() == "needs its program: give --method mine=color:PROGRAM"
    base = reference(known=with_own(known.values()))
    with pytest.raises(VariantError, match="mine cannot run here: needs its program"):
        expand(["mine"], base, known=with_own(known.values()))
    assert [v.name for v in expand(["mine"], base, known=with_own(known.values()), runs=False)[0]] == ["mine"]


def test_registered_tokens_cannot_be_taken() -> None:
    for token in METHODS:
        with pytest.raises(OwnMethodError):
            own_methods([f"{token}=decode:cat"])
