import pytest

from generators.registry import AUDIO_STAGES, METHODS
from generators.selection import expand
from generators.variant import VariantError, changed, in_full, name_of, parse, reference

BASE = reference(stages=AUDIO_STAGES)
RESAMPLE, STFT = ([m.token for m in METHODS.values() if m.stage == stage] for stage in AUDIO_STAGES)


def names(word: str) -> list[str]:
    return [variant.name for variant in expand([word], BASE)[0]]


def test_the_reference_combines_librosa_s_resampler_and_tacotron_2_s_stft() -> None:
    assert (BASE.name, BASE.spelled_out) == ("numpy_stft", {"resample": "soxr_hq", "stft": "numpy_stft"})
    other = reference("swresample", stages=AUDIO_STAGES)
    assert (other.name, in_full(other.spelled_out)) == ("numpy_stft", "swresample+numpy_stft")


@pytest.mark.parametrize("resample", RESAMPLE)
@pytest.mark.parametrize("stft", STFT)
def test_names_are_canonical_and_parse_to_the_same_variant(resample: str, stft: str) -> None:
    variant = parse(f"{stft}+{resample}", BASE)
    own = [token for token in (resample, stft) if token not in ("soxr_hq", "numpy_stft")]
    assert variant.name == ("+".join(own) or "numpy_stft")
    assert parse(variant.name, BASE) == variant
    assert parse(in_full(variant.spelled_out), BASE) == variant
    assert name_of(variant.spelled_out, BASE.spelled_out) == "+".join(own)
    assert len(changed(variant.spelled_out, BASE.spelled_out)) == len(own)


def test_groups() -> None:
    assert set(names("resample")) == {*RESAMPLE, "numpy_stft"} - {"soxr_hq"}
    assert set(names("stft")) == set(STFT)
    assert set(names("librosa")) == {"librosa_stft", "librosa_default"}
    assert set(names("all")) <= {*RESAMPLE, *STFT}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pil_lanczos", "pil_lanczos is for images .the stage resize.: speech has the stages resample and stft"),
        ("linear+pil", "pil is for images"),
        ("decode", "decode is for images"),
        ("paper", "paper has no methods for recordings: name resample or stft, or all"),
        ("libvips", "libvips has no method for the stages resample, stft"),
        ("linear+swresample", "names two resample methods, linear and swresample"),
        ("libros_stft", "did you mean librosa_stft"),
        ("fp16", "fp16 is noise of a model"),
        ("soxr_hq-1.0.0", "soxr_hq has only one version"),
    ],
)
def test_image_methods_are_refused_for_recordings(text: str, message: str) -> None:
    with pytest.raises(VariantError, match=message):
        expand([text], BASE)


@pytest.mark.parametrize("text", ["librosa_stft", "stft", "pil+soxr_vhq"])
def test_recording_methods_are_refused_for_images(text: str) -> None:
    with pytest.raises(VariantError, match=r"is for recordings .the stage .*.: use it with --dataset speech"):
        expand([text], reference())
