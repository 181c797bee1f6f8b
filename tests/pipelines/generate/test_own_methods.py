"""Custom methods in whole runs: their shards, rendering them again, scoring and matching."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

import generate as generate_entry
import score
import verify
from generators.own import own_methods
from manifests.canonical import digest
from pipelines.errors import UsageError
from pipelines.evaluate.asked import asked_variants
from pipelines.generate.config import ImageConfig
from pipelines.generate.output import Output
from pipelines.generate.report import variants_table
from pipelines.generate.shard import Job
from pipelines.generate.sources import SampleSource
from pipelines.generate.work import problem_here
from pipelines.shards import open_shards
from pipelines.store import Disk
from tests.conftest import Command
from tests.pipelines.generate.test_generate import files

# Pillow's bilinear filter as a program, which refuses one image and, when told to, kills itself once.
RESIZE = """\
import os, sys
from PIL import Image
try:
    os.unlink(os.path.join(os.path.dirname(__file__), "kill"))
    os.kill(os.getpid(), 9)
except FileNotFoundError:
    pass
image = Image.open(sys.stdin.buffer)
if image.size == (451, 300):
    sys.exit("cannot bear cats")
made = image.resize((int(sys.argv[1]), int(sys.argv[2])), Image.Resampling.BILINEAR)
made.save(sys.stdout.buffer, "PPM")
"""
# Adds one to every value, modulo 256; the header of a picture with three-digit sides has 15 bytes.
BUMP = r"""#!/bin/sh
head -c 15; tr '\000-\377' '\001-\377\000'
"""
# Digest of the configuration below, from before there were custom methods.
DIGEST = "d4b8c960c86f72e7852940362cc4c446e861a2ec33b143b790e2ca663b8316aa"
VARIANTS = "reference,mine,bumped,mine+bumped"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs."""
    made = tmp_path_factory.mktemp("programs")
    (made / "resize.py").write_text(RESIZE)
    (made / "bump").write_text(BUMP)
    (made / "bump").chmod(0o755)
    return made


@pytest.fixture(scope="module")
def own(folder: Path) -> list[str]:
    """The flags that define the two methods."""
    resize = f"mine=resize:{sys.executable} -I {folder}/resize.py {{width}} {{height}}"
    return ["--method", resize, "--method", f"bumped=color:{folder}/bump"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, generate: Command, own: list[str]) -> Path:
    output = tmp_path_factory.mktemp("made")
    generate(*asked(output, "--workers", "2"), *own, status=1)
    return output


def asked(output: Path, *more: str, variants: str = VARIANTS) -> list[str]:
    return ["--variant", variants, "--limit", "5", "--samples-per-shard", "2", "--output", str(output), *more]


def summary(made: Path, variant: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made / "sample" / variant / "manifest.json").read_text())
    return found


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The one line of a refusal."""
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_pixels_are_those_of_the_library_that_the_program_calls(made: Path) -> None:
    """Except for a photograph that the program refuses, whose row says so."""
    shards = summary(made, "mine")["shards"]
    assert [shard["failed"] for shard in shards] == [0, 1, 0]
    for mine, theirs in zip(shards, summary(made, "pil_bilinear")["shards"], strict=True):
        assert mine["sha256"] == theirs["sha256"] or mine["failed"]
    assert summary(made, "bumped")["residual"]["mean_abs"] > 0
    for variant in ("mine", "mine+bumped"):
        record = json.loads((made / "sample" / variant / "validation-00001-of-00003.json").read_text())
        assert record["rows"]["error"] == ["", "mine: exit status 1: cannot bear cats"]


def test_provenance_names_programs_without_paths_of_this_machine(made: Path, folder: Path) -> None:
    libraries = summary(made, "mine+bumped")["provenance"]["libraries"]
    python = Path(sys.executable).name
    assert libraries["mine=resize"] == f"{python} -I resize.py '{{width}}' '{{height}}'"
    assert libraries["bumped=color"] == "bump"
    assert {"mine", "mine/resize.py", "bumped"} <= libraries.keys()
    assert "bumped" not in summary(made, "mine")["provenance"]["libraries"]
    assert not [name for name, data in files(made).items() if str(folder).encode() in data]


def test_workers_and_a_killed_program_change_no_byte(
    made: Path, folder: Path, own: list[str], generate: Command, tmp_path: Path
) -> None:
    generate(*asked(tmp_path / "one", "--workers", "1"), *own, status=1)
    (folder / "kill").touch()
    generate(*asked(tmp_path / "seven", "--workers", "7"), *own, status=1)
    assert not (folder / "kill").exists()
    assert files(tmp_path / "one") == files(tmp_path / "seven") == files(made)


def test_a_configuration_does_not_mention_custom_methods() -> None:
    config = ImageConfig("sample", "crop", (224,), "pil", "png", 1000, (("kind", "sample"),))
    assert digest(config.as_json()) == DIGEST
    more = ImageConfig(
        "sample", "crop", (224,), "pil", "png", 1000, (("kind", "sample"),), own_methods(["mine=color:cat"])
    )
    assert more.as_json() == config.as_json()


def other_program(tmp_path: Path, folder: Path) -> list[str]:
    """Flags that give `bumped` another program of the same name."""
    shutil.copy(folder / "bump", tmp_path / "bump")
    with open(tmp_path / "bump", "a", encoding="utf-8") as file:
        file.write("# another\n")
    return ["--method", f"bumped=color:{tmp_path}/bump"]


def test_rendering_again_needs_the_same_program(
    made: Path, own: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(made / "sample" / "bumped")
    again = [place, "--workers", "1", "--render"]
    assert verify.main([*again, *own]) == 0
    capsys.readouterr()
    assert "add --method bumped=color:PROGRAM" in refused(capsys, verify.main(again))
    line = refused(capsys, verify.main([*again, *other_program(tmp_path, folder)]))
    assert "--method bumped is not what made bumped: bumped is sha256:" in line
    line = refused(capsys, verify.main([*again, "--method", f"bumped=color:{folder}/bump --fast"]))
    assert "bumped=color is bump --fast here, and was bump" in line
    assert "--method" in refused(capsys, verify.main([*again[:-1], *own]))


def test_another_program_is_refused_in_the_same_output(
    made: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = asked(made, *other_program(tmp_path, folder), variants="bumped")
    assert "was made with another library version" in refused(capsys, generate_entry.main(words))
    words = asked(made, "--method", "pil=decode:cat", variants="pil")
    assert "--method: pil is already taken" in refused(capsys, generate_entry.main(words))


def test_a_machine_with_another_program_is_refused(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "bump", tmp_path / "bump")
    methods = own_methods([f"bumped=color:{tmp_path}/bump"])
    source = SampleSource()
    config = ImageConfig("sample", "crop", (224,), "pil", "png", 1000, (), methods)
    job = Job(config, source, Output(Disk(str(tmp_path)), run="bump"))
    (tmp_path / ".run" / "bump").mkdir(parents=True)
    sample = next(iter(source.listing().samples))
    assert problem_here(job, sample) is None
    (tmp_path / "bump").write_text("#!/bin/sh\ncat\n")
    assert problem_here(job, sample) == "bumped is not the program that was given: bump differs"


def test_the_table_of_methods_lists_it(own: list[str]) -> None:
    table = variants_table({method.token: method for method in own_methods(own[1::2])})
    (mine,) = [line.split() for line in table.splitlines() if line.startswith("mine ")]
    assert mine[1:3] == ["resize", "mine"]
    assert re.fullmatch("sha256:[0-9a-f]{12}", mine[3])
    assert mine[4] == "yes"


def test_its_shards_are_scored_without_it(made: Path) -> None:
    shards = open_shards(made / "sample")
    assert {variant.name for variant in asked_variants(shards, ["mine,bumped,reference"])[0]} == {
        *("mine", "bumped", "pil_bilinear")
    }
    assert shards.changed_stages("mine+bumped") == ("resize", "color")
    assert "--method bumped=color:… " in shards.command(["pil_box+bumped"])
    with pytest.raises(UsageError, match=r"--variant pil_box\+bumped is not in"):
        asked_variants(shards, ["pil_box+bumped"])


def test_a_device_can_be_matched_to_it(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (made / "sample" / "bumped").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                image = tar.extractfile(member)
                if image and member.name.endswith(".png"):
                    (tmp_path / member.name).write_bytes(image.read())
    assert score.main(["match", "--shards", str(made), "--dump", str(tmp_path)]) == 0
    assert "Your device matches `bumped` = `mine+bumped` exactly" in capsys.readouterr().out
