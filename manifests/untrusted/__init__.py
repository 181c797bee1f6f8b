"""Readers for files from other people: bounded in memory, with one kind of error for everything that can be wrong.

Python's own readers trust what they read. A tar's header may ask for gigabytes, point back to itself or continue in
other headers forever; JSON may nest deeper than the interpreter can recurse; Parquet may unpack to any size. All of
that is refused here.
"""

from manifests.untrusted.files import LARGEST_JSON, read_at_most, read_file
from manifests.untrusted.json import parse_description, parse_json, uncollected
from manifests.untrusted.parquet import LONGEST_TEXT, MOST_ROWS, read_groups
from manifests.untrusted.tar import Tar

__all__ = [
    "LARGEST_JSON",
    "LONGEST_TEXT",
    "MOST_ROWS",
    "Tar",
    "parse_description",
    "parse_json",
    "read_at_most",
    "read_file",
    "read_groups",
    "uncollected",
]
