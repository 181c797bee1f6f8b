"""docs/tests.md names every test file, and CONTRIBUTING.md and the hooks name commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests import ROOT
from tests.conftest import SLOW

TESTS = ROOT / "tests"
TABLE = (ROOT / "docs" / "tests.md").read_text()
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_table_names_every_test_file_and_no_other() -> None:
    named = re.findall(r"`([\w/*]*test_[\w*]+\.py)`", TABLE)
    found = {pattern: set(TESTS.glob(pattern)) for pattern in named}
    assert not [pattern for pattern, files in found.items() if not files], "named in docs/tests.md, and not there"
    missing = set(TESTS.rglob("test_*.py")).difference(*found.values())
    assert not sorted(str(path.relative_to(TESTS)) for path in missing), "to be named in docs/tests.md"


def test_each_row_says_what_is_compared_with_what() -> None:
    rows = re.findall(r"^\| (.*) \|$", TABLE, re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    assert all(len(row) == 3 and all(row) for row in cells)


def test_what_is_left_out_of_make_check_is_there() -> None:
    assert not [pattern for pattern in SLOW if not list(TESTS.glob(pattern))]


def test_the_page_s_commands_and_files_exist() -> None:
    targets = re.findall(r"^make ([\w-]+)", PAGE, re.MULTILINE)
    assert {"check", "test"} <= set(targets)
    assert all(re.search(rf"^(?:[\w-]+ )*{target}(?: [\w-]+)*: \.venv", MAKEFILE, re.MULTILINE) for target in targets)
    links = re.findall(r"\]\((?!http)([^)#]+)", PAGE)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_the_hooks_run_what_make_check_runs_and_fetch_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        program, *words = hook["entry"].split()
        assert Path(program).parent == Path(".venv/bin")
        assert re.search(rf"\$\(BIN\)/{Path(program).name}{''.join(f' {word}' for word in words[:1])}", MAKEFILE)
