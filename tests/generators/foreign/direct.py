"""The pixels of a release called directly, following its documentation, by a script in its own environment.

There is a script for each library, in the API that all its releases have. It takes a job as JSON on standard input and
returns `[height, width, sha256 of the pixels]` for each token and picture. It shares nothing with the programs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from generators.pixels.foreign.environment import environment
from generators.registry import LIBRARIES, UnavailableError

Digests = dict[str, dict[str, list[Any]]]


@dataclass(frozen=True)
class Job:
    """Files to decode, pixels to use as they are (by key: a path, or height, width and path), and what to make of them.

    `resized` is a width and height, also of the corner that is colour-converted; with `crop`, only the middle of the
    resized image is digested. Decoded pixels are written to `keep`.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    pixels: Mapping[str, tuple[int, int, Path]] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    resized: tuple[int, int] = (256, 256)
    crop: int = 0
    keep: Path | None = None


def start(library: str, version: str, job: Job, script: str | None = None) -> subprocess.Popen[str]:
    """Start a script, by default the library's; `finish` waits for it.

    Skips the test if the release is not available.
    """
    python = release(library, version)
    process = subprocess.Popen(
        [str(python), "-W", "ignore", "-c", _BEFORE + (script or _SCRIPTS[library]) + _AFTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps(job.__dict__, default=_plain))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str]) -> Digests:
    """A script's digests, by token and key."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    found: Digests = json.loads(output.splitlines()[-1])
    return found


def release(library: str, version: str) -> Path:
    """The Python of a release's environment."""
    distribution = LIBRARIES[library].distribution
    try:
        return environment(distribution, version).python
    except UnavailableError as error:
        pytest.skip(f"{distribution} {version} cannot be had here: {error}")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


_BEFORE = """
import hashlib, json, os, sys

job = json.load(sys.stdin)
reported = {}
columns, rows = job["resized"]
top = int(round((rows - job["crop"]) / 2.0))
left = int(round((columns - job["crop"]) / 2.0))

def report(token, key, height, width, data):
    reported.setdefault(token, {})[key] = [height, width, hashlib.sha256(data).hexdigest()]

def keep(key, data):
    if job["keep"]:
        with open(os.path.join(job["keep"], key), "wb") as file:
            file.write(data)

def given(key):
    height, width, path = job["pixels"][key]
    with open(path, "rb") as file:
        return height, width, file.read()

def asked(methods):
    return [(token, methods[token]) for token in methods if not job["tokens"] or token in job["tokens"]]
"""

_AFTER = """
print(json.dumps(reported))
"""

_ARRAYS = """
import numpy as np

def show(token, key, image):
    report(token, key, image.shape[0], image.shape[1], image.tobytes())
"""

# PREFIX begins the tokens.
_PILLOW = """
from PIL import Image

NAMES = ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")
FILTERS = {"PREFIX_" + name.lower(): getattr(Image, name) for name in NAMES}

def show(token, key, picture):
    report(token, key, picture.size[1], picture.size[0], picture.tobytes())

def resizes(key, picture):
    for token, kind in asked(FILTERS):
        resized = picture.resize((columns, rows), kind)
        if job["crop"]:
            resized = resized.crop((left, top, left + job["crop"], top + job["crop"]))
        show(token, key, resized)

for key, path in job["files"].items():
    picture = Image.open(path).convert("RGB")
    show("PREFIX", key, picture)
    for token, size in asked({"PREFIX_draft": (columns, rows)}):
        small = Image.open(path)
        small.draft("RGB", size)
        show(token, key, small.convert("RGB"))
    keep(key, picture.tobytes())
    resizes(key, picture)
for key in job["pixels"]:
    height, width, data = given(key)
    resizes(key, Image.frombytes("RGB", (width, height), data))
"""

_SCRIPTS = {
    "Pillow": _PILLOW.replace("PREFIX", "pil"),
    "Pillow-SIMD": _PILLOW.replace("PREFIX", "simd"),
    "Pillow with LittleCMS": """
import io
from PIL import Image, ImageCms

for key, path in job["files"].items():
    picture = Image.open(path)
    profile = picture.info.get("icc_profile")
    picture = picture.convert("RGB")
    if profile:
        kinds = io.BytesIO(profile), ImageCms.createProfile("sRGB"), "RGB", "RGB"
        picture = ImageCms.applyTransform(picture, ImageCms.buildTransform(*kinds))
    report("pil_srgb", key, picture.size[1], picture.size[0], picture.tobytes())
""",
    "OpenCV": _ARRAYS
    + """
import cv2

FLAGS = {
    "opencv_nearest": cv2.INTER_NEAREST,
    "opencv_bilinear": cv2.INTER_LINEAR,
    "opencv_area": cv2.INTER_AREA,
    "opencv_bicubic": cv2.INTER_CUBIC,
    "opencv_lanczos": cv2.INTER_LANCZOS4,
    "opencv_linear_exact": cv2.INTER_LINEAR_EXACT,
}

def read(path, flags):
    return cv2.imread(path, flags)[:, :, ::-1].copy()

def resizes(key, image):
    for token, flag in asked(FLAGS):
        resized = cv2.resize(image, (columns, rows), interpolation=flag)
        if job["crop"]:
            resized = resized[top : top + job["crop"], left : left + job["crop"]]
        show(token, key, resized)

for key, path in job["files"].items():
    show("opencv", key, read(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION))
    image = read(path, cv2.IMREAD_COLOR)
    show("opencv_exif", key, image)
    shrunk = [cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2][min(image.shape[:2]) >= 2 * rows]
    small = cv2.imdecode(np.fromfile(path, np.uint8), shrunk | cv2.IMREAD_IGNORE_ORIENTATION)
    show("opencv_reduced", key, small[:, :, ::-1].copy())
    keep(key, image.tobytes())
    resizes(key, image)
    for token, code in asked({"nv12_opencv": cv2.COLOR_YUV2RGB_I420}):  # the samples of NV12 in another order
        yuv = cv2.cvtColor(image[:rows, :columns].copy(), cv2.COLOR_RGB2YUV_I420)
        show(token, key, cv2.cvtColor(yuv, code))
for key in job["pixels"]:
    height, width, data = given(key)
    resizes(key, np.frombuffer(data, np.uint8).reshape(height, width, 3))
""",
    "FFmpeg": _ARRAYS
    + """
import av

def frame(image):
    return av.VideoFrame.from_ndarray(image, format="rgb24")

for key, path in job["files"].items():
    decoded = next(av.open(path).decode(video=0))
    image = decoded.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
    show("ffmpeg", key, image)
    for name in ("BILINEAR", "BICUBIC", "LANCZOS", "AREA", "SPLINE"):
        resized = frame(image).reformat(columns, rows, "rgb24", interpolation=name).to_ndarray()
        show("ffmpeg_" + name.lower(), key, resized)
    nv12 = frame(image[:rows, :columns].copy()).reformat(format="nv12", interpolation="BICUBIC")
    show("nv12_ffmpeg", key, nv12.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray())
    to_709 = {"src_colorspace": "ITU601", "dst_colorspace": "ITU709", "interpolation": "BICUBIC"}
    from_709 = {"src_colorspace": "ITU709", "dst_colorspace": "ITU601", "interpolation": "BICUBIC"}
    nv12 = frame(image[:rows, :columns].copy()).reformat(format="nv12", **to_709)
    show("nv12_bt709", key, nv12.reformat(format="rgb24", **from_709).to_ndarray())
    made = frame(image[:rows, :columns].copy()).reformat(format="yuv444p", interpolation="BICUBIC")
    show("yuv_601_as_709", key, made.reformat(format="rgb24", **from_709).to_ndarray())
    as_full = made.reformat(format="rgb24", src_color_range="JPEG", dst_color_range="MPEG", interpolation="BICUBIC")
    show("yuv_limited_as_full", key, as_full.to_ndarray())
""",
    "DALI": _ARRAYS
    + """
from nvidia.dali import fn, pipeline_def, types

KINDS = {
    "dali_nearest": (types.INTERP_NN, False),
    "dali_linear": (types.INTERP_LINEAR, False),
    "dali_cubic": (types.INTERP_CUBIC, False),
    "dali_lanczos3": (types.INTERP_LANCZOS3, False),
    "dali_triangular": (types.INTERP_TRIANGULAR, True),
    "dali_linear_aa": (types.INTERP_LINEAR, True),
}

@pipeline_def(batch_size=1, num_threads=1, device_id=None)
def everything():
    data, _ = fn.readers.file(files=list(job["files"].values()))
    image = fn.decoders.image(data, device="cpu", output_type=types.RGB)
    fast = fn.decoders.image(data, device="cpu", output_type=types.RGB, use_fast_idct=True)
    sizes = {"resize_x": float(columns), "resize_y": float(rows), "subpixel_scale": False}
    resized = [fn.resize(image, interp_type=kind, antialias=smooth, **sizes) for kind, smooth in KINDS.values()]
    return tuple([image, fast] + resized)

pipeline = everything()
pipeline.build()
for key in job["files"]:
    for token, images in zip(["dali", "dali_fast"] + list(KINDS), pipeline.run()):
        show(token, key, np.array(images.at(0)))
""",
}
