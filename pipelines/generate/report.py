"""What generate.py prints on the terminal: the table of methods, the plan, and what was made."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from generators.draw import MIX, TOKENS
from generators.pixels.foreign import at_hand, machine
from generators.registry import (
    AT,
    AUDIO_STAGES,
    LIBRARIES,
    METHODS,
    MODEL_STAGES,
    STAGES,
    Library,
    Method,
    Release,
)
from generators.variant import ANY, LIBRARY_GROUPS, Variant
from manifests.splits import split_of
from pipelines.generate.config import Config
from pipelines.generate.plan import shard_count
from pipelines.store import Place
from pipelines.text import entry, size, table
from pipelines.wording import wording

# Bytes of a sample's other members and of the tar's headers.
_OVERHEAD = 3_000
# Characters in a line of explanations.
_WIDTH = 100
# Characters of a version: no more of a program's digest is needed to tell two apart.
_SHOWN = len("sha256:") + 12


def variants_table(methods: Mapping[str, Method]) -> str:
    """Each method's token, stage, library and version, whether the paper has it, and whether it can run here."""
    rows: list[Sequence[str]] = [("token", "stage", "library", "version", "paper", "runs here")]
    problems = {method.token: problem for method in methods.values() if (problem := method.problem())}
    versions = {library: _version(library) for library in {method.library for method in methods.values()}}
    for method in methods.values():
        runs = "no (see below)" if method.token in problems else "yes" if method.library.ready else "once installed"
        paper = "yes" if method.paper else ""
        rows.append((method.token, method.stage, method.library.name, versions[method.library], paper, runs))
    return "\n".join(
        [
            table(rows),
            "",
            *(f"{', '.join(tokens)}: {problem}." for problem, tokens in by_problem(problems).items()),
            *_versions_table(),
            "Join one token of each stage with +, as in ffmpeg+opencv_area+nv12_ascend; a stage that is left out uses",
            f"the reference's method, or the model as it is. Noise of {', '.join(MODEL_STAGES)} needs --model FILE;",
            f"{' and '.join(AUDIO_STAGES)} are for recordings (--dataset speech).",
            f"{' and '.join(TOKENS.values())} (both: {MIX}) draw one of the paper's methods for each image.",
            f"Groups: {', '.join((*STAGES, *AUDIO_STAGES))}, model, paper (the paper's methods),",
            f"all (what is installed); by library, installed if missing, {', '.join(LIBRARY_GROUPS)}.",
        ]
    )


def by_problem(problems: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Tokens by problem: a missing library is reported once, not for each of its methods."""
    found: dict[str, list[str]] = {}
    for token, problem in problems.items():
        found.setdefault(problem, []).append(token)
    return found


def _versions_table() -> list[str]:
    """Libraries that are available in other versions, how to name one, and which are installed."""
    here = at_hand()
    rows: list[Sequence[str]] = [("library", "package", "named as", "installed")]
    for library in LIBRARIES.values():
        if library.has_versions:
            token = next(method.token for method in METHODS.values() if method.library == library)
            versions = ", ".join(here.get(library.distribution, ["–"]))
            rows.append((library.name, library.distribution, f"{token}{AT}VERSION", versions))
    return [
        "",
        "Versions, each installed separately when it is first used:",
        "",
        table(rows),
        "",
        f"'pil_box{AT}{ANY}' (in quotes, for the shell) stands for the newest release of each major version.",
    ]


def _version(library: Library) -> str:
    if isinstance(library, Release):  # not started just to be listed
        return library.version or machine.version(library.distribution)
    try:
        name, version = next(iter(library.versions().items()))
    except ImportError:
        return "–"
    return version[:_SHOWN] if name == library.name else f"{name} {version}"


def dry_run(root: str, variants: Sequence[Variant], samples: int, config: Config) -> str:
    """The plan: what would be made, and how many bytes to expect."""
    each = samples * (config.expected() + _OVERHEAD)
    shards = shard_count(samples, config.samples_per_shard)
    rows: list[Sequence[str]] = [("variant", "samples", "shards", "expected size")]
    rows += [(variant.name, f"{samples:,}", f"{shards:,}", size(each)) for variant in variants]
    rows.append(("total", f"{samples * len(variants):,}", f"{shards * len(variants):,}", size(each * len(variants))))
    return f"Would write to {root} (nothing was written):\n\n{table(rows, frozenset({1, 2, 3}))}"


def finished(
    root: Place,
    summaries: Sequence[Mapping[str, Any]],
    degenerate: Iterable[Sequence[str]],
    *,
    nothing_to_do: bool,
    page: bool,
) -> str:
    """What was made and where, how the variants differ, and the next commands to try."""
    config = summaries[0]["config"]
    words = wording(config["dataset"])
    rows: list[Sequence[str]] = [("variant", f"{words.sample}s", "failed", "size", *words.headings)]
    for summary in summaries:
        totals, residual = summary["totals"], summary["residual"]
        figures = words.figures(residual) if residual["compared"] else ("–",) * len(words.headings)
        rows.append(
            (summary["name"], f"{totals['samples']:,}", f"{totals['failed']:,}", size(totals["bytes"]), *figures)
        )
    tars = f"<variant>/{split_of(config)}-*.tar"
    lines = [
        "Nothing was left to do." if nothing_to_do else "Done.",
        "",
        table(rows, frozenset(range(1, 7))),
        "",
        *textwrap.wrap(words.legend.format(config["reference"]), _WIDTH),
        *(f"{words.alike} (degenerate): {', '.join(names)}." for names in degenerate),
        "",
        f"{root}/",
        *(["  index.html                    what differs and where, to look at"] if page else []),
        "  README.md                     dataset card",
        "  croissant.json                description for dataset search and loaders",
        f"  {tars:28}  WebDataset shards: {', '.join((*words.members(config), 'json'))}",
        f"  <variant>/manifest.parquet    a row for each source {words.sample}",
        "  <variant>/manifest.json       what was made, and what made it",
        "",
        f"Next: {entry('generate.py')} --list-variants",
        f"      {entry('verify.py')} {shlex.quote(root.address)}",
    ]
    failed = max(summaries, key=lambda summary: int(summary["totals"]["failed"]))
    if failed["totals"]["failed"]:
        where = f"{root}/{failed['name']}/manifest.parquet"
        lines.insert(2, f"Some {words.sample}s failed: see the `error` column, for example in {where}\n")
    return "\n".join(lines)
