"""FFmpeg, through any release of PyAV from 8: does the same as `generators/pixels/ffmpeg.py`.

Sets everything whose default may differ between releases: the filter, by its number in libswscale (not all releases
have names for all of them), the format and the number of threads.
"""

from __future__ import annotations

import io
import sys
from typing import Any, Tuple, cast

import av
import av.logging
import numpy as np

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]

try:
    av.logging.set_level(None)
except TypeError:  # releases before 11 always have a level
    av.logging.set_level(av.logging.PANIC)

# SWS_* in libswscale/swscale.h.
_FILTERS = {"BILINEAR": 0x2, "BICUBIC": 0x4, "AREA": 0x20, "LANCZOS": 0x200, "SPLINE": 0x400}
# Releases before 17 do not have the option, and use one thread.
_ONE_THREAD = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}
# Matrices, by the names that all releases know. Ranges are left out: 12.0 misreads them, and all releases default to
# limited for YUV. RGB's matrix does not matter, but must differ from that of YUV: if they are the same, releases before
# 17 use BT.601.
_TO_709 = {"src_colorspace": "ITU601", "dst_colorspace": "ITU709"}
_FROM_709 = {"src_colorspace": "ITU709", "dst_colorspace": "ITU601"}
# Playlists and session descriptions would make FFmpeg open the files and addresses in them.
_INSIDE = {"protocol_whitelist": "none"}


def decode(data: memoryview) -> Made:
    """The first frame as rgb24; EXIF orientation is not applied."""
    try:
        frame = _frame(data)
        return _given(_reformat(frame, "rgb24", "BICUBIC", **_range(frame)))
    except av.error.FFmpegError as error:
        raise ValueError(_reason(error)) from None


def resize(image: Given, width: int, height: int, flags: str) -> Made:
    """swscale from rgb24 to rgb24 with one of its filters."""
    return _given(_reformat(_picture(image), "rgb24", flags, width=width, height=height))


def nv12(image: Given) -> Made:
    """rgb24 to nv12 and back by swscale with its defaults."""
    return _given(_reformat(_reformat(_picture(image), "nv12"), "rgb24"))


def nv12_bt709(image: Given) -> Made:
    """rgb24 to nv12 and back with BT.709."""
    return _given(_read_as_709(_reformat(_picture(image), "nv12", **_TO_709)))


def yuv_601_as_709(image: Given) -> Made:
    """rgb24 to yuv444p with BT.601 and back with BT.709."""
    return _given(_read_as_709(_reformat(_picture(image), "yuv444p")))


def yuv_limited_as_full(image: Given) -> Made:
    """rgb24 to yuv444p of limited range and back as if it were of full range."""
    limited = _reformat(_picture(image), "yuv444p")
    # The same format with the other range, the only way to express it in the first releases.
    full: Any = av.VideoFrame(limited.width, limited.height, "yuvj444p")
    for number, plane in enumerate(limited.planes):
        full.planes[number].update(plane)
    return _given(_reformat(full, "rgb24"))


def versions() -> dict[str, str]:
    """PyAV and the FFmpeg libraries in it."""
    libraries = {
        f"FFmpeg/{name}": ".".join(map(str, av.library_versions[name]))
        for name in ("libavcodec", "libavformat", "libavutil", "libswscale")
    }
    return {"PyAV": av.__version__, **libraries}


def _frame(data: memoryview) -> Any:
    demuxer = "jpeg_pipe" if bytes(data[:2]) == b"\xff\xd8" else None
    with av.open(io.BytesIO(data), "r", format=demuxer, container_options=_INSIDE) as container:
        if not container.streams.video:
            raise ValueError("no image stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": sys.argv[3]}  # MOST_PIXELS of serve.py
        failure = None
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        return frame
            except av.error.FFmpegError as error:  # the ffmpeg program goes on to the next packet
                failure = error
    raise ValueError(f"no frame could be decoded ({_reason(failure)})" if failure else "no frame could be decoded")


def _reason(error: Exception) -> str:
    """The error without FFmpeg's last log line, which some releases add and which may be about another image."""
    return str(error).partition("; last error log: ")[0]


def _reformat(frame: Any, name: str, filter: str = "BICUBIC", **options: Any) -> Any:
    return frame.reformat(format=name, interpolation=_FILTERS[filter], **options, **_ONE_THREAD)


def _read_as_709(frame: Any) -> Any:
    return _reformat(frame, "rgb24", **_FROM_709)


def _range(frame: Any) -> dict[str, int]:
    """The range of a frame's values, which releases before 17 forget if the format does not imply it (YCCK).

    Releases before 12.1 do not expose it, and take 12-bit and YCCK JPEGs for limited range.
    """
    known = hasattr(frame, "color_range") and frame.format.name.startswith("yuv")
    return {"src_color_range": frame.color_range} if known else {}


def _picture(image: Given) -> Any:
    """Pixels as a frame: PyAV's own or, before libswscale 9, from the decoder that the ffmpeg program uses for them.

    Before libswscale 9, the bytes after a row of odd width matter: there, the decoder has the next row and PyAV
    uninitialised memory.
    """
    height, width, pixels = image
    if av.library_versions["libswscale"][0] >= 9:
        return av.VideoFrame.from_ndarray(np.frombuffer(pixels, np.uint8).reshape(height, width, 3), format="rgb24")
    codec: Any = av.CodecContext.create("rawvideo", "r")
    codec.width, codec.height, codec.pix_fmt, codec.thread_count = width, height, "rgb24", 1
    (frame,) = codec.decode(av.Packet(cast(Any, pixels)))
    return frame


def _given(frame: Any) -> Made:
    (plane,) = frame.planes  # whose rows may be padded
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)[:, : frame.width * 3]
    return frame.height, frame.width, lambda place: np.copyto(np.frombuffer(place, np.uint8).reshape(rows.shape), rows)
