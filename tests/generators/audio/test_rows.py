"""The registry's rows for sound: each can be loaded, describes itself, and belongs to no group of images."""

from __future__ import annotations

import pytest

from generators.registry import AUDIO_STAGES, METHODS, STAGES, Method, Release, find
from generators.selection import expand
from generators.variant import reference

AUDIO = [method for method in METHODS.values() if method.stage in AUDIO_STAGES]


@pytest.mark.parametrize("method", AUDIO, ids=[method.token for method in AUDIO])
def test_a_row_is_complete(method: Method) -> None:
    assert method.how
    assert method.problem() is None
    assert callable(method.load_audio())
    if not isinstance(method.library, Release):
        assert all(version[0].isdigit() for version in method.library.versions().values())


def test_libraries_with_their_own_environment_have_versions() -> None:
    older = find("librosa_stft-0.10.2")
    assert older
    assert isinstance(older.library, Release)
    assert (older.library.distribution, older.library.version, older.library.program) == (
        "librosa",
        "0.10.2",
        "librosa",
    )
    assert find("numpy_stft-2.0.0") is None
    assert find("soxr_hq-1.0.0") is None


def test_image_groups_contain_no_sound_methods() -> None:
    found, skipped = expand(["all", "paper", "torch", "tensorflow"], reference(), model=True, runs=False)
    assert {method.stage for variant in found for method in variant.methods} <= set(STAGES)
    assert not {method.token for method in AUDIO} & skipped.keys()
