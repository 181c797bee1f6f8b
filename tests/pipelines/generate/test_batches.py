"""Rendering in batches gives the same as one sample at a time, and a failing sample costs only itself.

Methods with DALI's CPU pipelines and the same code stand in for those on a GPU.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generators.pixels import dali_gpu
from generators.registry import MAX_BATCH, METHODS, LostError, Method
from generators.variant import Variant, parse, reference
from pipelines.generate import render
from pipelines.generate.calls import Call
from pipelines.generate.given import Given
from pipelines.generate.render import Renderer
from pipelines.generate.sources import Missing, Sample
from tests.rows import Picture, picture

DECODE = replace(METHODS["dali_gpu"], token="decode_in_batches", options={"fancy": False, "device": "cpu"})
LINEAR = {"interpolation": "INTERP_LINEAR", "antialias": False, "device": "cpu"}
RESIZE = replace(METHODS["dali_gpu_linear"], token="resize_in_batches", options=LINEAR)
COLOR = METHODS["nv12_ascend"]
BASE = reference()


def on_gpu(*methods: Method, base: Variant = BASE) -> Variant:
    """The variant with these methods, relative to a reference."""
    at = {**dict(base.at), **{method.stage: method for method in methods}}
    return Variant("+".join(method.token for method in methods), tuple(at.items()))


ON_GPU = [on_gpu(DECODE), on_gpu(RESIZE), on_gpu(DECODE, RESIZE), on_gpu(DECODE, RESIZE, COLOR)]
ON_CPU = [parse(text, BASE) for text in ("dali", "dali_linear", "dali+dali_linear", "dali+dali_linear+nv12_ascend")]
MIXED = [*ON_GPU, parse("opencv_area", BASE), parse("ffmpeg", BASE)]


def renderer(variants: Sequence[Variant], base: Variant = BASE, geometry: str = "crop", **more: Any) -> Renderer:
    return Renderer(variants, base, geometry, () if geometry == "identity" else (64,), "npy", 0, **more)


def given(files: dict[str, bytes | Missing]) -> list[Given]:
    return [Given(Sample(key, 0, key, 0, ()), data) for key, data in files.items()]


def rendered(by: Renderer, samples: Sequence[Given]) -> dict[str, list[Picture]]:
    """All results by key."""
    results = zip(samples, by.render_all(samples), strict=True)
    return {one.sample.key: list(map(picture, found)) for one, found in results}


def without_token(results: list[Picture]) -> list[tuple[Any, ...]]:
    """The parts in which two methods must agree if they differ only in name."""
    return [(replace(row, error=row.error.partition(": ")[2]), image) for row, image in results]


@pytest.fixture(scope="module")
def files(photographs: dict[str, bytes]) -> dict[str, bytes | Missing]:
    """Photographs, and between them files that cannot be decoded, measured or read."""
    bomb, sliver = io.BytesIO(), io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(bomb, "PNG")
    Image.new("RGB", (1, 5000)).save(sliver, "JPEG")
    odd: dict[str, bytes | Missing] = {
        "half": photographs["chelsea"][:20_000],
        "empty": b"",
        "page": b"<html>not found</html>",
        "bomb": bomb.getvalue(),
        "sliver": sliver.getvalue(),
        "missing": Missing("source: no such file"),
    }
    return {**odd, **{key: photographs[key] for key in ("chelsea", "camera", "coffee")}}


Batches = list[tuple[str, int]]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """The sizes of the batches made during the test, with the function that made each."""
    sizes: Batches = []

    def counted(name: str) -> Callable[..., Any]:
        function = getattr(dali_gpu, name)

        def count(batch: Sequence[Any], **options: Any) -> Any:
            sizes.append((name, len(batch)))
            return function(batch, **options)

        return count

    for name in ("decode", "resize"):
        monkeypatch.setattr(dali_gpu, name, counted(name))
    return sizes


@pytest.mark.parametrize("geometry", ["crop", "identity"])
def test_batches_give_what_one_at_a_time_gives(files: dict[str, bytes | Missing], geometry: str) -> None:
    base = reference(resizes=geometry != "identity")
    variants, twins = MIXED, [*ON_CPU, *MIXED[4:]]
    if geometry == "identity":
        variants, twins = [on_gpu(DECODE, base=base)], [parse("dali", base)]
    together = rendered(renderer(variants, base, geometry), given(files))
    for one in given(files):
        key = one.sample.key
        assert {key: together[key]} == rendered(renderer(variants, base, geometry), [one])
        if key == "half":
            continue  # on the CPU, DALI itself finds that, and words it differently
        alone = rendered(renderer(twins, base, geometry), [one])
        assert without_token(together[key]) == without_token(alone[key]), key
    failed = {key for key, results in together.items() if results[0].image is None}
    assert failed == {"half", "empty", "page", "bomb", "missing"} | ({"sliver"} if geometry == "crop" else set())


def test_whole_files_go_through_in_one_batch(photographs: dict[str, bytes], batches: Batches) -> None:
    rendered(renderer(MIXED), given({**photographs}))
    assert batches == [("decode", 9), ("resize", 9), ("resize", 9)]


def test_a_failure_in_a_batch_costs_only_itself(photographs: dict[str, bytes], batches: Batches) -> None:
    samples = given({**photographs, "half": photographs["chelsea"][:20_000]})
    found = rendered(renderer([on_gpu(DECODE)]), samples)
    assert batches == [("decode", 10), *[("decode", 1)] * 10]
    assert [key for key, results in found.items() if results[0].image is None] == ["half"]
    assert found["half"][0].row.error.startswith("decode_in_batches: ")


def test_batches_are_bounded_in_samples(batches: Batches) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 60)).save(buffer, "JPEG")
    rendered(renderer([on_gpu(DECODE)]), given({str(number): buffer.getvalue() for number in range(2 * MAX_BATCH + 3)}))
    assert batches == [("decode", MAX_BATCH), ("decode", MAX_BATCH), ("decode", 3)]


def test_batches_are_bounded_in_pixels(
    photographs: dict[str, bytes], batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = given({**photographs})
    expected = rendered(renderer(ON_GPU), samples)
    pixels = [int(np.prod(METHODS["pil"].load()(data).shape[:2])) for data in photographs.values()]
    for limit in (1, 3 * max(pixels), 3 * sum(pixels)):
        batches.clear()
        monkeypatch.setattr(render, "_WAITING", limit)
        assert rendered(renderer(ON_GPU), samples) == expected
        sizes = [size for name, size in batches if name == "decode"]
        assert sum(sizes) == 9
        rest = iter(pixels)
        for size in sizes:  # each sample's pictures from two decoders are held
            assert 2 * sum(itertools.islice(rest, size)) <= limit or size == 1
    assert sizes == [9]


def counting(samples: Sequence[Given], taken: list[str]) -> Iterator[Given]:
    for one in samples:
        taken.append(one.sample.key)
        yield one


def test_without_a_gpu_one_sample_is_in_memory_at_a_time(photographs: dict[str, bytes]) -> None:
    samples = given({**photographs})
    for variants, expected in ((ON_CPU, 1), (ON_GPU, 9)):
        taken: list[str] = []
        next(renderer(variants).render_all(counting(samples, taken)))
        assert len(taken) == expected


def test_each_image_is_decoded_once_for_all_batches(
    photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    load = Method.load

    def counted(self: Method) -> Callable[..., Any]:
        called.append(self.token)
        return load(self)

    monkeypatch.setattr(Method, "load", counted)
    rendered(renderer([on_gpu(RESIZE), parse("opencv_area", BASE)]), given({**photographs}))
    assert {token: called.count(token) for token in ("pil", "pil_bilinear", "opencv_area")} == {
        "pil": 9,
        "pil_bilinear": 9,
        "opencv_area": 9,
    }


def test_a_gpu_method_as_the_reference(photographs: dict[str, bytes]) -> None:
    base = on_gpu(DECODE, RESIZE)
    variants = [base, parse("dali+dali_linear", BASE), parse("opencv_area", BASE)]
    for results in rendered(renderer(variants, base), given({**photographs})).values():
        assert [result.row.residual_max_abs == 0 for result in results] == [True, True, False]


def test_a_lethal_call_is_left_out_of_its_batch(photographs: dict[str, bytes], batches: Batches) -> None:
    lethal = {Call("chelsea", DECODE.token): "ended the process (SIGSEGV)"}
    found = rendered(renderer([on_gpu(DECODE)], lethal=lethal), given({**photographs}))
    assert batches == [("decode", 8)]
    assert found["chelsea"][0].row.error == "decode_in_batches: ended the process (SIGSEGV)"
    assert sum(results[0].image is None for results in found.values()) == 1


def test_reporting_every_call_turns_batches_off(photographs: dict[str, bytes], batches: Batches) -> None:
    reported: list[Call] = []
    found = rendered(renderer(ON_GPU, tell=reported.append), given({**photographs}))
    assert {size for _, size in batches} == {1}
    assert {Call(key, token) for key in photographs for token in (DECODE.token, RESIZE.token)} <= set(reported)
    assert found == rendered(renderer(ON_GPU), given({**photographs}))


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_lost_gpu_ends_the_process(photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_gpu, "decode", failing(LostError("the GPU fails on everything")))
    reported: list[Call] = []
    for tell in (None, reported.append):  # in a batch, and one at a time
        with pytest.raises(SystemExit, match="decode_in_batches: the GPU fails on everything"):
            rendered(renderer([on_gpu(DECODE)], tell=tell), given({**photographs}))


@pytest.mark.parametrize(
    "message",
    ["CUDA runtime API error cudaErrorMemoryAllocation (2)", "Can't allocate 536870912 bytes on device 0."],
)
def test_a_gpu_without_memory_is_not_the_samples_fault(
    message: str, photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dali_gpu, "resize", failing(ValueError(message)))
    with pytest.raises(MemoryError, match="resize_in_batches: C"):
        rendered(renderer([on_gpu(RESIZE)]), given({**photographs}))
