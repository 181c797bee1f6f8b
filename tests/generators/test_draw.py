"""Draws of methods: the rule, its shares, and how a variant with draws is written."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from generators.draw import drawn_from, mixes, mixes_here, mixes_in, numbers
from generators.mix import Mix
from generators.own import OwnMethodError, own_methods, with_own
from generators.registry import METHODS
from generators.selection import expand
from generators.variant import VariantError, in_full, parse, reference
from tests.generators.documented import PAPER_RESIZE

PAPER_DECODE = ["pil", "opencv", "ffmpeg", "dali"]
KNOWN = with_own(mixes(5))
BASE = reference(known=KNOWN)
MIX = parse("mix", BASE, KNOWN)


def drawn(key: str) -> tuple[str, str]:
    one = MIX.of(key).spelled_out
    return one["decode"], one["resize"]


@given(seed=st.integers(), epoch=st.integers(), key=st.text())
def test_the_rule_is_the_documented_one(seed: int, epoch: int, key: str) -> None:
    """In hexadecimal digits: each half of a sha256 has 32."""
    digits = hashlib.sha256(b"/".join(str(part).encode() for part in (seed, epoch, key))).hexdigest()
    assert numbers(seed, key, epoch) == {"decode": int(digits[:32], 16), "resize": int(digits[32:], 16)}


def test_equal_integers_draw_alike_whatever_their_type() -> None:
    assert numbers(True, "key", 3) == numbers(1, "key", 3)
    for seed, epoch in ((0, 3.0), (0.0, 3), (0, "3")):
        with pytest.raises(ValueError, match="format code"):
            numbers(seed, "key", epoch)  # type: ignore[arg-type]  # what a user may write


@given(key=st.text())
def test_shards_draw_as_mix_training_does_in_its_first_epoch(key: str) -> None:
    on_the_fly = Mix(PAPER_DECODE, PAPER_RESIZE, seed=5)
    assert drawn(key) == on_the_fly.draw(key)


def test_every_method_is_drawn_equally_often() -> None:
    keys = [f"n01440764_{number}" for number in range(10_000)]
    pairs = Counter(map(drawn, keys))
    table = [[pairs[decode, resize] for resize in PAPER_RESIZE] for decode in PAPER_DECODE]
    assert sum(map(sum, table)) == len(keys)
    assert chisquare([sum(row) for row in table]).pvalue > 0.001
    assert chisquare([sum(column) for column in zip(*table, strict=True)]).pvalue > 0.001
    assert chi2_contingency(table).pvalue > 0.001  # the stages are independent
    other = parse("mix", BASE, with_own(mixes(6)))
    seeds = Counter((MIX.of(key).decode.token, other.of(key).decode.token) for key in keys)
    assert chi2_contingency([[seeds[a, b] for b in PAPER_DECODE] for a in PAPER_DECODE]).pvalue > 0.001


@pytest.mark.parametrize(
    ("text", "name", "stages"),
    [
        ("mix", "mix_decode+mix_resize", ("decode", "resize")),
        ("mix_resize+mix_decode", "mix_decode+mix_resize", ("decode", "resize")),
        ("mix_resize", "mix_resize", ("resize",)),
        ("mix_decode+opencv_area", "mix_decode+opencv_area", ("decode",)),
        ("mix+nv12_ascend", "mix_decode+mix_resize+nv12_ascend", ("decode", "resize")),
    ],
)
def test_how_a_draw_is_written(text: str, name: str, stages: tuple[str, ...]) -> None:
    found = parse(text, BASE, KNOWN)
    assert (found.name, found.drawn) == (name, stages)
    assert parse(in_full(found.spelled_out), BASE, KNOWN) == found
    for one in map(found.of, "abcdefgh"):
        assert not one.drawn
        assert one.name == name
        assert all(
            mine == theirs for (stage, mine), (_, theirs) in zip(one.at, found.at, strict=True) if stage not in stages
        )


def test_without_a_resize_a_mix_draws_only_decoders() -> None:
    base = reference(resizes=False, known=KNOWN)
    assert parse("mix", base, KNOWN).name == "mix_decode"
    with pytest.raises(VariantError, match="the identity geometry does not resize"):
        parse("mix_resize", base, KNOWN)


@pytest.mark.parametrize("text", ["mix", "mix_decode", "pil+mix_resize"])
def test_a_reference_cannot_be_drawn(text: str) -> None:
    with pytest.raises(VariantError, match="a reference needs a fixed one"):
        reference(text, known=KNOWN)


def test_groups_contain_no_draws_and_custom_methods_cannot_take_their_names() -> None:
    for group in ("all", "paper", "decode", "resize"):
        assert expand([group], BASE, known=KNOWN) == expand([group], reference())
    for token in ("mix", "mix_decode"):
        with pytest.raises(OwnMethodError, match=f"{token} is already taken"):
            own_methods([f"{token}=decode:cat"])


def test_variants_without_draws_cover_all_methods_that_may_be_drawn() -> None:
    tokens = {token for one in MIX.each for token in one.spelled_out.values()}
    assert tokens == {*PAPER_DECODE, *PAPER_RESIZE, "none"}
    assert tokens < {*(method.token for method in MIX.methods), "none"}
    assert len({one.name for one in MIX.each}) == len(MIX.each)


def test_methods_that_cannot_run_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS["dali"].library.__dict__, "module", "no.such.module")
    decode, resize = (drawn_from(method) for method in mixes_here(["pil_box", "mix"]))
    assert [method.token for method in decode] == PAPER_DECODE[:3]
    assert [method.token for method in resize] == PAPER_RESIZE
    assert mixes()[0].problem() == f"dali: {METHODS['dali'].problem()}"
    assert mixes_here(["pil_box", "all"]) == ()


def test_a_provenance_records_the_draw() -> None:
    for made in (mixes(0), mixes(2**64), mixes(3)[1:]):
        libraries = {"Pillow": "13.0.0"}
        for method in made:
            libraries |= method.library.versions()
        assert mixes_in(libraries) == pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("text", ["", "seed 1: ", "seed 1: pil_box", "seed -1: pil", "seed x: pil", "seed 1: none pil"])
def test_other_texts_are_not_draws(text: str) -> None:
    assert mixes_in({"mix_decode": text}) == ()
