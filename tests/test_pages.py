"""All pages: commands that parse, names and links that exist, and a test for each table, recipe and output."""

from __future__ import annotations

import importlib.util
import re
import shlex
import unicodedata
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from generators.registry import METHODS, STAGES, find
from generators.selection import expand
from generators.variant import DEFAULT_REFERENCE, LIBRARY_GROUPS, reference
from pipelines.generate.config import base_of_speech
from tests import ROOT
from tests.documents import PAGES, README, THEIRS, blocks, commands, options, parse, prose, read, tables

INDEX = "docs/README.md"
# Pages elsewhere that link to these, or are linked from them.
OTHERS = ("CHANGELOG.md", "benchmarks/README.md", "examples/leaderboard/README.md")
LONGEST, LONGEST_README = 250, 149


@dataclass(frozen=True)
class Held:
    """What a test file compares with the code or runs: the tables, Python blocks and shown outputs of a page."""

    test: str
    tables: int = 0
    recipes: int = 0
    outputs: int = 0


HELD = {
    "README.md": Held("test_readme.py", outputs=3),
    "docs/README.md": Held("test_pages.py", tables=4),
    "docs/adding-a-library.md": Held("test_variants_doc.py", tables=1, recipes=2),
    "docs/detection.md": Held("test_formats_doc.py", tables=1),
    "docs/formats.md": Held("test_formats_doc.py", tables=4, outputs=1),
    "docs/helps.md": Held("test_helps_doc.py", tables=6, recipes=1),
    "docs/libraries.md": Held("test_libraries_doc.py", tables=3),
    "docs/loops.md": Held("test_recipes.py", recipes=5),
    "docs/match.md": Held("test_readme.py", outputs=1),
    "docs/model-noise.md": Held("test_variants_doc.py", tables=1),
    "docs/models.md": Held("test_models_doc.py", tables=4),
    "docs/scale.md": Held("test_scale.py", tables=2),
    "docs/score.md": Held("test_formats_doc.py", tables=1),
    "docs/speech.md": Held("test_speech_doc.py", tables=3, recipes=3),
    "docs/text.md": Held("test_text_doc.py", tables=1),
    "docs/variants.md": Held("test_variants_doc.py", tables=6),
    "docs/versions.md": Held("test_versions_doc.py", tables=3, recipes=2),
}
# Options in a page's prose that are neither ours nor those of a module that the page runs.
THEIR_OPTIONS = {"docs/image.md": {"--shm-size", "--user"}}
# Languages of blocks that are shown, not run; a TOML is read in test_formats_doc.py.
LANGUAGES = {"sh", "python", "text", "toml"}


@pytest.mark.parametrize("page", PAGES)
def test_tables_recipes_and_outputs_have_a_test(page: str) -> None:
    held = HELD.get(page, Held("test_pages.py"))
    found = Held(held.test, len(tables(page)), len(blocks(page, "python")), len(blocks(page, "text")))
    assert found == held, "test what is new in the file that is named, and count it in HELD"
    assert Path(page).stem.lower() in (ROOT / "tests" / held.test).read_text().lower() or page not in HELD


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_whole(page: str) -> None:
    for head, *rows in tables(page):
        assert all(head), f"a column without a name: {head}"
        assert rows
        assert {len(row) for row in rows} == {len(head)}, head


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_language_that_is_tested(page: str) -> None:
    assert set(re.findall(r"^```(\S*)\n(?:.*\n)*?```$", read(page), re.MULTILINE)) <= LANGUAGES


def modules(page: str) -> Iterator[tuple[str, list[str]]]:
    """The modules that a page runs by `python -m`, with their arguments."""
    for words in map(shlex.split, commands(page)):
        if words[:2] == [".venv/bin/python", "-m"]:
            yield words[2], words[3:]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one(page: str) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in commands(page):
        program, *words = shlex.split(line)
        if program == ".venv/bin/python" and words[0] != "-m":
            _check_variants(parse(words), own=re.findall(r'--method "?(\w+)=', read(page)))
        elif program == "make":
            assert words[0] in targets
            assert {word.partition("=")[0] for word in words[1:]} <= {"SOURCE", "COCO", "PYTHON"}
        elif program == ".venv/bin/pytest":
            assert all((ROOT / word).exists() for word in words)
        elif program != ".venv/bin/python":
            assert THEIRS.match(line) or program in ("export", "mkdir"), line
    for name, words in modules(page):
        found = importlib.util.find_spec(name)
        assert found
        assert found.origin
        text = Path(found.origin).read_text() + (ROOT / "benchmarks" / "running.py").read_text()
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"\b{option[2:].replace('-', '[-_]')}\b", text), (name, option)


def _check_variants(given: Namespace, own: list[str]) -> None:
    """Raises VariantError for an unknown variant; `own` are the methods that the page defines."""
    asked = vars(given)
    speech = asked.get("dataset") == "speech"
    base = base_of_speech("") if speech else reference(asked.get("reference") or DEFAULT_REFERENCE)
    names = [name for names in asked.get("variants", ()) for name in names.split(",") if name not in own]
    found, _ = expand(names, base, model=not speech, runs=False)
    assert found or not names


@pytest.mark.parametrize("page", PAGES)
def test_every_option_in_the_text_exists(page: str) -> None:
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(page)))
    own = {word for line in commands(page) for word in line.split() if THEIRS.match(line) or " -m " in line}
    known = options() | own | THEIR_OPTIONS.get(page, set())
    ours = "".join((ROOT / f"{name}.py").read_text() for name in ("examples/tent", "tests/pixels", "benchmarks/driver"))
    assert not {option for option in used - known if f'"{option}"' not in ours and option[2:] not in ours}


# The first parts of tokens, `pil` or `opencv`: what begins so and is in backticks is a token.
FIRST = "|".join(sorted({token.partition("_")[0] for token in METHODS}))
# Names that begin as tokens do, but are stages, groups, a filter of Pillow's and a network.
NOT_TOKENS = {*STAGES, *LIBRARY_GROUPS, "box", "tf_efficientnet_lite0"}


@pytest.mark.parametrize("page", PAGES)
def test_every_token_in_the_text_exists(page: str) -> None:
    words = set(re.findall(rf"`((?:{FIRST})(?:_[a-z0-9_]+)?(?:-\d[\d.]*)?)`", prose(page)))
    assert not {word for word in words - NOT_TOKENS if not find(word)}


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE), re.M)
    return {_anchor(title) for title in titles}


def _anchor(title: str) -> str:
    kept = [c for c in title.lower().replace("`", "") if c in "-_ " or unicodedata.category(c)[0] in "LN"]
    return "".join(kept).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://mlcommons.org/")):  # which is its name, and no address
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.resolve().relative_to(ROOT).as_posix()), target


def test_code_names_pages_that_exist() -> None:
    folders = ("generators", "manifests", "pipelines", "benchmarks", "examples", "tests")
    files = [*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    named = {
        (path.name, name) for path in files for name in re.findall(r"(?<![\w/-])docs/[\w-]+\.md", path.read_text())
    }
    assert named
    assert not {(file, name) for file, name in named if not (ROOT / name).exists() and name != "docs/spec.md"}


def test_the_index_has_every_page_once() -> None:
    linked = re.findall(r"^\| \[[^]]+\]\(([\w-]+\.md)\) \| \w.* \|$", read(INDEX), re.MULTILINE)
    assert sorted(linked) == sorted(Path(page).name for page in PAGES if page not in (README, INDEX))
    assert "(docs/README.md)" in read(README)


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_short_and_begin_with_what_they_are_for(page: str) -> None:
    lines = read(page).splitlines()
    assert len(lines) <= (LONGEST_README if page == README else LONGEST)
    assert re.match(r"# \S", lines[0])
    assert lines[1] == ""
    assert re.match(r"[A-Z]", lines[2])
    assert sum(line.startswith("# ") for line in prose(page).splitlines()) == 1


def test_anchors_are_made_as_github_does() -> None:
    made: Mapping[str, str] = {
        "The paper's protocol": "the-papers-protocol",
        "`manifest.parquet`": "manifestparquet",
        "Detection with `pycocotools`": "detection-with-pycocotools",
        "What each does, and how far": "what-each-does-and-how-far",
    }
    assert {title: _anchor(title) for title in made} == made
