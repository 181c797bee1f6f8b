"""sharp: its pixels are those of a direct call by the test's own script, and no file ends or hangs its process."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from generators.geometry import MAX_PIXELS, frame
from generators.pixels.foreign.environment import Environment, environment
from generators.pixels.foreign.process import Process, StartError
from generators.registry import LIBRARIES, METHODS, Release, UnavailableError
from tests import ROOT
from tests.real import photographs_of

PROGRAM = ROOT / "generators" / "pixels" / "foreign" / "programs" / "sharp.cjs"
SHARP = LIBRARIES["sharp"]
assert isinstance(SHARP, Release)
VERSION = SHARP.version

# Reads a job, `[[path, width, height], ...]`, and returns the sha256 of each result.
_DIRECT = """
const { createHash } = require("crypto");
const sharp = require(process.argv[1] + "/sharp");
const job = JSON.parse(require("fs").readFileSync(0));
(async () => {
  const digests = [];
  for (const [file, width, height] of job) {
    const pixels = await sharp(file).resize({ width, height, fit: "fill", kernel: "lanczos3" }).raw().toBuffer();
    digests.push(createHash("sha256").update(pixels).digest("hex"));
  }
  console.log(JSON.stringify(digests));
})();
"""

# Replaces sharp: it does what the name of its kernel says. Its calls run in threads, as sharp's do.
_STUB = """
const fs = require("node:fs");
const does = {
  hangs: () => fs.promises.readFile(process.env.SYSNOISE_WAIT),
  chatty: async () => {
    fs.writeSync(1, "a library that prints\\n");
    fs.writeSync(2, "everywhere\\n".repeat(1000));
    return { data: Buffer.from("rgb"), info: { width: 1, height: 1, channels: 3 } };
  },
  hungry: () => Promise.reject(new Error("vips_tracked: out of memory --- size == 99MB")),
  refuses: () => Promise.reject(new Error("VipsJpeg: broken\\nVipsJpeg: broken")),
  ends: () => process.abort(),
};
module.exports = () => {
  const resize = (width, height, { kernel }) => ({ removeAlpha: () => ({ raw: () => ({ toBuffer: does[kernel] }) }) });
  return { resize };
};
module.exports.concurrency = module.exports.cache = module.exports.block = module.exports.unblock = () => {};
module.exports.versions = { sharp: "1.0", vips: "8.0" };
"""


@pytest.fixture(scope="module")
def made() -> Environment:
    """The release's environment."""
    try:
        return environment("sharp", VERSION)
    except UnavailableError as error:
        pytest.skip(f"sharp {VERSION} cannot be had here: {error}")


@pytest.fixture(scope="module")
def call(made: Environment) -> Callable[..., NDArray[np.uint8]]:
    """The method: `call(data, width, height)`."""
    return METHODS["sharp_lanczos3"].load()


def direct(made: Environment, job: list[tuple[Path, int, int]]) -> subprocess.Popen[str]:
    """A running script."""
    process = subprocess.Popen(
        [str(made.node), "-e", _DIRECT, str(made.packages)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    process.stdin.write(json.dumps([(str(path), width, height) for path, width, height in job]))
    process.stdin.close()
    process.stdin = None
    return process


def output(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate()
    assert process.returncode == 0
    found: list[str] = json.loads(out)
    return found


def sha256(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


SIZES = ((256, 256), (255, 170), (1, 1), (3000, 20), (41, 700), (1100, 1000))


def test_it_equals_a_direct_call(
    made: Environment, call: Any, photographs: Mapping[str, bytes], tmp_path: Path
) -> None:
    job = []
    for index, (key, data) in enumerate(photographs.items()):
        (tmp_path / key).write_bytes(data)
        job += [(tmp_path / key, *SIZES[0]), (tmp_path / key, *SIZES[index % len(SIZES)])]
    script = direct(made, job)
    found = [call(path.read_bytes(), width, height) for path, width, height in job]
    assert [image.shape for image in found] == [(height, width, 3) for _, width, height in job]
    assert [sha256(image) for image in found] == output(script)


def test_it_equals_a_direct_call_on_shared_images(made: Environment, call: Any, data: Path) -> None:
    job = []
    for path in photographs_of(data).values():
        with Image.open(path) as picture:
            size = frame("crop", *picture.size, (224,)).resize
        assert size
        job.append((path, *size))
    script = direct(made, job)
    found = [sha256(call(path.read_bytes(), *size)) for path, *size in job]
    assert found == output(script)


def test_a_jpeg_is_shrunk_while_it_is_decoded_and_a_png_is_not(call: Any, photographs: Mapping[str, bytes]) -> None:
    """For a PNG, it nearly equals Pillow's filter of the same name; for a JPEG, it is further off."""
    picture = opened(photographs["rocket"]).convert("RGB")
    picture.info.clear()  # its profile
    jpeg = encoded(picture, quality=95)
    pixels = opened(jpeg).convert("RGB")
    assert min(pixels.size) > 5 * 80
    expected = np.asarray(pixels.resize((120, 80), Image.Resampling.LANCZOS), np.int16)
    shrunk, plain = (np.abs(call(data, 120, 80) - expected).mean() for data in (jpeg, encoded(pixels, "PNG")))
    assert plain < 0.5 < 1 < shrunk < 4


def test_an_embedded_profile_is_applied(call: Any, photographs: Mapping[str, bytes]) -> None:
    """As LittleCMS does it for Pillow, up to rounding."""
    picture = opened(photographs["rocket"])
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"))
    assert converted is not None
    converted.info.clear()
    size = picture.size
    assert np.abs(call(encoded(picture, "PNG"), *size).astype(int) - np.asarray(converted)).mean() < 1
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(converted)).mean() > 4


def test_files_other_than_plain_photographs(call: Any, photographs: Mapping[str, bytes]) -> None:
    picture = opened(photographs["chelsea"]).convert("RGB")
    plain = call(encoded(picture), 100, 80)
    gray = call(encoded(picture.convert("L")), 100, 80)
    assert (gray == gray[..., :1]).all()
    assert call(encoded(picture.convert("CMYK")), 100, 80).shape == (80, 100, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(call(encoded(picture, exif=exif), 100, 80), plain)
    deep = call(encoded(Image.fromarray(np.full((50, 40), 0x8180, np.uint16)), "PNG"), 20, 20)
    assert (deep == 0x81).all()
    frames = [Image.new("RGB", (50, 40), color) for color in ((255, 0, 0), (0, 255, 0))]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (call(moving, 20, 20) == (255, 0, 0)).all()


def test_alpha_is_dropped_and_transparent_pixels_do_not_bleed(call: Any) -> None:
    picture = Image.new("RGBA", (40, 40), (10, 200, 30, 255))
    picture.paste((255, 0, 0, 0), (0, 0, 20, 40))
    half = Image.new("RGBA", (40, 40), (10, 200, 30, 128))
    assert np.abs(call(encoded(picture, "PNG"), 20, 20)[:, 10:].astype(int) - (10, 200, 30)).max() < 5
    assert np.abs(call(encoded(half, "PNG"), 20, 20).astype(int) - (10, 200, 30)).max() < 5  # and not blended
    assert (call(encoded(picture, "PNG"), 40, 40)[:, :20] == (255, 0, 0)).all()


_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/hostname"/></svg>'


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (_SVG, "Input buffer contains unsupported image format"),
        (b"%PDF-1.4\n%%EOF", "Input buffer contains unsupported image format"),
        (b"<html>not found</html>", "Input buffer contains unsupported image format"),
        (b"P6 1 1 255 abc", "Input buffer contains unsupported image format"),
    ],
)
def test_files_other_than_images_of_pixels_are_refused(file: bytes, said: str, call: Any) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        call(file, 9, 9)


def test_a_truncated_file_is_refused(call: Any, photographs: Mapping[str, bytes]) -> None:
    whole = photographs["rocket"]
    for data in (whole[: len(whole) // 2], whole[:-40]):
        with pytest.raises(ValueError, match=r"^VipsJpeg: premature end of JPEG image$"):
            call(data, 100, 100)


def test_an_image_of_too_many_pixels_is_refused(made: Environment) -> None:
    process = start(made.node, made.packages, 1000)
    try:
        assert process.call("resize", encoded(Image.new("RGB", (100, 10))), 5, 5, kernel="lanczos3").shape == (5, 5, 3)
        with pytest.raises(ValueError, match=r"^Input image exceeds pixel limit$"):
            process.call("resize", encoded(Image.new("RGB", (100, 11))), 5, 5, kernel="lanczos3")
    finally:
        process.close()


def outcome(call: Any, data: bytes) -> NDArray[np.uint8] | str:
    try:
        image: NDArray[np.uint8] = call(data, 64, 48)
    except ValueError as error:
        reason = str(error)
        assert reason.strip()
        assert "\n" not in reason
        assert "ended its process" not in reason
        return reason
    assert image.shape == (48, 64, 3)
    return image


def test_every_odd_file_gives_pixels_or_a_reason(call: Any, data: Path, photographs: Mapping[str, bytes]) -> None:
    good = call(photographs["chelsea"], 64, 48)
    before = pid()
    files = [path.read_bytes() for path in sorted((data / "odd").iterdir()) if path.suffix != ".tsv"]
    files = [file for file in files if file]
    forth = [outcome(call, file) for file in files]
    back = [outcome(call, file) for file in reversed(files)]
    for first, second in zip(forth, reversed(back), strict=True):
        assert np.array_equal(first, second)
    assert np.array_equal(call(photographs["chelsea"], 64, 48), good)
    assert pid() == before


def pid() -> int:
    """The id of the method's process."""
    return ours().pid


def ours() -> psutil.Process:
    modules = str(environment("sharp", VERSION).packages)
    words = [str(PROGRAM), str(os.getpid()), str(MAX_PIXELS), modules]
    (found,) = [one for one in psutil.Process().children() if _words(one) == words]
    return found


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()[1:]
    except psutil.ZombieProcess:  # another test's, which is waited for later
        return []


def test_a_kill_during_a_call_is_retried(call: Any, photographs: Mapping[str, bytes]) -> None:
    expected = call(photographs["chelsea"], 64, 48)
    ours().kill()
    assert np.array_equal(call(photographs["chelsea"], 64, 48), expected)


def test_too_little_memory_is_distinguished_from_a_bad_file(call: Any, photographs: Mapping[str, bytes]) -> None:
    expected = call(photographs["chelsea"], 64, 48)
    dot = encoded(Image.new("RGB", (1, 1)), "PNG")
    process = ours()
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + 2**26, -1))
    with pytest.raises(MemoryError):
        call(dot, 10000, 10000)
    process.rlimit(psutil.RLIMIT_AS, (-1, -1))
    assert np.array_equal(call(photographs["chelsea"], 64, 48), expected)


def start(node: Path, modules: Path, most: int = 1000) -> Process:
    return Process([str(node), str(PROGRAM), str(os.getpid()), str(most), str(modules)])


@pytest.fixture
def stub(made: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """A process with the replacement of sharp."""
    (tmp_path / "sharp").mkdir()
    (tmp_path / "sharp" / "index.js").write_text(_STUB)
    os.mkfifo(tmp_path / "wait")
    monkeypatch.setenv("SYSNOISE_WAIT", str(tmp_path / "wait"))
    process = start(made.node, tmp_path)
    yield process
    process.close()


def test_a_library_s_errors_and_output(stub: Process) -> None:
    assert stub.versions() == {"sharp": "1.0", "sharp/libvips": "8.0"}
    for _ in range(2):
        assert stub.call("resize", b"data", 1, 1, kernel="chatty").tolist() == [[[114, 103, 98]]]
    with pytest.raises(ValueError, match=r"^VipsJpeg: broken$"):
        stub.call("resize", b"data", 1, 1, kernel="refuses")
    with pytest.raises(MemoryError):
        stub.call("resize", b"data", 1, 1, kernel="hungry")
    with pytest.raises(ValueError, match=r"^ended its process \(SIGABRT\)$"):
        stub.call("resize", b"data", 1, 1, kernel="ends")
    assert stub.call("resize", b"data", 1, 1, kernel="chatty").shape == (1, 1, 3)


def test_a_package_that_does_not_load(made: Environment, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^Cannot find module '.*sharp'$"):
        start(made.node, tmp_path).versions()


@pytest.mark.parametrize("busy", [True, False])
def test_it_dies_with_its_parent(busy: bool, stub: Process, made: Environment, tmp_path: Path) -> None:
    """During a call that never returns, and if another process still has its standard input."""
    code = f"""
import os, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from generators.pixels.foreign.process import Process
made = Process([{str(made.node)!r}, {str(PROGRAM)!r}, str(os.getpid()), "1000", {str(tmp_path)!r}])
made.versions()
print(made._running._process.pid, flush=True)
if {busy}:
    made.call("resize", b"data", 1, 1, kernel="hangs")
elif os.fork():
    sys.stdin.read()
else:
    open({str(tmp_path / "wait")!r}).read()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    started = psutil.Process(int(parent.stdout.readline()))
    with (tmp_path / "wait").open("w"):  # opened while it is busy
        parent.send_signal(signal.SIGKILL)
        gone, _ = psutil.wait_procs([started], timeout=20)
        assert gone
    parent.communicate()
