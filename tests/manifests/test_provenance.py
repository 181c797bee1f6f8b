from __future__ import annotations

from pathlib import Path

import numpy as np

from manifests.provenance import code_sha256, cpu


def test_features_are_those_that_numpy_finds() -> None:
    detected = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    features = cpu()["features"]
    for ours, theirs in (("avx2", "AVX2"), ("fma", "FMA3"), ("avx512f", "AVX512F"), ("sse4_2", "SSE42")):
        assert (ours in features) == detected[theirs]


def test_the_digest_follows_names_and_contents_of_code(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n")
    before = code_sha256([package])
    (package / "notes.txt").write_text("no code")
    assert code_sha256([package]) == before
    (package / "a.py").write_text("x = 2\n")
    changed = code_sha256([package])
    (package / "a.py").rename(package / "inner" / "a.py")
    assert len({before, changed, code_sha256([package])}) == 3
