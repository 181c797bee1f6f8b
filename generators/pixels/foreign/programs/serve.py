"""Runs in a process of its own, in another environment: calls one library on behalf of its parent.

    python serve.py LIBRARY PARENT MOST_PIXELS

`LIBRARY` is a program next to this one. Its functions take and return images as `(height, width, buffer)`, 8-bit RGB,
or take samples as `(count, buffer)` and return results as `(*shape, buffer)`, 32-bit floats; instead of a buffer they
may return a function that fills a given one. Libraries that can refuse images of more than `MOST_PIXELS` read it from
the command line.
Requests are lines of JSON on standard input, answers on standard output. Images are passed in the parent's memory,
`/proc/PARENT/fd/N`: a request says where its argument is and where to put the result; the memory is enlarged if the
result does not fit. Only a call can fail: what a library raises is the answer.

Written for Python 3.7 and its standard library: it imports nothing of this project.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import json
import mmap
import operator
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Memory:
    """The parent's memory, by file descriptor."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._open: dict[int, tuple[int, mmap.mmap | None]] = {}

    def view(self, number: int, size: int) -> memoryview:
        """At least `size` bytes of a block of memory."""
        if number not in self._open:
            self._open[number] = os.open(f"/proc/{self._parent}/fd/{number}", os.O_RDWR), None
        file, found = self._open[number]
        if found is None or len(found) < size:
            if os.fstat(file).st_size < max(size, 1):  # an empty file cannot be mapped
                os.ftruncate(file, max(size, 1))
            found = mmap.mmap(file, os.fstat(file).st_size)
            self._open[number] = file, found
        return memoryview(found)

    def forget(self, number: int) -> None:
        """Close what the parent has closed."""
        if number in self._open:
            os.close(self._open.pop(number)[0])


def answer(library: Any, request: dict[str, Any], memory: Memory) -> dict[str, Any]:
    """Call the library as requested and put the result in its place; returns the answer."""
    for number in request["forget"]:
        memory.forget(number)
    number, size, shape = request["given"]
    given = memory.view(number, size)[:size]
    arguments = [given] if shape is None else [(*shape, given)]
    try:
        call = getattr(library, request["function"])
        *shape, made = call(*arguments, *request["arguments"], **request["options"])
    except MemoryError:
        return {"memory": True}
    except Exception as error:  # every library has exceptions of its own
        return {"error": str(error) or type(error).__name__}
    size = functools.reduce(operator.mul, shape, request["item"])
    place = memory.view(request["made"], size)[:size]
    if callable(made):
        made(place)
    else:
        place[:] = memoryview(made).cast("B")
    return {"shape": shape}


def load(name: str) -> Any:
    """A library's program, loaded by path because it may have the library's own name."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("sysnoise_" + name, path)
    assert spec
    assert spec.loader
    library: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    return library


def main() -> None:
    """Answer requests until there are no more."""
    name, parent = sys.argv[1], int(sys.argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a hung call must not outlive the parent
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    try:
        library = load(name)
        hello: dict[str, Any] = {"versions": library.versions()}
    except Exception as error:
        hello = {"error": f"{type(error).__name__}: {error}"}
    memory = Memory(parent)
    print(json.dumps(hello), file=answers, flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # no one reads them any more, and millions of images may cause a warning each
        os.dup2(nowhere, output)
    for line in sys.stdin:
        print(json.dumps(answer(library, json.loads(line), memory)), file=answers, flush=True)


if __name__ == "__main__":
    main()
