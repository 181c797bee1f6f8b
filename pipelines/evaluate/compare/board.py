"""A leaderboard: a folder for a static site or a Hub Space, with everything needed to check its rows.

    README.md, index.html, results.csv, results.json    the comparison
    reports/<model>/index.html, results.json            one model's figures
    reports/<model>/outcomes.parquet                    what paired tests with other models need
    reports/<model>/entry.json                          what made its predictions, and their digests
    reports/<model>/model.toml                          the model's preprocessing

All rows have the same images and reference. Refuses a report that cannot be compared with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.compare.again import command, preprocessing
from pipelines.evaluate.compare.alike import check_alike
from pipelines.evaluate.compare.answer import Answer, answer, as_csv, as_json
from pipelines.evaluate.compare.entry import ENTRY, Entry, entry_of, published, read_entry
from pipelines.evaluate.compare.report import RESULTS, Report, read_report, with_unique_names
from pipelines.evaluate.compare.text import markdown, terminal
from pipelines.evaluate.options import CompareOptions
from pipelines.evaluate.outcomes import OUTCOMES, outcomes
from pipelines.evaluate.report.markdown import escaped
from pipelines.files import put
from pipelines.store import Place, place_of

_REPORTS = "reports"


def publish(options: CompareOptions) -> int:
    """Write a folder of these reports; the exit status, 0. Raises UsageError if a leaderboard is already there."""
    site = _site(options)
    if (site / _REPORTS).is_dir():
        raise UsageError(f"{site} already exists: add reports to it with --submit, or give another --publish")
    reports = with_unique_names([read_report(given) for given in options.reports])
    check_alike(reports)
    entries = [entry_of(report, report.folder / "predictions") for report in reports]
    _write(site, entries)
    return 0


def submit(options: CompareOptions) -> int:
    """Add a report to a folder after reproducing its figures from its predictions; the exit status, 0."""
    assert options.submit is not None  # the parser requires it
    site = _site(options)
    there = _published(site)
    report = read_report(options.submit)
    check_alike([*(one for one, _ in there), report])
    place = place_of(options.predictions, "--predictions") if options.predictions else report.folder / "predictions"
    if not place.is_dir():
        raise UsageError(f"{place} is not a folder: a report is checked against its predictions, give --predictions")
    entry = entry_of(report, place)
    taken = next((one.name for one, other in there if other.folder == entry.folder), None)
    if taken:
        raise UsageError(f"{site} already has a {taken}: score yours under another --name, or remove that one")
    _write(site, [*(other for _, other in there), _checked(entry, report, place, options)])
    return 0


def _checked(entry: Entry, report: Report, predictions: Place, options: CompareOptions) -> Entry:
    """The row of a report whose figures its predictions reproduce."""
    from pipelines.evaluate.compare.recomputed import recomputed  # imports everything that scores

    assert options.shards is not None
    results, own = recomputed(report, predictions.address, options.shards, options.annotations)
    raw = published({**report.raw, **own, "model": entry.name})
    return Entry(entry.name, raw, outcomes(results), entry.made_by, entry.predictions, checked=True)


def _site(options: CompareOptions) -> Place:
    assert options.publish is not None
    return place_of(options.publish, "--publish")


def _published(site: Place) -> list[tuple[Report, Entry]]:
    """The rows of a folder by name, none of a new one. Raises UsageError if the folder is not a leaderboard."""
    folder = site / _REPORTS
    if not folder.is_dir() and site.names():
        raise UsageError(f"{site} is not empty and not a leaderboard: give another --publish")
    reports = [read_report((folder / name).address) for name in folder.folders()]
    return [(report, read_entry(report.folder, report)) for report in reports]


def _write(site: Place, entries: Sequence[Entry]) -> None:
    """Write all rows, and the comparison of what was written."""
    from pipelines.evaluate.compare.page import model_page, page  # imports matplotlib

    entries = sorted(entries, key=lambda entry: entry.name.lower())
    if len({entry.folder for entry in entries}) < len(entries):
        raise UsageError("two reports have names that give the same folder: score one under another --name")
    for entry in entries:
        folder = site / _REPORTS / entry.folder
        files = {
            **preprocessing(entry),
            "index.html": model_page(entry, command(entry)),
            RESULTS: _text(entry.results),
            ENTRY: _text(entry.about()),
        }
        put(folder / OUTCOMES, entry.outcomes)
        for name, content in files.items():
            put(folder / name, content.encode())
    found = answer([read_report((site / _REPORTS / entry.folder).address) for entry in entries], ())
    links = {entry.name: f"{_REPORTS}/{entry.folder}/index.html" for entry in entries}
    rows = [{"folder": f"{_REPORTS}/{e.folder}", "command": command(e), **e.about()} for e in entries]
    files = {
        "index.html": page(found, links, _how(entries)),
        "README.md": _readme(found, entries),
        "results.csv": as_csv(found),
        RESULTS: _text({**as_json(found), "rows": {e.name: row for e, row in zip(entries, rows, strict=True)}}),
    }
    for name, content in files.items():
        put(site / name, content.encode())
    print(terminal(found, str(site / "index.html")))


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _how(entries: Sequence[Entry]) -> list[str]:
    """How a row is checked, and which rows were."""
    checked = ", ".join(entry.name for entry in entries if entry.checked) or "none yet"
    return [
        "A model's page has the command that makes its row again, and the digests of its predictions and of the "
        "shards' manifests.",
        f"Rows whose figures were reproduced from the predictions on submission: {checked}.",
    ]


def _readme(found: Answer, entries: Sequence[Entry]) -> str:
    """The front matter of a Space, the comparison, and for each row the command that makes it again."""
    title = json.dumps(f"SysNoise leaderboard, {found.reports[0].dataset}")
    lines = ["---", f"title: {title}", "sdk: static", "app_file: index.html", "---", "", markdown(found)]
    lines += ["## How to check it", "", *map(escaped, _how(entries)), ""]
    lines += ["`images_sha256` of the scored images, over their keys and files, is", ""]
    lines += [f"    {entries[0].results['set']['images_sha256']}", ""]
    for entry in entries:
        sha256 = entry.results["sha256"]
        lines += [f"### {escaped(entry.name)}", ""]
        lines += [f"`MODEL` has the sha256 `{sha256}`.", ""] if sha256 else []
        lines += ["```sh", command(entry), "```", ""]
    return "\n".join(lines)
