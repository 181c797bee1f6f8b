"""FFmpeg, through PyAV: decoding, five of swscale's resize filters, and a trip through NV12.

The pixels are those of the `ffmpeg` program (`-noautorotate -f rawvideo -pix_fmt rgb24`, `-vf scale=W:H:flags=...`),
which tests compare with. When shrinking RGB to half or less, swscale reads every second chroma value unless told
`full_chroma_inp`; since libswscale 9 (FFmpeg 8) this no longer holds for sources of odd width.

One thread in each process, as for every library here.
"""

from __future__ import annotations

import io

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from generators.geometry import MAX_PIXELS

av.logging.set_level(None)

# swscale's default, and so the ffmpeg program's, for conversions that name no filter (libswscale/options.c).
_DEFAULT = Interpolation.BICUBIC

# Playlists and session descriptions would have FFmpeg open files and addresses that they name.
_INSIDE = {"protocol_whitelist": "none"}


def _frame(data: bytes) -> av.VideoFrame:
    # Naming the demuxer spares JPEGs the probing, which gives up on some damaged files that the program can read.
    demuxer = "jpeg_pipe" if data.startswith(b"\xff\xd8") else None
    with av.open(io.BytesIO(data), "r", format=demuxer, container_options=_INSIDE) as container:
        if not container.streams.video:
            raise ValueError("no image stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        failure: Exception | None = None
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        return frame
            except av.FFmpegError as error:  # the program, too, goes on to the next packet
                failure = error
    raise ValueError(f"no frame could be decoded ({failure})" if failure else "no frame could be decoded")


def decode(data: bytes) -> NDArray[np.uint8]:
    """The first frame as rgb24; EXIF orientation is not applied."""
    rgb = _frame(data).reformat(format="rgb24", interpolation=_DEFAULT, threads=1)
    return np.asarray(rgb.to_ndarray(), np.uint8)


def resize(image: NDArray[np.uint8], width: int, height: int, *, flags: str) -> NDArray[np.uint8]:
    """swscale from rgb24 to rgb24 with one of its filters (`flags` of the `scale` filter)."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    scaled = frame.reformat(width, height, format="rgb24", interpolation=Interpolation[flags], threads=1)
    return np.asarray(scaled.to_ndarray(), np.uint8)


def nv12(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """rgb24 → nv12 → rgb24 by swscale with its defaults (BT.601, limited range, bicubic)."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    noised = frame.reformat(format="nv12", interpolation=_DEFAULT, threads=1)
    rgb = noised.reformat(format="rgb24", interpolation=_DEFAULT, threads=1)
    return np.asarray(rgb.to_ndarray(), np.uint8)


def versions() -> dict[str, str]:
    """PyAV and the FFmpeg libraries inside it."""
    libraries = {
        f"FFmpeg/{name}": ".".join(map(str, av.library_versions[name]))
        for name in ("libavcodec", "libavformat", "libavutil", "libswscale")
    }
    return {"PyAV": av.__version__, **libraries}
