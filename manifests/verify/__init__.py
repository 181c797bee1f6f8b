"""Checks that shards are what their manifests say. Reads every byte, decodes every result, writes nothing.

Each finding is a `Problem`: a place and what is wrong there. Records, tars and manifests are checked against one
another, so that an edit of any of them is found: a tar against its record's hash and rows, and the manifests against
those derived again from the records.
"""

from manifests.verify.decode import decode, decode_label_map, decode_mel
from manifests.verify.folder import check_card, check_folder, records_in, records_of, variant_folders
from manifests.verify.problem import Problem
from manifests.verify.tar import check_tar, tar_steps

__all__ = [
    "Problem",
    "check_card",
    "check_folder",
    "check_tar",
    "decode",
    "decode_label_map",
    "decode_mel",
    "records_in",
    "records_of",
    "tar_steps",
    "variant_folders",
]
