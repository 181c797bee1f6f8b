"""Sets in which a method is drawn for each image: what their rows name, and what their probe covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from generators.draw import mixes
from generators.pixels import pillow
from generators.registry import METHODS, Image
from generators.variant import Variant, parse
from manifests.schema import Recipe
from pipelines.errors import UsageError
from pipelines.generate.compare import config_of, seed_of, variant_of
from pipelines.generate.config import ImageConfig
from pipelines.generate.machines import difference
from pipelines.generate.machines.kinds import Made
from pipelines.generate.machines.probe import Probe, probe
from pipelines.generate.render import Renderer
from pipelines.generate.sources import Missing, Sample
from tests.rows import Picture, picture

SOURCE = (("kind", "sample"), ("samples", 9), ("sha256", "0" * 64))
CONFIG = ImageConfig("sample", "crop", (64,), "", "png", 9, SOURCE, draws=mixes(1))


def variant(text: str) -> Variant:
    return parse(text, CONFIG.base, CONFIG.known)


def rendered(data: bytes | Missing, key: str, *texts: str) -> list[Picture]:
    renderer = Renderer([variant(text) for text in texts], CONFIG.base, "crop", (64,), "png", 0)
    return [picture(one) for one in renderer.render(Sample(key, 0, key, 0, ()), data)]


@pytest.mark.parametrize("text", ["mix", "mix_decode", "mix_resize+nv12_ascend"])
def test_pixels_are_those_of_the_variant_that_the_row_names(photographs: dict[str, bytes], text: str) -> None:
    """Whatever else is rendered, and also for files that some decoders refuse."""
    data = {**photographs, "cut": photographs["rocket"][:9000], "empty": b"", "none": b"no image"}
    named = set()
    for key, image in data.items():
        (alone,) = rendered(image, key, text)
        drawn = [alone.row.extra[stage] for stage in variant(text).drawn]
        rest = [token for token in text.split("+") if "mix" not in token]
        mixed, _, own = rendered(image, key, text, "pil_box", "+".join([*drawn, *rest]))
        assert mixed == alone
        assert (mixed.image, replace(mixed.row, extra={})) == (own.image, own.row)
        named.update(drawn)
    assert len(named) > 2


def test_a_missing_sample_still_names_what_was_drawn() -> None:
    (found,) = rendered(Missing("source: not there"), "gone", "mix")
    assert {*found.row.extra} == {"decode", "resize"}
    assert found.row.error == "source: not there"


def test_draws_are_in_the_versions_and_not_in_the_configuration() -> None:
    assert CONFIG.as_json() == replace(CONFIG, draws=()).as_json()
    versions = CONFIG.versions(variant("mix_decode"))
    assert versions["mix_decode"] == "seed 1: pil opencv ffmpeg dali"
    assert {"Pillow", "OpenCV", "PyAV", "DALI"} <= versions.keys()
    assert "mix_decode" not in CONFIG.versions(variant("pil_box"))


def test_the_probe_covers_every_method_that_may_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [variant(text) for text in ("mix", "mix_decode", "pil_box")]
    before = probe(CONFIG, variants)
    assert before["mix_decode+mix_resize"].methods.keys() >= {"pil", "dali", "pil_hamming", "opencv_lanczos"}
    resize = pillow.resize

    def other(image: Image, width: int, height: int, **options: str) -> Image:
        return resize(image, width, height, **options) ^ np.uint8(options["filter"] == "HAMMING")

    monkeypatch.setattr(pillow, "resize", other)
    after = probe(CONFIG, variants)
    assert [name for name in before if before[name].sha256 != after[name].sha256] == ["mix_decode+mix_resize"]
    here, there = (
        Made({}, {one.name: recipe(one, probes[one.name]) for one in variants}, methods(probes), {})
        for probes in (before, after)
    )
    assert difference(there, here, "node a") == "pil_hamming gives different pixels there than on node a"


def recipe(one: Variant, found: Probe) -> Recipe:
    made_by = {"libraries": CONFIG.versions(one), "cpu": {"architecture": "x86_64"}, "probe_sha256": found.sha256}
    return Recipe(one.name, one.spelled_out, CONFIG.as_json(), made_by)


def methods(probes: Mapping[str, Probe]) -> dict[str, str]:
    return {token: sha256 for found in probes.values() for token, sha256 in found.methods.items()}


def test_a_recipe_allows_its_images_to_be_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Probe("0" * 64, {})
    mixed, box = (recipe(variant(text), nothing) for text in ("mix+nv12_full", "pil_box"))
    again = variant_of(mixed, config_of(mixed))
    assert (again.name, again) == ("mix_decode+mix_resize+nv12_full", variant("mix+nv12_full"))
    assert (seed_of([box]), seed_of([box, mixed])) == (None, 1)
    other = replace(CONFIG, draws=mixes(2))
    theirs = {**mixed.provenance, "libraries": other.versions(parse("mix_resize", other.base, other.known))}
    with pytest.raises(UsageError, match="drawn with different seeds: rebuild them one at a time"):
        seed_of([mixed, replace(mixed, provenance=theirs)])
    monkeypatch.setitem(METHODS["dali"].library.__dict__, "module", "no.such.module")
    with pytest.raises(UsageError, match="drawn from other methods than can run here: seed 1: pil opencv ffmpeg dali"):
        seed_of([mixed])
