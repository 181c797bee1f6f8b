"""FFmpeg, through PyAV: decoding, five of swscale's resize filters, and round trips through YUV, two of them misread.

The pixels are those of the `ffmpeg` program (`-noautorotate -f rawvideo -pix_fmt rgb24`, `-vf scale=W:H:flags=...`),
with which tests compare them. When shrinking RGB to half or less, swscale reads every second chroma value unless given
`full_chroma_inp`; since libswscale 9 (FFmpeg 8) it reads them all for sources of odd width.

YUV has a matrix, BT.601's or BT.709's (each in its Recommendation's section on the derivation of luminance and
colour-difference signals: Kr = 0.299, Kb = 0.114, and Kr = 0.2126, Kb = 0.0722), and a range: limited has black at
Y = 16, white at 235 and chroma within 112 of 128; full has 0, 255 and 127.5. A buffer does not record which of them it
was made with. Only matrix and range are mistaken here: swscale leaves primaries and transfer alone.

Uses one thread per process, like every library here.
"""

from __future__ import annotations

import io

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from generators.geometry import MAX_PIXELS

av.logging.set_level(None)

# The default of swscale, and so of the ffmpeg program, for conversions that name no filter (libswscale/options.c).
_DEFAULT = Interpolation.BICUBIC

# Playlists and session descriptions would make FFmpeg open the files and addresses in them.
_INSIDE = {"protocol_whitelist": "none"}


def _frame(data: bytes) -> av.VideoFrame:
    # A named demuxer saves JPEGs from being probed, which fails for some damaged files that the program can read.
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
            except av.FFmpegError as error:  # like the program, go on to the next packet
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


def nv12_bt709(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """rgb24 → nv12 → rgb24 by swscale, both ways with BT.709 in limited range: not a mistake, but not the default.

    Like `nv12`, loses two steps of white and of most grays in swscale's conversion back from 4:2:0.
    """
    return _read(_made(image, "nv12", Colorspace.ITU709), Colorspace.ITU709, ColorRange.MPEG)


def yuv_601_as_709(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """rgb24 → yuv444p made with BT.601 (BT.601-7, section 2.5) → rgb24 read with BT.709 (BT.709-6, section 3).

    Standard-definition video shown by a player that takes everything for HD. Black, white and gray have no chroma and
    change by at most one step. Colours change by up to 39 steps: full green, whose Y is 145, comes back as (0, 216, 0),
    full red as (255, 24, 0).
    """
    return _read(_made(image, "yuv444p", Colorspace.ITU601), Colorspace.ITU709, ColorRange.MPEG)


def yuv_limited_as_full(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """rgb24 → yuv444p made in limited range (BT.601-7, section 2.5.3) → rgb24 read as full range, both with BT.601.

    Video shown as if it were a JPEG. A gray g comes back as 16 + 219 g / 255: black 0 as 16, white 255 as 235, 128 as
    126. Contrast shrinks to 219 / 255, and chroma to 224 / 255.
    """
    return _read(_made(image, "yuv444p", Colorspace.ITU601), Colorspace.ITU601, ColorRange.JPEG)


def _made(image: NDArray[np.uint8], format: str, matrix: Colorspace) -> av.VideoFrame:
    """Pixels as limited-range YUV."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(
        format=format,
        interpolation=_DEFAULT,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=matrix,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )


def _read(frame: av.VideoFrame, matrix: Colorspace, color_range: ColorRange) -> NDArray[np.uint8]:
    """YUV as pixels, read with this matrix and range whatever it was made with."""
    rgb = frame.reformat(
        format="rgb24",
        interpolation=_DEFAULT,
        src_colorspace=matrix,
        src_color_range=color_range,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def versions() -> dict[str, str]:
    """PyAV and the FFmpeg libraries in it."""
    libraries = {
        f"FFmpeg/{name}": ".".join(map(str, av.library_versions[name]))
        for name in ("libavcodec", "libavformat", "libavutil", "libswscale")
    }
    return {"PyAV": av.__version__, **libraries}
