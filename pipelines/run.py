"""What `generate.py` does: makes the missing shards of a set, writes the set's page, and prints what was made."""

from __future__ import annotations

from pipelines.generate import report
from pipelines.generate.options import Options
from pipelines.generate.run import make
from pipelines.page.write import write_page


def generate(options: Options) -> int:
    """Make the missing shards of the requested variants. Returns the exit status: 0, or 1 if samples failed."""
    made = make(options)
    if made is None:
        return 0
    page = write_page(made.root, pictures=False if options.no_pictures else None)
    print(report.finished(made.root, made.summaries, made.degenerate, nothing_to_do=made.nothing_to_do, page=page))
    return int(made.failed)
