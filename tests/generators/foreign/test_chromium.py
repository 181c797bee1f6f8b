"""Chromium: its pixels are those of a page that draws `<img>` on a canvas, whatever ends it or is asked of it."""

from __future__ import annotations

import contextlib
import http.server
import io
import runpy
import shutil
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image, ImageCms, ImageOps
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from generators.pixels import foreign
from generators.registry import LIBRARIES
from tests.generators.foreign.test_programs import Pixels, awkward, call, digest, encoded, outcome
from tests.real import photographs_of

PROGRAMS = Path(foreign.__file__).with_name("programs")
SERVE = [str(PROGRAMS / "serve.py"), "chromium"]

# Draws an image on a canvas and the canvas on another one, and returns the size and sha256 of both.
DIRECT = """
const [paths, width, height, done] = arguments;

async function tell(context) {
  const { data, width, height } = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  const pixels = new Uint8Array(width * height * 3);
  for (let place = 0; place < pixels.length; place++) pixels[place] = data[Math.floor(place / 3) * 4 + (place % 3)];
  const digest = await crypto.subtle.digest("SHA-256", pixels);
  const hexadecimal = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0"));
  return [height, width, hexadecimal.join("")];
}

async function drawn(path) {
  const image = new Image();
  image.src = path;
  await image.decode();
  const own = document.createElement("canvas").getContext("2d");
  own.canvas.width = image.naturalWidth;
  own.canvas.height = image.naturalHeight;
  own.drawImage(image, 0, 0);
  const resized = document.createElement("canvas").getContext("2d");
  resized.canvas.width = width;
  resized.canvas.height = height;
  resized.drawImage(own.canvas, 0, 0, width, height);
  return [await tell(own), await tell(resized)];
}

(async () => {
  const found = [];
  for (const path of paths) found.push(await drawn(path));
  return found;
})().then(done, (error) => done(String(error)));
"""


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    problem = LIBRARIES["Chromium"].problem()
    if problem:
        pytest.skip(problem)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """A browser with another display: small, and with twice the resolution."""
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("chromedriver is not installed: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    flags = ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run")
    for flag in (*flags, "force-device-scale-factor=2", "window-size=300,200"):
        options.add_argument(f"--{flag}")
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code: object = "", size: object = "") -> None:
        """Say nothing."""


def direct(browser: webdriver.Chrome, folder: Path, names: Iterable[str], width: int, height: int) -> list[Any]:
    """A page's pixels: for each file of a folder, digests at its own size and resized."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            browser.set_script_timeout(120)
            browser.get(f"http://127.0.0.1:{server.server_port}/")
            found = browser.execute_async_script(DIRECT, list(names), width, height)
        finally:
            server.shutdown()
    assert isinstance(found, list), found
    return found


def ours(data: bytes, width: int, height: int) -> list[Any]:
    """Our methods' pixels in the same form, rotated by the file's EXIF as a canvas does."""
    image = turned(call("chromium", data), Image.open(io.BytesIO(data)).getexif().get(0x0112, 1))
    return [digest(image), digest(call("chromium_canvas", image, width, height))]


def turned(image: Pixels, orientation: int) -> Pixels:
    picture = Image.fromarray(image)
    picture.getexif()[0x0112] = orientation
    return np.ascontiguousarray(ImageOps.exif_transpose(picture))


def test_both_methods_equal_a_page_s_drawing(
    browser: webdriver.Chrome, photographs: Mapping[str, bytes], tmp_path: Path
) -> None:
    files = {**photographs, **awkward(photographs["chelsea"])}
    files = {f"{key}.jpg": data for key, data in files.items() if not isinstance(outcome("chromium", data), str)}
    assert "16 bits.jpg" in files
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for names, width, height in ((list(files), 256, 256), (["one pixel.jpg", "wide.jpg", "a palette.jpg"], 1001, 77)):
        found = [ours(files[name], width, height) for name in names]
        assert found == direct(browser, tmp_path, names, width, height)


def test_both_methods_equal_a_page_s_drawing_of_real_images(browser: webdriver.Chrome, data: Path) -> None:
    folder = data / "imagenet"
    names = [str(path.relative_to(folder)) for path in photographs_of(data).values()]
    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(direct, browser, folder, names, 256, 256)
        found = [ours((folder / name).read_bytes(), 256, 256) for name in names]
    different = [name for name, mine, theirs in zip(names, found, drawn.result(), strict=True) if mine != theirs]
    assert not different


def test_pixels_are_as_stored_whatever_the_exif_says(photographs: Mapping[str, bytes]) -> None:
    picture = Image.open(io.BytesIO(photographs["chelsea"])).resize((45, 30))
    for kind in ("JPEG", "PNG", "WEBP"):
        plain = encoded(picture, kind, lossless=True)
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            assert np.array_equal(
                call("chromium", encoded(picture, kind, exif=exif, lossless=True)), call("chromium", plain)
            )


def test_a_profile_is_applied(photographs: Mapping[str, bytes]) -> None:
    picture = Image.open(io.BytesIO(photographs["coffee"]))
    profile = display_p3()
    converted = ImageCms.profileToProfile(picture, io.BytesIO(profile), ImageCms.createProfile("sRGB"))
    assert converted
    image = call("chromium", encoded(picture, "PNG", icc_profile=profile)).astype(int)
    assert np.abs(image - np.asarray(converted)).max() <= 2
    assert np.abs(image - np.asarray(picture)).mean() > 2


def display_p3() -> bytes:
    """Pillow's sRGB profile with the primaries of Display P3, adapted to D50."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for name, place, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * profile[131]]):
        if name in primaries:
            struct.pack_into(">3i", profile, place + 8, *(round(value * 65536) for value in primaries[name]))
    return bytes(profile)


def test_truncated_files_and_files_other_than_images_are_refused(photographs: Mapping[str, bytes]) -> None:
    whole = photographs["chelsea"]
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>'
    for data in (whole[: len(whole) // 2], whole[:200], svg, b'<?xml version="1.0"?>' + svg, b"text"):
        assert outcome("chromium", data) == "The source image could not be decoded."


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=20, lossless=True)
        assert (call("chromium", data) == (255, 0, 0)).all()


@pytest.mark.parametrize("size", [(65536, 1), (1, 65536)])
def test_sizes_beyond_a_canvas_are_refused(size: tuple[int, int]) -> None:
    width, height = size
    reason = f"a canvas cannot have {width}x{height} pixels"
    image = np.zeros((height, width, 3), np.uint8)
    assert outcome("chromium", encoded(Image.fromarray(image), "PNG")) == reason
    with pytest.raises(ValueError, match=reason):
        call("chromium_canvas", image, 5, 5)
    with pytest.raises(ValueError, match=reason):
        call("chromium_canvas", image[:1, :1], width, height)
    assert not call("chromium_canvas", image[:65535, :65535], 5, 5).any()


def test_every_odd_file_gives_pixels_or_a_reason(data: Path) -> None:
    files = [path.read_bytes() for path in sorted((data / "odd").iterdir()) if path.suffix != ".tsv"]
    files = [data for data in files if data]
    page = serving()
    forth = [outcome("chromium", data) for data in files]
    back = [outcome("chromium", data) for data in reversed(files)]
    assert all(map(np.array_equal, forth, reversed(back)))
    assert serving() == page


def serving() -> psutil.Process:
    """The process that drives this one's browser."""
    call("chromium_canvas", np.zeros((1, 1, 3), np.uint8), 1, 1)
    (found,) = (child for child in psutil.Process().children() if child.cmdline()[3:5] == SERVE)
    return found


@pytest.mark.parametrize("part", ["--type=renderer", "--utility-sub-type=network", "--type=gpu-process", "--headless"])
def test_a_browser_that_loses_a_part_is_restarted(part: str, photographs: Mapping[str, bytes]) -> None:
    image = call("chromium", photographs["chelsea"])
    lost = [process for process, own in running(serving()) if own[0] != "sh" and any(w.startswith(part) for w in own)]
    assert lost
    for process in lost:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended with one of the others
            process.kill()
    assert np.array_equal(call("chromium", photographs["chelsea"]), image)


def test_nothing_is_left_when_its_process_is_killed() -> None:
    process = serving()
    browser = dict(running(process))
    words = {word.partition("=")[2] for own in browser.values() for word in own if word.startswith("--user-data-dir=")}
    (folder,) = (Path(word).parent for word in words)
    assert folder.is_dir()
    process.kill()
    assert not psutil.wait_procs(browser, timeout=60)[1]
    assert not folder.exists()
    assert serving() != process


def running(process: psutil.Process) -> Iterator[tuple[psutil.Process, list[str]]]:
    """A process's descendants, with their command lines."""
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if words := child.cmdline():  # empty for a process that has ended
                yield child, words


def test_only_the_page_can_connect() -> None:
    assert [connection.status for connection in serving().net_connections("inet")] == [psutil.CONN_ESTABLISHED]
    key = runpy.run_path(str(PROGRAMS / "chromium.py"))["_key"]
    here, there = socket.socketpair()
    with here, there:
        for asked, answered in (("/secret", b"abc"), ("/", None), ("/secre", None), ("/secret2", None)):
            there.sendall(f"GET {asked} HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: abc\r\n\r\n".encode())
            assert key(here, "secret") == answered
        there.sendall(b"GET /sec")
        there.close()
        assert key(here, "secret") is None
