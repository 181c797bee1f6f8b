"""Recordings are read as by libsndfile, librosa and the ffmpeg program, or refused with a reason."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from generators.audio import recording

try:
    import soundfile
except OSError as error:  # the system's libsndfile, if the wheel has none
    pytest.skip(f"soundfile cannot be imported ({error})", allow_module_level=True)


Floats = NDArray[np.float64]


def sound(channels: int = 1, length: int = 2205, peak: float = 0.99) -> Floats:
    """Noise of shape (n, channels); all channels differ."""
    return np.random.default_rng(channels).uniform(-peak, peak, (length, channels))


def written(samples: Floats, subtype: str = "PCM_16", rate: int = 22050, kind: str = "WAV") -> bytes:
    """A file written by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def librosas(data: bytes) -> NDArray[np.float32]:
    """As `librosa.load(sr=None)` reads it: with soundfile, then its `to_mono`."""
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    return np.asarray(np.mean(samples.T, axis=0) if samples.ndim > 1 else samples, np.float32)


def refused(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"^[ -~]+$") as caught:
        recording.read(data)
    assert "0x" not in str(caught.value)  # no address in memory
    return str(caught.value)


def wav(*chunks: tuple[bytes, bytes], head: bytes = b"RIFF") -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return head + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def described(rate: int = 22050, channels: int = 1, bits: int = 16) -> bytes:
    """A `fmt ` chunk of integers."""
    block = channels * bits // 8
    return struct.pack("<HHIIHH", 1, channels, rate, rate * block, block, bits)


TONE = (np.sin(np.arange(2205) / 9) * 9000).astype("<i2").tobytes()
CODINGS = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")


@pytest.mark.parametrize("subtype", CODINGS)
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64"])
def test_every_wav_encoding_equals_libsndfile(subtype: str, kind: str) -> None:
    data = written(sound(), subtype, kind=kind)
    found = recording.read(data)
    assert (found.rate, found.channels, found.samples.shape) == (22050, 1, (2205,))
    assert found.samples.dtype == np.float32
    assert np.array_equal(found.samples, librosas(data))


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_flac_equals_libsndfile(subtype: str, channels: int) -> None:
    data = written(sound(channels, 9000), subtype, 48000, "FLAC")
    found = recording.read(data)
    assert (found.rate, found.channels, found.codec) == (48000, channels, "flac")
    assert np.array_equal(found.samples, librosas(data))


@pytest.mark.parametrize("channels", [2, 3, 6, 8, 9, 17])
def test_channels_are_mixed_as_by_librosa(channels: int) -> None:
    for subtype in ("PCM_16", "FLOAT"):
        data = written(sound(channels), subtype, 8000)
        found = recording.read(data)
        assert (found.rate, found.channels) == (8000, channels)
        assert np.array_equal(found.samples, librosas(data))


def test_24_bits_lose_nothing_and_8_bits_have_their_middle_at_128() -> None:
    values = np.array([-(2**23), -1, 0, 1, 2**23 - 1])
    packed = b"".join(int(value).to_bytes(3, "little", signed=True) for value in values)
    found = recording.read(wav((b"fmt ", described(bits=24)), (b"data", packed)))
    assert np.array_equal(found.samples.astype(np.float64) * 2**23, values)
    found = recording.read(wav((b"fmt ", described(bits=8)), (b"data", bytes([0, 127, 128, 255]))))
    assert found.samples.tolist() == [-1, -1 / 128, 0, 127 / 128]


def test_values_beyond_full_scale_are_kept() -> None:
    loud = sound(peak=7.5)
    for subtype in ("FLOAT", "DOUBLE"):
        assert np.array_equal(recording.read(written(loud, subtype)).samples, loud[:, 0].astype(np.float32))


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
def test_adpcm_equals_libsndfile(subtype: str) -> None:
    data = written(sound(), subtype)
    assert np.array_equal(recording.read(data).samples, librosas(data))


@pytest.mark.parametrize(("subtype", "kind"), [("PCM_16", "WAV"), ("PCM_24", "FLAC"), ("ULAW", "WAV")])
def test_samples_equal_the_program(subtype: str, kind: str, ffmpeg: str) -> None:
    data = written(sound(), subtype, kind=kind)
    words = [ffmpeg, "-v", "error", "-i", "pipe:0", "-f", "f32le", "-c:a", "pcm_f32le", "pipe:1"]
    done = subprocess.run(words, input=data, capture_output=True, check=True)
    assert np.array_equal(recording.read(data).samples, np.frombuffer(done.stdout, "<f4"))


@pytest.mark.parametrize(
    "data",
    [
        wav((b"LIST", b"INFOINAM\x05\0\0\0caf\xe9\0\0"), (b"fmt ", described()), (b"data", TONE)),
        wav((b"fmt ", described()), (b"odd ", b"x"), (b"data", TONE), (b"LIST", b"behind it")),
        wav(
            (b"ds64", struct.pack("<QQQI", 4500, 4410, 2205, 0)), (b"fmt ", described()), (b"data", TONE), head=b"RF64"
        ),
        *(
            wav((b"fmt ", described()), (b"data", TONE)).replace(b"data" + struct.pack("<I", 4410), b"data" + size)
            for size in (b"\xff" * 4, struct.pack("<I", 0x7FFFF000), struct.pack("<I", 0x7FFFFFFF))
        ),
    ],
    ids=["latin-1 tags", "more chunks", "RF64", "FFmpeg's stream", "SoX's stream", "another's stream"],
)
def test_unusual_wav_files_are_read(data: bytes) -> None:
    assert np.array_equal(recording.read(data).samples, np.frombuffer(TONE, "<i2") / np.float32(2**15))
    assert np.array_equal(recording.read(data).samples, librosas(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"some words\n" * 99, "cannot read it as sound"),
        (wav((b"fmt ", described()), (b"data", b"")), "no samples"),
        (wav((b"fmt ", described())), "cannot read it as sound"),
        (wav((b"fmt ", described()), (b"data", TONE))[:1000], "states 4,410 bytes of samples, and 956 are there"),
        (wav((b"fmt ", described(999)), (b"data", TONE)), "999 Hz is no rate"),
        (wav((b"fmt ", described(800_000)), (b"data", TONE)), "800,000 Hz is no rate"),
        (written(np.array([[0.5], [np.nan]]), "FLOAT"), "no numbers"),
        (written(np.array([[0.5], [np.inf]]), "FLOAT"), "no numbers"),
        (written(np.array([[0.5, 1e300], [1e300, -1e300]]), "DOUBLE"), "no numbers"),
        (written(sound(2, peak=3e38), "FLOAT"), "no numbers"),
    ],
)
def test_files_other_than_recordings_are_refused(data: bytes, reason: str) -> None:
    assert reason in refused(data)


def test_length_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_SAMPLES", 4410)
    assert len(recording.read(written(sound(2))).samples) == 2205
    assert "more than 4,410 samples" in refused(written(sound(2, 2206)))


def test_flac_that_ends_between_two_frames_is_refused() -> None:
    """FFmpeg has nothing to complain about there."""
    data = written(np.zeros((9000, 1)), kind="FLAC")
    ends = [at for at in range(1, len(data)) if data[at : at + 2] == b"\xff\xf8"]
    assert len(ends) > 1
    assert "truncated: " in refused(data[: ends[1]])


def test_flac_with_a_changed_frame_fails() -> None:
    data = bytearray(written(sound(1, 9000), kind="FLAC"))
    data[len(data) // 2] ^= 1
    refused(bytes(data))


def test_a_video_is_refused() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        heard = container.add_stream("pcm_s16le", rate=22050, layout="mono")
        seen = container.add_stream("mpeg4", rate=25, width=16, height=16)
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        frame = av.AudioFrame.from_ndarray(np.frombuffer(TONE, "<i2")[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 22050, 0, Fraction(1, 22050)
        container.mux([*heard.encode(frame), *heard.encode(None), *seen.encode(picture), *seen.encode(None)])
    assert "a video" in refused(buffer.getvalue())


def test_an_image_is_refused_and_a_cover_is_ignored() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    image = buffer.getvalue()
    assert "an image" in refused(image)
    data = written(sound(), kind="FLAC")
    # RFC 9639, section 8.8; STREAMINFO comes first, and takes 42 bytes including what precedes it.
    block = struct.pack(">II9sI5I", 3, 9, b"image/png", 0, 8, 8, 24, 0, len(image)) + image
    covered = data[:42] + b"\6" + len(block).to_bytes(3, "big") + block + data[42:]
    assert np.array_equal(recording.read(covered).samples, recording.read(data).samples)


def cut(data: bytes) -> None:
    for end in range(0, len(data), 100):
        refused(data[:end])


def test_a_file_truncated_anywhere_is_refused() -> None:
    cut(written(sound()))
    cut(written(sound(2), "PCM_24", kind="FLAC"))
    cut(wav((b"fmt ", described()), (b"data", TONE)))
    cut(written(sound(), kind="AIFF"))


def test_aiff_of_unknown_length_is_read() -> None:
    data = bytearray(written(sound(), kind="AIFF"))
    at = data.index(b"COMM") + 10
    assert struct.unpack_from(">I", data, at) == (2205,)
    struct.pack_into(">I", data, at, 0x7F000000 // 2)  # as SoX writes it
    assert len(recording.read(bytes(data)).samples) == 2205


@given(
    base=st.sampled_from([written(sound(length=300), kind=kind) for kind in ("WAV", "FLAC", "RF64")]),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_changed_bytes_give_samples_or_a_reason(base: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(base)
    for at, value in changes:
        data[at] = value
    found = None
    with contextlib.suppress(ValueError):
        found = recording.read(bytes(data))
    assert found is None or (len(found.samples) and np.isfinite(found.samples).all())


def test_real_speech(data: Path) -> None:
    files = sorted((data / "speech" / "LJSpeech-1.1" / "wavs").glob("*.wav"))
    assert len(files) == 12
    for file in files:
        found = recording.read(file.read_bytes())
        assert (found.rate, found.channels, found.codec) == (22050, 1, "pcm_s16le")
        assert np.array_equal(found.samples, librosas(file.read_bytes()))
