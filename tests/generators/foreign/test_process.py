"""A process that calls a library for this one: its answers, faults and death, and the memory between the two."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from generators.pixels.foreign import process as module
from generators.pixels.foreign.memory import PIXELS, Blocks
from generators.pixels.foreign.process import Process, StartError
from tests import ROOT

PROGRAMS = ROOT / "generators" / "pixels" / "foreign" / "programs"

# A library whose functions do what tests ask for.
LIBRARY = '''
import array, os, signal, sys, time

def invert(image, *sizes, **options):
    height, width, pixels = image
    return height, width, bytes(255 - value for value in pixels)

def noise(data, height, width, first):
    return height, width, bytes((first + index) % 256 for index in range(height * width * 3))

def echoes(samples, times, gain=1.0):
    count, data = samples
    made = array.array("f", [gain["by"] * value for value in array.array("f", bytes(data))] * times)
    return times, count, made

def chatty(data):
    print("a library that prints")
    os.write(1, b"and writes\\n")
    os.write(2, b"everywhere\\n" * 10000)
    return 1, 1, bytes(data[:3])

def refuses(data):
    raise OSError("broken data stream\\nwhen reading")

def hungry(data):
    raise MemoryError

def ends(data, how):
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)

def ends_once(data, how, mark):
    """Only where it has not done so before."""
    if os.path.exists(mark):
        return 1, 1, b"abc"
    open(mark, "w").close()
    ends(data, how)

def hangs(data):
    while True:
        time.sleep(1)

def versions():
    return {"Library": "1.0"}
'''


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Process]:
    """A process with a library that the test has written."""
    shutil.copy(PROGRAMS / "serve.py", tmp_path)

    def start(library: str = LIBRARY) -> Process:
        (tmp_path / "library.py").write_text(library)
        return Process([sys.executable, "-I", "-B", str(tmp_path / "serve.py"), "library", str(os.getpid()), "1000"])

    return start


@pytest.fixture
def process(program: Callable[[str], Process]) -> Iterator[Process]:
    made = program(LIBRARY)
    yield made
    made.close()


def children() -> list[psutil.Process]:
    """The processes of the tests' own libraries; other tests may have left theirs running."""
    return [one for one in psutil.Process().children() if " library " in " ".join(one.cmdline())]


def child() -> psutil.Process:
    """The running process."""
    (found,) = children()
    return found


def image(height: int, width: int, first: int) -> NDArray[np.uint8]:
    values = (first + np.arange(height * width * 3)) % 256
    return values.astype(np.uint8).reshape(height, width, 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255), st.booleans()), max_size=8))
def test_results_stay_valid_however_long_they_are_kept(
    process: Process, sizes: list[tuple[int, int, int, bool]]
) -> None:
    kept = []
    for height, width, first, keep in sizes:
        made = process.call("noise", b"data", height, width, first)
        again = process.call("invert", made)
        assert np.array_equal(again, 255 - image(height, width, first))
        kept += [(made, image(height, width, first))] if keep else []
    for made, expected in kept:
        assert np.array_equal(made, expected)


def test_views_and_slices_of_an_image_can_be_passed(process: Process) -> None:
    whole = image(20, 30, 5)
    for part in (whole[::2, ::-1], whole[3:9, 4:8], np.asfortranarray(whole)):
        assert np.array_equal(process.call("invert", part), 255 - part)


@dataclass(frozen=True)
class Gain:
    by: float


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(1, 3), st.booleans())
def test_samples_become_arrays_of_floats_among_images(process: Process, count: int, times: int, strided: bool) -> None:
    samples = np.linspace(-1, 1, 2 * count, dtype=np.float32)[::2] if strided else np.full(count, np.nan, np.float32)
    made = process.call("echoes", samples, times, gain=Gain(0.5))
    again = process.call("noise", b"", 2, 3, 7)
    assert np.array_equal(again, image(2, 3, 7))
    assert made.dtype == np.float32
    assert made.shape == (times, count)
    assert np.array_equal(made, np.tile(samples / 2, (times, 1)), equal_nan=True)


def test_an_image_outlives_its_process(process: Process) -> None:
    made = process.call("noise", b"data", 5, 7, 1)
    process.close()
    assert np.array_equal(made, image(5, 7, 1))
    assert np.array_equal(process.call("noise", b"data", 5, 7, 2), image(5, 7, 2))


def test_memory_is_reused_and_large_blocks_are_released(process: Process) -> None:
    def blocks() -> int:
        return sum("sysnoise" in os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())

    process.call("noise", b"data", 4, 4, 0)
    gc.collect()
    before = blocks()
    for first in range(50):
        process.call("noise", b"data", 4, 4, first)
    assert blocks() == before
    large = process.call("chatty", bytes(2**24 + 1))  # the argument's block is too large to keep
    del large
    process.call("noise", b"data", 1, 1, 0)
    gc.collect()
    assert blocks() <= before
    there = [os.readlink(path) for path in Path(f"/proc/{child().pid}/fd").iterdir()]
    assert sum("sysnoise" in path for path in there) <= before


def test_a_block_is_free_when_all_views_of_it_are_gone() -> None:
    blocks = Blocks()
    block = blocks.take()
    made = blocks.array(block, PIXELS, (4, 5))
    row = made[2, :, 1]
    del made
    other = blocks.take()
    assert other is not block
    del row
    gc.collect()
    assert blocks.take() is block


def test_a_library_s_errors_and_output(process: Process) -> None:
    assert process.versions() == {"Library": "1.0"}
    assert process.call("chatty", b"rgb").tolist() == [[[114, 103, 98]]]
    with pytest.raises(ValueError, match=r"^broken data stream"):
        process.call("refuses", b"data")
    with pytest.raises(MemoryError):
        process.call("hungry", b"data")
    assert process.call("chatty", b"rgb").shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("how", "said"),
    [("exit", r"exit status 7"), ("SIGSEGV", "SIGSEGV"), ("SIGABRT", "SIGABRT"), ("SIGTERM", "SIGTERM")],
)
def test_an_image_that_ends_the_process_is_blamed(process: Process, how: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^ended its process \({said}\)$"):
        process.call("ends", b"data", how)
    assert process.call("chatty", b"rgb").shape == (1, 1, 3)


@pytest.mark.parametrize("how", ["exit", "SIGSEGV", "SIGKILL"])
def test_a_single_crash_is_retried(process: Process, tmp_path: Path, how: str) -> None:
    assert process.call("ends_once", b"data", how, str(tmp_path / "mark")).tolist() == [[[97, 98, 99]]]


def test_repeated_kills_mean_too_little_memory(process: Process) -> None:
    with pytest.raises(MemoryError, match="is memory short"):
        process.call("ends", b"data", "SIGKILL")


def test_killed_between_two_calls(process: Process) -> None:
    kept = process.call("noise", b"data", 3, 3, 9)
    child().kill()
    assert np.array_equal(process.call("invert", kept), 255 - image(3, 3, 9))


def test_a_hung_process_is_killed(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    process.versions()
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with pytest.raises(ValueError, match=r"^gave no answer within 0 s$"):
        process.call("hangs", b"data")
    monkeypatch.undo()
    assert process.call("chatty", b"rgb").shape == (1, 1, 3)


def test_a_call_that_is_interrupted_leaves_no_answer_for_the_next(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.versions()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Running, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.call("noise", b"data", 1, 1, 7)
    monkeypatch.undo()
    assert process.call("noise", b"data", 1, 1, 0).tolist() == [[[0, 1, 2]]]


def test_calls_from_many_threads_are_made_one_at_a_time(process: Process) -> None:
    wrong: list[int] = []

    def work(first: int) -> None:
        for _ in range(20):
            if not np.array_equal(process.call("noise", b"data", 9, first + 1, first), image(9, first + 1, first)):
                wrong.append(first)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("library", "said"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("import os\nos._exit(3)", "exit status 3"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("def versions(): raise RuntimeError('no libjpeg')", "RuntimeError: no libjpeg"),
    ],
)
def test_a_library_that_cannot_be_imported(program: Callable[[str], Process], library: str, said: str) -> None:
    with pytest.raises(StartError, match=said):
        program(library).versions()
    assert not children()


def test_a_python_that_does_not_start(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho error while loading shared libraries: libpython.so >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(StartError, match="error while loading shared libraries"):
        Process([str(broken)]).versions()
    with pytest.raises(StartError, match="No such file"):
        Process([str(tmp_path / "none")]).versions()


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """Even during a call that never returns."""
    shutil.copy(PROGRAMS / "serve.py", tmp_path)
    (tmp_path / "library.py").write_text(LIBRARY)
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from generators.pixels.foreign.process import Process
made = Process([sys.executable, "-I", "-B", {str(tmp_path / "serve.py")!r}, "library", str(os.getpid()), "1"])
made.versions()
print("started", flush=True)
made.call("hangs", b"data")
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent:
        assert parent.stdout.readline() == "started\n"
        (started,) = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
    gone, _ = psutil.wait_procs([started], timeout=20)
    assert gone


def test_a_process_that_is_closed_has_ended(process: Process) -> None:
    process.versions()
    started = child()
    process.close()
    assert not started.is_running()
    process.close()
