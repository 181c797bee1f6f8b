"""What runs in a process of its own, in another environment: calls one library for whoever started it.

    python serve.py LIBRARY PARENT MOST_PIXELS

`LIBRARY` is a program beside this one: functions that take and give images as `(height, width, buffer)`, RGB, 8 bits,
or take samples as `(count, buffer)` and give what they make as `(*shape, buffer)`, 32-bit floats; in place of a buffer
to give, a function that fills the one that it is given. Those whose library can be told to refuse images of more than
`MOST_PIXELS` read it from the command line themselves.
Requests are lines of JSON on standard input, answers on standard output. Images travel in memory that the parent has
made, `/proc/PARENT/fd/N`: a request says where its argument lies and where the result belongs; where that does not fit,
it is made larger. Nothing but a call can go wrong here: what a library raises is the answer.

In the syntax of Python 3.7, and without a package that is not in Python: it imports nothing of this project's.
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
    """The parent's memory as it is seen here, by number."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._open: dict[int, tuple[int, mmap.mmap | None]] = {}

    def view(self, number: int, size: int) -> memoryview:
        """At least `size` bytes of a piece of memory."""
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
        """Let go of what the parent has closed."""
        if number in self._open:
            os.close(self._open.pop(number)[0])


def answer(library: Any, request: dict[str, Any], memory: Memory) -> dict[str, Any]:
    """Call the library as a request says, and leave what it makes where it belongs; the answer."""
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
    """The program of a library, by its path: its name may be that of the library itself."""
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
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        library = load(name)
        hello: dict[str, Any] = {"versions": library.versions()}
    except Exception as error:
        hello = {"error": f"{type(error).__name__}: {error}"}
    memory = Memory(parent)
    print(json.dumps(hello), file=answers, flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # nobody reads on: millions of images may have a warning each
        os.dup2(nowhere, output)
    for line in sys.stdin:
        print(json.dumps(answer(library, json.loads(line), memory)), file=answers, flush=True)


if __name__ == "__main__":
    main()
