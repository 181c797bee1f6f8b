"""Decodes a recording with FFmpeg through PyAV: WAV and FLAC losslessly, and any other sound that FFmpeg reads.

Integers become floats as in libsndfile, and therefore librosa: divided by half their range, for 8-bit WAV after
subtracting 128. Floats are kept, even beyond ±1. Channels are averaged, as in `librosa.to_mono`. A single channel of up
to 24 bits is exact; more bits, and averages, are rounded to float32.

Refuses truncated files: FLAC that ends early, and WAV and AIFF whose headers state more than there is, which FFmpeg and
libsndfile read without an error. Writers that cannot seek back to the header state the largest possible length, or
nearly: this counts as unknown. Refuses videos, values that are not numbers, and implausible rates and lengths.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from numpy.typing import NDArray

av.logging.set_level(None)

# In all channels together: 3.4 hours of one channel at 22,050 Hz, 1 GB as float32.
MAX_SAMPLES = 2**28
# In Hz. Telephones have 8,000, and the fastest audio converters 768,000.
MIN_RATE, MAX_RATE = 1_000, 768_000
# Playlists and session descriptions would make FFmpeg open the files and addresses in them. Tags are not used, and need
# not be UTF-8.
_INSIDE = {"protocol_whitelist": "none"}
# From this number of bytes on, a WAV's header means "unknown": FFmpeg writes 2^32 - 1, SoX the whole blocks in
# 2^31 - 2^12 (src/wav.c, MS_UNSPEC).
_UNKNOWN = 2**31 - 2**13
# The full scale of FFmpeg's sample formats (libavutil/samplefmt.h); 24-bit samples are the upper bits of 32.
_SCALES = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}


@dataclass(frozen=True)
class Recording:
    """Samples of one channel, float32 of shape (n,), full scale ±1; their rate in Hz; the file's number of channels;
    and its codec by FFmpeg's name: `pcm_s16le`, `flac`.
    """

    samples: NDArray[np.float32]
    rate: int
    channels: int
    codec: str


def read(data: bytes) -> Recording:
    """Decode a file. Raises ValueError, with a one-line reason, if it is not a complete recording."""
    if not data:
        raise ValueError("an empty file")
    _check_length(data)
    try:
        with av.open(io.BytesIO(data), "r", container_options=_INSIDE, metadata_errors="replace") as container:
            return _decoded(container, _sound(container))
    except av.FFmpegError as error:
        raise ValueError(f"FFmpeg cannot read it as sound ({error.strerror})") from None


def _check_length(data: bytes) -> None:
    """Raises ValueError if a WAV has less data than its header states, which FFmpeg does not report."""
    stated = _stated(data) if data[:4] in (b"RIFF", b"RF64", b"BW64") and data[8:12] == b"WAVE" else None
    if stated is None:
        return
    length, there = stated
    if length == 0:
        raise ValueError("no samples: its header states a length of 0")
    if there < length < _UNKNOWN:
        raise ValueError(f"truncated: its header states {length:,} bytes of samples, and {there:,} are there")


def _stated(data: bytes) -> tuple[int, int] | None:
    """The number of bytes of samples that a WAV's header states (by EBU Tech 3306 if it exceeds 32 bits), and how many
    follow in the file; None if there is no data chunk.
    """
    at, long = 12, 0
    while at + 8 <= len(data):
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        at += 8
        if name == b"data":
            return long if long and length == 2**32 - 1 else length, len(data) - at
        if name == b"ds64" and at + 16 <= len(data):
            (long,) = struct.unpack_from("<Q", data, at + 8)
        at += length + length % 2
    return None


def _sound(container: InputContainer) -> av.AudioStream:
    """The only audio stream. Cover pictures do not count as video."""
    if any(not stream.disposition & Disposition.attached_pic for stream in container.streams.video):
        raise ValueError("a video or an image, not a recording")
    if len(container.streams.audio) != 1:
        raise ValueError(f"{len(container.streams.audio) or 'no'} streams of sound, where one is expected")
    return container.streams.audio[0]


def _decoded(container: InputContainer, stream: av.AudioStream) -> Recording:
    if not stream.codec_context:
        raise ValueError("coded in a way that FFmpeg does not know")
    stream.codec_context.thread_count = 1
    codec = stream.codec_context.name
    if codec == "flac":  # its frames have checksums, which those of other codecs may lack
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    parts: list[NDArray[np.float32]] = []
    rate = channels = 0
    for frame in _checked(_frames(container, stream)):
        rate, channels = frame.sample_rate, len(frame.layout.channels)
        parts.append(_mono(frame))
    if not parts:
        raise ValueError("no samples")
    samples = np.concatenate(parts)
    if len(samples) < (stated := _stated_length(container, stream)):
        raise ValueError(f"truncated: its header states {stated:,} samples, and {len(samples):,} are there")
    if not np.isfinite(samples).all():
        raise ValueError("values that are no numbers, or too large for float32")
    return Recording(samples, rate, channels, codec)


def _frames(container: InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    for packet in container.demux(stream):
        for frame in packet.decode():
            if isinstance(frame, av.AudioFrame) and frame.samples:
                yield frame


def _checked(frames: Iterable[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """The same frames. Raises ValueError if they cannot be of one recording."""
    first: tuple[int, int] | None = None
    count = 0
    for frame in frames:
        rate, channels = frame.sample_rate, len(frame.layout.channels)
        first = first or (rate, channels)
        if (rate, channels) != first:
            raise ValueError("its rate or number of channels changes within it")
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ValueError(f"{rate:,} Hz is no rate of a recording: {MIN_RATE:,} to {MAX_RATE:,} are read")
        count += frame.samples * channels
        if count > MAX_SAMPLES:
            raise ValueError(f"more than {MAX_SAMPLES:,} samples")
        yield frame


def _stated_length(container: InputContainer, stream: av.AudioStream) -> int:
    """The number of samples per channel that a FLAC or AIFF header states; 0 if its writer did not know."""
    codec = stream.codec_context.name
    uncompressed_aiff = container.format.name == "aiff" and codec.startswith("pcm_")
    if not (codec == "flac" or uncompressed_aiff) or not stream.duration or not stream.time_base:
        return 0
    stated = int(stream.duration * stream.time_base * stream.rate)
    # If SoX cannot seek back, it states 0x7f000000 bytes in an AIFF (src/aiff.c), which no recording has.
    return 0 if uncompressed_aiff and stated * stream.channels > MAX_SAMPLES else stated


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    """A frame's samples, mixed to one channel."""
    kind = frame.format.packed.name
    if kind not in _SCALES:
        raise ValueError(f"samples of FFmpeg's kind {kind}, which are not read")
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(frame.samples, -1)
    with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite or NaN, which is refused later
        floats = values.astype(np.float32, order="C")
        if kind == "u8":
            floats -= 128.0
        floats /= np.float32(_SCALES[kind])
        return np.asarray(floats[:, 0] if floats.shape[1] == 1 else floats.mean(axis=1), np.float32)
