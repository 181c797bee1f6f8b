"""The image contains the files that it needs and no others, and its files agree with the project and each other.

No Docker engine is needed: the build context is made here, using the Docker client's own handling of `.dockerignore`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from docker.utils import exclude_paths
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import generate
from manifests.provenance import code_sha256
from pipelines.generate import config
from tests import ROOT
from tests.test_house import ENTRIES, PACKAGES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TAG = f"{PROJECT['name']}:{PROJECT['version']}"
# Files that many checkouts contain, and that must not be in the image.
STRAY = (
    *(".env", ".git/config", ".venv/lib/site.py", "data/val/n01440764/1.JPEG", "out/sample/README.md"),
    *("generators/pixels/__pycache__/ascend.pyc", "pipelines/hub/__pycache__/push.pyc"),
)


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines()) if name]


INSTRUCTIONS = _instructions()


def instruction(name: str) -> str:
    """The only instruction of that name."""
    (found,) = [rest for other, rest in INSTRUCTIONS if other == name]
    return found


def known_to_git(*below: str) -> list[str]:
    """The files of the checkout that are not ignored, including new ones."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *below]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def copy(names: list[str], source: Path, target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's working folder, filled from this checkout by the COPY instructions."""
    checkout, folder = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("image")
    copy(known_to_git(), ROOT, checkout)
    for name in STRAY:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("stray")
    lines = (checkout / ".dockerignore").read_text().splitlines()
    sent = exclude_paths(str(checkout), [line for line in lines if line and not line.startswith("#")])
    sent -= {"Dockerfile", ".dockerignore"}  # the engine reads these, but does not copy them
    context = [name for name in sent if (checkout / name).is_file()]
    for sources, destination in (rest.rsplit(" ", 1) for name, rest in INSTRUCTIONS if name == "COPY"):
        assert destination == "./"
        for source in sources.split():
            copy([name for name in context if PurePosixPath(name).is_relative_to(source)], checkout, folder)
    return folder


def test_it_contains_the_code_and_nothing_else(image: Path) -> None:
    held = {path.relative_to(image).as_posix() for path in image.rglob("*") if path.is_file()}
    runs = known_to_git(*(f"{entry}.py" for entry in ENTRIES), *PACKAGES)
    assert held == {*runs, "LICENSE", "requirements.txt"}


def test_its_code_digest_is_the_checkouts(image: Path) -> None:
    assert code_sha256(image, config._CODE) == code_sha256(ROOT, config._CODE)


@pytest.mark.parametrize("words", [["generate.py", "--list-variants"], *([f"{name}.py", "-h"] for name in ENTRIES[1:])])
def test_the_entrypoint_runs_every_entry(words: list[str], image: Path, tmp_path: Path) -> None:
    variables = dict(word.split("=") for word in instruction("ENV").split())
    assert variables["PATH"] == f"{instruction('WORKDIR')}:$PATH"
    environment = {"PATH": f"{image}:{BIN}", "HOME": str(tmp_path)}
    words = [*json.loads(instruction("ENTRYPOINT")), *words]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("pil_lanczos" if "--list-variants" in words else "usage:") in done.stdout


@pytest.mark.parametrize("words", [["hadolint", "Dockerfile"], ["yamllint", "--strict", "examples"]], ids=" ".join)
def test_the_linters_find_nothing(words: list[str]) -> None:
    done = subprocess.run([BIN / words[0], *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def pinned(environment: Mapping[str, str]) -> dict[str, str]:
    """The versions that requirements.txt pins for a machine, by name."""
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    found = [Requirement(line) for line in lines]
    found = [pin for pin in found if not pin.marker or pin.marker.evaluate(dict(environment))]
    versions: dict[str, str] = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in found}
    assert len(versions) == len(found)
    return versions


def machine() -> dict[str, str]:
    """The values of requirement markers in the image."""
    base = re.fullmatch(r"python:(3\.\d+)-slim-[a-z]+", instruction("FROM"))
    assert base
    return {"python_version": base[1], "python_full_version": f"{base[1]}.0", "platform_machine": "x86_64"}


def test_it_installs_what_the_project_declares() -> None:
    assert SpecifierSet(PROJECT["requires-python"]).contains(machine()["python_version"])
    declared = [Requirement(text) for text in PROJECT["dependencies"]]
    declared = [need for need in declared if not need.marker or need.marker.evaluate(machine())]
    versions = pinned(machine())
    assert {canonicalize_name(need.name) for need in declared} == set(versions)
    assert all(need.specifier.contains(versions[canonicalize_name(need.name)]) for need in declared)


def test_a_change_to_the_code_installs_nothing_again() -> None:
    steps = [rest for name, rest in INSTRUCTIONS if name in ("COPY", "RUN")]
    (install,) = [step for step in steps if "pip install" in step]
    assert install.endswith(" -r requirements.txt")
    assert [step for step in steps if step.endswith(" ./")] == ["requirements.txt ./", ". ./"]
    assert steps.index("requirements.txt ./") < steps.index(install) < steps.index(". ./")


def test_the_rayjob_fits_image_and_command_line(image: Path) -> None:
    job, claim, volume = yaml.safe_load_all((ROOT / "examples" / "kuberay-rayjob.yaml").read_text())
    python, script, *words = shlex.split(job["spec"]["entrypoint"])
    options = generate._parser().parse_args(words)
    assert python == "python"
    assert (image / script).is_file()
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned(machine())["ray"]
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    user, group = (int(number) for number in instruction("USER").split(":"))
    assert user
    for node in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod: dict[str, Any] = node["template"]["spec"]
        (container,), (mounted,) = pod["containers"], pod["volumes"]
        (mount,) = container["volumeMounts"]
        assert (container["image"], container["workingDir"]) == (TAG, instruction("WORKDIR"))
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert mount["name"] == mounted["name"]
        assert mounted["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert all(path.startswith(f"{mount['mountPath']}/") for path in (options.source, options.output))
        assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": group}


def test_the_documented_commands_parse() -> None:
    text = (ROOT / "docs" / "image.md").read_text()
    assert f"docker build -t {TAG} .\n" in text
    assert set(re.findall(rf"{PROJECT['name']}:\S+", text)) == {TAG}
    commands = re.findall(rf"^docker (?:run .*{TAG}|exec ray) (\S+) (.*)$", text, re.MULTILINE)
    assert {program for program, _ in commands} == {"generate.py", "ray"}
    for program, words in commands:
        if program == "generate.py":
            assert generate._parser().parse_args(shlex.split(words)).variants


def test_the_entries_can_be_run_by_name() -> None:
    for name in ENTRIES:
        path = ROOT / f"{name}.py"
        assert os.access(path, os.X_OK)
        assert path.read_text().startswith("#!/usr/bin/env python\n")
