"""What calling libraries in their own environments costs, compared with the libraries' own time; and their start.

    python -m benchmarks.libraries [--source TREE] [--images N]

One method of each kind is called on N images (default: 60) of 500×375, as a run calls it, and directly by a script in
the library's own environment (for Chromium, by a page). Prints the medians over images of the fastest of five calls of
both, in milliseconds. The libraries are installed first.
"""

from __future__ import annotations

import base64
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import running
from benchmarks.foreign import ROUNDS, SIZE, TO, call, resized
from benchmarks.running import Figure
from generators.pixels.foreign import machine, npm
from generators.pixels.foreign.environment import environment
from generators.registry import METHODS, Method, Release
from pipelines.generate.releases import prepare
from pipelines.text import table

AIM = 1.5
# A call of each method as its library's documentation shows it: of `data`, an encoded image, or of `pixels`.
_PYTHON = {
    "tf": "tf.io.decode_jpeg(data, channels=3).numpy()",
    "tf_bilinear": "tf.image.resize(pixels, (HEIGHT, WIDTH)).numpy()",
    "torchvision": "torchvision.io.decode_jpeg(encoded, mode=torchvision.io.ImageReadMode.RGB)",
    "torchvision_bilinear": "torchvision.transforms.v2.functional.resize(tensor, [HEIGHT, WIDTH], antialias=True)",
    "vips": "pyvips.Image.new_from_buffer(data, '').write_to_memory()",
    "vips_linear": "image.resize(WIDTH / image.width, vscale=HEIGHT / image.height, kernel='linear').write_to_memory()",
    "skimage_bilinear": "skimage.transform.resize(pixels, (HEIGHT, WIDTH), order=1, anti_aliasing=False)",
}
_BEFORE = {
    "TensorFlow": """
import os
import numpy as np
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
""",
    "torchvision": """
import torch, torchvision.io, torchvision.transforms.v2.functional
torch.set_num_threads(1)
""",
    "libvips": """
import os
os.environ["VIPS_CONCURRENCY"] = "1"
import pyvips
pyvips.cache_set_max(0)
""",
    "scikit-image": "import numpy as np\nimport skimage.transform\n",
}
# What is prepared for each image before timing.
_GIVEN = {
    "TensorFlow": "pixels = np.frombuffer(raw, np.uint8).reshape(SHAPE)",
    "torchvision": (
        "encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8); "
        "tensor = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(SHAPE).permute(2, 0, 1).contiguous()"
    ),
    "libvips": "image = pyvips.Image.new_from_memory(raw, SHAPE[1], SHAPE[0], 3, 'uchar')",
    "scikit-image": "pixels = np.frombuffer(raw, np.uint8).reshape(SHAPE)",
}
_TIMED = """
import json, sys, time
job = json.load(sys.stdin)
WIDTH, HEIGHT = job["to"]
SHAPE = (job["size"][1], job["size"][0], 3)
times = []
for path in job["images"]:
    data, raw = open(path, "rb").read(), open(path + ".raw", "rb").read()
    GIVEN
    each = []
    for _ in range(job["rounds"]):
        began = time.perf_counter()
        CALL
        each.append(time.perf_counter() - began)
    times.append(min(each))
print(json.dumps(times))
"""
_NODE = """
const fs = require("node:fs");
const job = JSON.parse(fs.readFileSync(0));
const sharp = require(process.argv[1] + "/sharp");
sharp.concurrency(1);
sharp.cache(false);
(async () => {
  const times = [];
  for (const path of job.images) {
    const data = fs.readFileSync(path);
    const each = [];
    for (let round = 0; round < job.rounds; round++) {
      const began = performance.now();
      await sharp(data).resize(job.to[0], job.to[1], { fit: "fill", kernel: "lanczos3" }).raw().toBuffer();
      each.push((performance.now() - began) / 1000);
    }
    times.push(Math.min(...each));
  }
  console.log(JSON.stringify(times));
})();
"""
_PAGE = """
const [text, size, to, rounds, whole, done] = arguments;
(async () => {
  const data = await (await fetch("data:image/jpeg;base64," + text)).blob();
  const canvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });
  const source = canvas(...size);
  const pixels = source.getContext("2d", { willReadFrequently: true });
  pixels.drawImage(await createImageBitmap(data), 0, 0);
  const image = pixels.getImageData(0, 0, ...size);
  const each = [];
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const target = canvas(...(whole ? size : to)).getContext("2d", { willReadFrequently: true });
    if (whole) target.drawImage(await createImageBitmap(data), 0, 0);
    else {
      pixels.putImageData(image, 0, 0);
      target.drawImage(source, 0, 0, ...to);
    }
    target.getImageData(0, 0, ...(whole ? size : to));
    each.push((performance.now() - began) / 1000);
  }
  done(Math.min(...each));
})();
"""


def measure(images: Sequence[bytes], most: int = 60) -> list[Figure]:
    """Print a table; returns the largest ratio of medians, with its aim."""
    files = [resized(data) for data in images[:most]]
    rows: list[Sequence[str]] = [("method", "directly", "in a run", "ratio", "start, s")]
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        job = _job(files, Path(folder))
        for token in (*_PYTHON, "sharp_lanczos3", "chromium", "chromium_canvas"):
            method = METHODS[token]
            if problem := method.problem():
                print(f"{token}: {problem}")
                continue
            prepare([method])
            direct, called = _direct(method, job, files), [_called(method, data) for data in files]
            ours, own = statistics.median(called), statistics.median(direct)
            worst = max(worst, ours / own)
            starts = _start(method)
            rows.append((token, f"{own * 1000:.2f}", f"{ours * 1000:.2f}", f"{ours / own:.2f}", f"{starts:.1f}"))
    print(table(rows, frozenset({1, 2, 3, 4})))
    return [Figure("a library in its own environment: time / its own time", worst, AIM, at_most=True)]


def _job(files: Sequence[bytes], folder: Path) -> dict[str, Any]:
    """The job for the scripts: the images as files, encoded and raw, and what to make of them."""
    paths = []
    for number, data in enumerate(files):
        path = folder / str(number)
        path.write_bytes(data)
        path.with_name(f"{path.name}.raw").write_bytes(METHODS["pil"].load()(data).tobytes())
        paths.append(str(path))
    return {"images": paths, "size": SIZE, "to": TO, "rounds": ROUNDS}


def _direct(method: Method, job: Mapping[str, Any], files: Sequence[bytes]) -> list[float]:
    """Seconds of the fastest direct call on each image."""
    library = method.library
    if not isinstance(library, Release) or not library.version:
        return _in_a_page(method, files)
    made = environment(library.distribution, library.version)
    if library.distribution in npm.PACKAGES:
        words = [str(npm.node(made.folder)), "-e", _NODE, str(made.packages)]
    else:
        timed = _TIMED.replace("CALL", _PYTHON[method.token]).replace("GIVEN", _GIVEN[library.name])
        words = [str(made.python), "-c", _BEFORE[library.name] + timed]
    done = subprocess.run(words, input=json.dumps(job), capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def _in_a_page(method: Method, files: Sequence[bytes]) -> list[float]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = machine.find("chromium") or ""
    for word in ("--headless", "--no-sandbox", "--disable-gpu"):
        options.add_argument(word)
    service = webdriver.ChromeService(shutil.which("chromedriver"))  # otherwise selenium would try to download one
    with webdriver.Chrome(options, service) as driver:
        whole = method.stage == "decode"
        texts = [base64.b64encode(data).decode() for data in files]
        return [driver.execute_async_script(_PAGE, text, SIZE, TO, ROUNDS, whole) for text in texts]


def _called(method: Method, data: bytes) -> float:
    """Seconds of the fastest call on an image, as a run makes it."""
    function = call(method, data, METHODS["pil"].load()(data).copy())
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def _start(method: Method) -> float:
    """Seconds for which a new process waits until the library's process is ready."""
    code = (
        "import sys, time; from generators.registry import METHODS\n"
        "release = METHODS[sys.argv[1]].library\n"
        "began = time.perf_counter(); release.versions(); print(time.perf_counter() - began)"
    )
    done = subprocess.run([sys.executable, "-c", code, method.token], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure, and print a table."""
    given = running.parser_of_images(__doc__.splitlines()[0]).parse_args()
    measure(running.photographs(given.source), given.images)


if __name__ == "__main__":
    main()
