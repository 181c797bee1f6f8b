"""`score.py compare`: turns reports into a comparison, or into a leaderboard."""

from __future__ import annotations

import json

from pipelines.errors import UsageError
from pipelines.evaluate.compare.answer import answer, as_csv, as_json
from pipelines.evaluate.compare.report import read_report, with_unique_names
from pipelines.evaluate.compare.text import markdown, terminal
from pipelines.evaluate.options import CompareOptions
from pipelines.files import put
from pipelines.store import place_of

_OUTPUT = "comparison"


def compare(options: CompareOptions) -> int:
    """Compare, publish or submit; the exit status, 0. Raises UsageError for input that cannot be used."""
    if options.publish:
        from pipelines.evaluate.compare.board import publish, submit

        return submit(options) if options.submit else publish(options)
    reports = with_unique_names([read_report(given) for given in options.reports])
    found = answer(reports, options.family)
    output = place_of(options.output or _OUTPUT, "--output")
    for report in reports:
        if report.folder == output:
            raise UsageError(f"--output {output} is the folder of a report: give another one")
    from pipelines.evaluate.compare.page import page  # imports matplotlib, which a refusal need not wait for

    files = {
        "index.html": page(found, {}, ()),
        "report.md": markdown(found),
        "results.csv": as_csv(found),
        "results.json": json.dumps(as_json(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, content in files.items():
        put(output / name, content.encode())
    print(terminal(found, str(output / "index.html")))
    return 0
