"""External programs as methods: whatever one outputs or does, at most its image fails, and nothing is left behind.

The programs are shell scripts, so that hundreds of them take only a second.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from generators.own import own_methods
from generators.pixels import program
from generators.registry import METHODS
from tests import ROOT
from tests.ray_cluster import wait_for

Pixels = NDArray[np.uint8]
PICTURE: Pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
PPM = b"P6\n7 5\n255\n" + PICTURE.tobytes()


def method(stage: str, command: str) -> Callable[..., Pixels]:
    (found,) = own_methods([f"mine={stage}:{command}"])
    assert found.problem() is None
    return found.load()


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Callable[..., Pixels]]:
    """A method of a stage made of these lines of sh, run in `tmp_path`."""

    def make(text: str, stage: str = "color", arguments: str = "") -> Callable[..., Pixels]:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        path.chmod(0o755)
        return method(stage, f"{path} {arguments}")

    return make


def refusal(call: Callable[[], Pixels]) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        call()
    (line,) = str(caught.value).splitlines()
    return line


def test_images_pass_unchanged() -> None:
    random = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)
    made = method("color", "cat")(random[::-1, ::2])
    assert np.array_equal(made, random[::-1, ::2])
    made[0] = 0  # results are writable


def test_a_resize_is_given_the_size(script: Callable[..., Callable[..., Pixels]]) -> None:
    resize = script(
        'printf "P6 %s %s 255\\n" "$2" "${3#h=}"; head -c $(($2 * 3 * ${3#h=})) /dev/zero',
        "resize",
        "-w {width} h={height}",
    )
    assert resize(PICTURE, 3, 11).shape == (11, 3, 3)


def test_the_ffmpeg_program_equals_the_method(ffmpeg: str, photographs: dict[str, bytes]) -> None:
    words = "-v error -noautorotate -i pipe:0 -frames:v 1 -f image2pipe -pix_fmt rgb24 -c:v ppm pipe:1"
    decode = method("decode", f"{ffmpeg} {words}")
    for key in ("camera", "chelsea"):
        assert np.array_equal(decode(photographs[key]), METHODS["ffmpeg"].load()(photographs[key])), key
    assert refusal(lambda: decode(photographs["chelsea"][:300])).startswith("exit status ")


# PPM: valid headers, and invalid images.


def netpbm(data: bytes) -> tuple[int, int, int]:
    """Width, height and maxval as libpbm reads them (lib/fileio.c, pm_getc and pm_getuint)."""
    stream = io.BytesIO(data[2:])

    def get() -> bytes:
        if (sign := stream.read(1)) == b"#":
            while sign not in (b"", b"\n", b"\r"):
                sign = stream.read(1)
        return sign

    def number() -> int:
        while (sign := get()) in (b" ", b"\t", b"\n", b"\r"):
            pass
        digits = b""
        while sign.isdigit():
            digits, sign = digits + sign, get()
        return int(digits)

    return number(), number(), number()


WHITE = st.sampled_from([b" ", b"\t", b"\r", b"\n"])
COMMENT = st.binary(max_size=5).map(lambda said: b"#" + re.sub(rb"[\r\n]", b"", said) + b"\n")
GAP = st.lists(WHITE | COMMENT, min_size=1, max_size=4).map(b"".join)


@hypothesis_settings(max_examples=50)
@given(GAP, GAP, GAP, WHITE | COMMENT, st.integers(0, 3))
def test_any_header_that_netpbm_allows_is_read(
    first: bytes, second: bytes, third: bytes, last: bytes, zeros: int
) -> None:
    header = b"P6" + first + b"0" * zeros + b"7" + second + b"5" + third + b"255" + last
    assert netpbm(header) == (7, 5, 255)
    assert np.array_equal(method("decode", "cat")(header + PICTURE.tobytes()), PICTURE)


@hypothesis_settings(max_examples=100)
@given(st.integers(0, 14), st.integers(0, 3), st.binary(max_size=3) | st.sampled_from([b"\n", b"0", b"#", b"1", b" "]))
@example(10, 1, b"#c\n\n")  # pbm(5) allows reading the end of a comment's line as not being the white space
def test_any_other_header_is_refused(place: int, removed: int, added: bytes) -> None:
    data = PPM[:place] + added + PPM[place + removed :]
    made, why = None, ""
    try:
        made = method("decode", "cat")(data)
    except ValueError as error:
        why = str(error)
    if made is None:
        assert why.startswith("put out ")
    else:
        height, width = made.shape[:2]
        assert (width, height, 255) == netpbm(data)
        assert data.endswith(made.tobytes())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "put out nothing"),
        (b"P3 1 1 255 0 0 0\n", "put out no binary PPM of 8 bits .P6.: it begins with b'P3 1 1 2'"),
        (b"P6 1 1 65535\n" + bytes(6), "a maxval of 65535"),
        (b"P6 1 1 15\n" + bytes(3), "a maxval of 15"),
        (b"P6 0 1 255\n", "no binary PPM"),
        (PPM[:-1], "7x5 with 1 bytes too few"),
        (b"P6 7 5 255\n", "7x5 with 105 bytes too few"),
        (PPM * 2, "7x5 with 116 bytes after the pixels"),
        (b"P6 100000 100000 255\n", "more than 178,956,970 pixels"),
        (b"P6" + b" " * 70_000 + b"7 5 255\n" + PICTURE.tobytes(), "no binary PPM"),
    ],
)
def test_the_output_must_be_one_image(data: bytes, why: str) -> None:
    assert re.search(why, refusal(lambda: method("decode", "cat")(data)))


def test_the_size_must_be_the_requested_one() -> None:
    resize = method("resize", "sh -c cat {width} {height}")
    assert np.array_equal(resize(PICTURE, 7, 5), PICTURE)
    assert refusal(lambda: resize(PICTURE, 5, 7)) == "put out 7x5 where 5x7 was to be made"


def test_a_color_must_keep_the_size(script: Callable[..., Callable[..., Pixels]]) -> None:
    color = script('printf "P6 1 1 255\\n..."')
    assert refusal(lambda: color(PICTURE)) == "put out 1x1 where 7x5 was to be made"


def test_the_output_is_limited(script: Callable[..., Callable[..., Pixels]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_MOST_BYTES", 2**20)
    endless = script("echo P6; exec cat /dev/zero")
    assert refusal(lambda: endless(PICTURE)) == "put out more than an image of 178,956,970 pixels has"


# A program's messages and exit statuses.


def test_its_messages_matter_only_if_it_fails(script: Callable[..., Callable[..., Pixels]]) -> None:
    chatty = script("yes warning | head -c 3000000 >&2; cat")
    assert np.array_equal(chatty(PICTURE), PICTURE)
    failing = script('echo first >&2; echo "$0: bad marker at 0x7f3a" >&2; echo >&2; exit 3')
    assert refusal(lambda: failing(PICTURE)) == "exit status 3: program: bad marker at 0x…"
    assert refusal(lambda: script("exit 1")(PICTURE)) == "exit status 1"


def test_the_input_need_not_be_read(script: Callable[..., Callable[..., Pixels]], tmp_path: Path) -> None:
    (tmp_path / "made.ppm").write_bytes(PPM)
    large = np.zeros((1000, 1000, 3), np.uint8)
    assert refusal(lambda: script("exec cat made.ppm")(large)) == "put out 7x5 where 1000x1000 was to be made"


def runs(tmp_path: Path) -> int:
    return len((tmp_path / "runs").read_text().splitlines())


def test_a_program_that_crashes_twice_is_blamed(script: Callable[..., Callable[..., Pixels]], tmp_path: Path) -> None:
    dying = script("echo >> runs; echo oops >&2; kill -SEGV $$")
    assert refusal(lambda: dying(PICTURE)) == "was ended by SIGSEGV: oops"
    assert runs(tmp_path) == 2
    once = script("mkdir died 2> /dev/null && kill -ABRT $$; cat")
    assert np.array_equal(once(PICTURE), PICTURE)


@pytest.mark.parametrize("kill", ["kill -KILL $$", "sh -c 'kill -KILL $$'; exit $?"])
def test_a_program_that_is_killed_is_not_blamed(
    script: Callable[..., Callable[..., Pixels]], tmp_path: Path, kill: str
) -> None:
    twice = script(f"echo >> runs; [ $(wc -l < runs) -gt 2 ] || {{ {kill}; }}; cat")
    assert np.array_equal(twice(PICTURE), PICTURE)
    (tmp_path / "runs").unlink()
    always = script(f"echo >> runs; {kill}")
    with pytest.raises(MemoryError, match="is memory short"):
        always(PICTURE)
    assert runs(tmp_path) == 3


def open_files() -> set[tuple[str, str]]:
    """This process's open files by number, with their targets; some that were open before may be closed."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids(path: Path) -> Sequence[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_a_hung_program_is_killed_with_its_children(
    script: Callable[..., Callable[..., Pixels]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "TIMEOUT", 0.5)
    hung = script("sleep 1000 & echo $! >> sleepers; wait")
    assert refusal(lambda: hung(PICTURE)).startswith("gave no answer within ")
    assert pids(tmp_path / "sleepers")
    wait_for(lambda: all(map(gone, pids(tmp_path / "sleepers"))))


def test_nothing_survives_a_program(script: Callable[..., Callable[..., Pixels]], tmp_path: Path) -> None:
    open_before = open_files()
    leaving = script("sleep 1000 & echo $! >> sleepers; cat")
    assert np.array_equal(leaving(PICTURE), PICTURE)
    refusal(lambda: script("exit 1")(PICTURE))
    wait_for(lambda: all(map(gone, pids(tmp_path / "sleepers"))))
    assert not open_files() - open_before


def test_a_program_dies_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/started\nexec sleep 1000\n")
    path.chmod(0o755)
    code = f"from generators.pixels.program import decode; decode(['{path}'], '/', b'')"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as parent:
        wait_for(lambda: pids(tmp_path / "started"), parent)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_for(lambda: gone(pids(tmp_path / "started")[0]))


def test_a_program_that_cannot_start_is_reported(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert refusal(lambda: program.color(["cat"], nowhere, PICTURE)) == "cannot be started (No such file or directory)"
    gone_since = tmp_path / "program"
    shutil.copy("/bin/cat", gone_since)
    color = method("color", str(gone_since))
    gone_since.unlink()
    assert "No such file" in refusal(lambda: color(PICTURE))


def test_an_independent_decoder_reads_the_same(photographs: dict[str, bytes], tmp_path: Path) -> None:
    picture = Image.open(io.BytesIO(photographs["chelsea"]))
    picture.save(tmp_path / "made.ppm")
    made = method("decode", f"cat {tmp_path}/made.ppm")(b"anything")
    assert np.array_equal(made, np.asarray(picture))
