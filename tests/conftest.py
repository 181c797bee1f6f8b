"""What tests share: the sample photographs, real data if there is any, the ffmpeg program, and the command line."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from generators.registry import METHODS
from pipelines.generate.sources import SampleSource
from tests import ROOT
from tests.forks import Forks
from tests.here import HERE
from tests.ray_cluster import cluster

# Machines differ in speed: a slow test has not failed.
settings.register_profile("sysnoise", deadline=None)
settings.load_profile("sysnoise")

# A run in a test starts its own Ray, even if the tests are started on a cluster.
for name in [name for name in os.environ if name.startswith("RAY_")]:
    del os.environ[name]


# Modules that tests import again and again are compiled once, even if Python was told to write no bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell's background job ignores Ctrl-C, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The slowest files come first, so that no worker is left alone with one at the end.
_LONGEST = (
    "pipelines/generate/test_generate.py",
    "pipelines/generate/test_faults.py",
    "pipelines/evaluate/test_score_model.py",
    "pipelines/generate/test_jobs.py",
    "pipelines/generate/test_cluster.py",
    "pipelines/evaluate/test_score.py",
    "pipelines/hub/test_push.py",
    "pipelines/hub/test_pull.py",
    "pipelines/generate/test_bad_input.py",
    "pipelines/generate/test_object_store.py",
    "pipelines/evaluate/model/test_named.py",
    "manifests/test_verify.py",
)


# `make check` leaves out tests that use one of these fixtures, which start processes or read many files, and test files
# that import large libraries, start processes themselves, or take more than a few seconds.
STARTING = frozenset({"browser", "data", "faulty", "ffmpeg", "forks", "hub", "joined"})
SLOW = (
    "generators/audio/test_*.py",
    "generators/foreign/test_*.py",
    "generators/models/test_*.py",
    "generators/test_mix.py",
    "manifests/test_fuzz_records.py",
    "pipelines/evaluate/detection/test_annotations.py",
    "pipelines/evaluate/model/heads/test_map.py",
    "pipelines/evaluate/model/readers/test_upsampling.py",
    "pipelines/evaluate/model/test_named.py",
    "pipelines/evaluate/model/test_real_models.py",
    "pipelines/evaluate/model/test_weights.py",
    "pipelines/evaluate/speech/test_*.py",
    "pipelines/evaluate/test_advice.py",
    "pipelines/shards/test_fuzz_shards.py",
    "pipelines/evaluate/test_score_model.py",
    "pipelines/evaluate/test_statistics.py",
    "pipelines/evaluate/test_tent_example.py",
    "pipelines/evaluate/text/test_exported.py",
    "pipelines/generate/test_bad_input.py",
    "pipelines/generate/test_cluster.py",
    "pipelines/generate/test_faults.py",
    "pipelines/generate/test_fuzz_sources.py",
    "pipelines/generate/test_generate.py",
    "pipelines/generate/test_jobs.py",
    "pipelines/generate/test_object_store.py",
    "pipelines/generate/test_remote_sources.py",
    "pipelines/generate/test_train_split.py",
    "pipelines/hub/test_*.py",
    "pipelines/test_shards_in_a_store.py",
    "pipelines/test_store.py",
    "pipelines/work/test_*.py",
    "test_codec_example.py",
    "test_hub_server.py",
    "test_image.py",
    "test_libraries_doc.py",
    "test_mix_examples.py",
    "test_readme.py",
    "test_timm.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="run only fast tests")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the import of files that are left out; None leaves the others to pytest."""
    left_out = config.getoption("--fast") and any(collection_path.match(f"tests/{pattern}") for pattern in SLOW)
    return left_out or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        starting = {item for item in items if STARTING.intersection(getattr(item, "fixturenames", ()))}
        config.hook.pytest_deselected(items=list(starting))
        items[:] = [item for item in items if item not in starting]
    places = {ROOT / "tests" / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length: some formats contain the time, and all processes must agree on a test's name."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


def pytest_collection() -> None:
    """Collect no garbage while modules are imported."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt everything that was imported from later garbage collections, some of which libraries request."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu` before any set-up if there is no GPU."""
    if item.get_closest_marker("gpu") and (problem := METHODS["dali_gpu"].problem()):
        pytest.skip(f"dali_gpu {problem}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI only tests that need a GPU, a kind of CPU, or missing real images may be skipped."""
    report = yield
    allowed = any(map(item.get_closest_marker, ("gpu", "cpu"))) or (
        "SYSNOISE_DATA" not in os.environ and "data" in getattr(item, "fixturenames", ())
    )
    if os.environ.get("CI") and report.skipped and not allowed:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder of this name, made by `make(folder)` once for all test processes. Tests must not change it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                unfinished = shared / f"{name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that failed
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def photographs() -> dict[str, bytes]:
    """The built-in sample set as JPEG bytes by key."""
    source = SampleSource()
    samples = list(source.listing().samples)
    found = zip(samples, source.read(samples), strict=True)
    return {sample.key: data for sample, data in found if isinstance(data, bytes)}


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real images that `SYSNOISE_DATA` names."""
    if "SYSNOISE_DATA" not in os.environ:
        pytest.skip("SYSNOISE_DATA is not set: no real images to try")
    return Path(os.environ["SYSNOISE_DATA"])


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """The ffmpeg program."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("the ffmpeg program is not installed: apt-get install ffmpeg")
    return program


# The variants of recordings that tests share.
SPOKEN = ("numpy_htk", "numpy_stft")
Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]


@pytest.fixture(scope="module")
def joined(request: pytest.FixtureRequest, forks: Forks) -> Iterator[dict[str, str]]:
    """An environment in which generate.py joins a real Ray of two CPUs, since starting its own takes seconds.

    It is a whole one if the module's WHOLE is true.
    """
    with cluster(forks, "--num-cpus=2", whole=getattr(request.module, "WHOLE", False)) as made:
        yield {**made.environment, "RAY_ADDRESS": made.address}


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Runs commands without the time that their imports take."""
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="session")
def generate(forks: Forks) -> Command:
    """Run generate.py with a forked worker: `generate("--variant", ...)`. It must exit with `status`."""

    def run(*words: object, cwd: Path = ROOT, status: int = 0) -> Done:
        done = _run(forks, ["generate.py", *words], cwd, _here())
        assert done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def spoken(once: Once, generate: Command) -> Path:
    """A folder with `out/speech`: the built-in recordings rendered through `SPOKEN`."""
    words = ("--dataset", "speech", "--variant", ",".join(SPOKEN))
    return once("spoken", lambda folder: generate(*words, "--output", folder / "out"))


@pytest.fixture
def command(tmp_path: Path, forks: Forks) -> Command:
    """Run an entry as a user would: `command("verify.py", ...)`. Commands that render do so as `generate` does."""

    def run(script: str, *words: object, cwd: Path = tmp_path) -> Done:
        rendering = script == "generate.py" or "--source" in words
        return _run(forks, [script, *words], cwd, _here() if rendering else os.environ)

    return run


def _here() -> dict[str, str]:
    """An environment that names the stand-in for a cluster."""
    return {**os.environ, "RAY_ADDRESS": HERE}


def _run(forks: Forks, words: Sequence[object], cwd: Path, environment: Mapping[str, str]) -> Done:
    script, *others = map(str, words)
    done = forks.run([str(ROOT / script), *others], cwd, environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done
