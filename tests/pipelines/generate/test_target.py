"""Geometries and sizes, from options to configurations."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.geometry import GEOMETRIES, Size
from manifests.canonical import digest
from pipelines.command import Parser, options_of
from pipelines.errors import UsageError
from pipelines.generate.config import ImageConfig, size_from_json, size_to_json
from pipelines.generate.target import choose_geometry, words
from pipelines.options import Target

SOURCE = (("kind", "tree"), ("samples", 3), ("sha256", "0" * 64))


@pytest.mark.parametrize(
    ("dataset", "target", "sha256"),
    [
        ("imagenet", Target(), "d1c543b03e5e165a070088c0f5c4a617061d1fd1bd603d02631203ee8df05cd1"),
        ("imagenet", Target(resize=256), "d1c543b03e5e165a070088c0f5c4a617061d1fd1bd603d02631203ee8df05cd1"),
        ("imagenet", Target(crop_pct=0.875), "d1c543b03e5e165a070088c0f5c4a617061d1fd1bd603d02631203ee8df05cd1"),
        ("imagenet", Target("squash", (227,)), "f8e151bccd2f51bd099b5319cd6d6786a900308c72d6beb8a8407b66fd1f98b3"),
        ("coco", Target(), "3adb30aa30785971462c5ac2825dbda186d6fb6e7d7befe70a7d64faa5ebed1a"),
        ("cityscapes", Target(), "f05568df2f9feb2ba848150e6e5de1ea42bd61293ca12028aa6e562990afeb05"),
        ("imagenet", Target("stretch", (160, 120)), "622ee415723b26538cea48a334dcf84ddc4b6b23e319ab5f681c5dd3209c15c5"),
    ],
)
def test_configurations_equal_those_from_before_the_resize_option(dataset: str, target: Target, sha256: str) -> None:
    geometry, size = choose_geometry(dataset, target)
    config = ImageConfig(dataset, geometry, size, "pil+pil_bilinear", "png", 1000, SOURCE)
    assert digest(config.as_json()) == sha256


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [
        (224, 0.875, (224,)),
        (224, 0.95, (224, 235)),
        (224, 0.9, (224, 248)),
        (240, 0.9, (240, 266)),
        (299, 0.875, (299,)),
        (227, 1.0, (227, 227)),
        (288, 0.96, (288, 300)),
        (384, 1.0, (384, 384)),
    ],
)
def test_a_crop_pct_is_timms(size: int, share: float, expected: Size) -> None:
    for name in ("crop", "squash"):
        assert choose_geometry("imagenet", Target(name, (size,), crop_pct=share)) == (name, expected)
        side = math.floor(size / share)
        assert choose_geometry("imagenet", Target(name, (size,), resize=side)) == (name, expected)


@pytest.mark.parametrize(
    ("dataset", "target", "message"),
    [
        ("imagenet", Target(resize=235, crop_pct=0.9), "--resize and --crop-pct both set"),
        ("imagenet", Target(resize=200), "--resize 200 is less than --size 224, which is cut out of it"),
        ("imagenet", Target(size=(224, 235)), "--size 224,235 does not suit crop, which takes N"),
        ("imagenet", Target("stretch", resize=235), "--resize applies only to the geometries crop and squash, not"),
        ("coco", Target(crop_pct=0.9), "--crop-pct applies only to .* not to keep_ratio: leave it out"),
        ("cityscapes", Target(resize=235), "not to identity: leave it out"),
        ("imagenet", Target(resize=20_000), "--size 224 --resize 20000 is too large"),
        ("imagenet", Target(crop_pct=0.001), "--size 224 --resize 224000 is too large"),
    ],
)
def test_sizes_that_do_not_suit_are_refused(dataset: str, target: Target, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_geometry(dataset, target)


@given(st.sampled_from(sorted(GEOMETRIES)), st.integers(1, 300), st.integers(0, 100), st.booleans())
def test_any_configuration_can_be_written_as_options(name: str, side: int, more: int, two: bool) -> None:
    counts = GEOMETRIES[name].values
    size = (side, side + more)[: counts[-1] if two else counts[0]]
    chosen = choose_geometry("imagenet", Target.of(name, size))
    assert choose_geometry("imagenet", Target.of(*chosen)) == chosen
    assert size_from_json(size_to_json(chosen[1])) == chosen[1]
    typed = options_of(Parser(Target).parse_args(words(*chosen)), Target)
    assert choose_geometry("imagenet", typed) == chosen
