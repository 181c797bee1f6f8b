from __future__ import annotations

import importlib
from pathlib import Path

from manifests.provenance import code_sha256, cpu


def test_features_are_those_that_numpy_finds() -> None:
    detected = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    features = cpu()["features"]
    for ours, theirs in (("avx2", "AVX2"), ("fma", "FMA3"), ("avx512f", "AVX512F"), ("sse4_2", "SSE42")):
        assert (ours in features) == detected[theirs]


def test_the_digest_follows_names_and_contents_of_code(tmp_path: Path) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "a.py").write_text("x = 1\n")
    (tmp_path / "other.py").write_text("y = 1\n")
    parts = ["package", "other.py"]
    before = code_sha256(tmp_path, parts)
    (tmp_path / "package" / "notes.txt").write_text("no code")
    (tmp_path / "third.py").write_text("z = 1\n")
    assert code_sha256(tmp_path, parts) == before
    (tmp_path / "package" / "a.py").write_text("x = 2\n")
    changed = code_sha256(tmp_path, parts)
    (tmp_path / "package" / "a.py").rename(tmp_path / "package" / "inner" / "a.py")
    moved = code_sha256(tmp_path, parts)
    (tmp_path / "other.py").write_text("y = 2\n")
    assert len({before, changed, moved, code_sha256(tmp_path, parts)}) == 4
