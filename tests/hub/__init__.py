"""A Hugging Face Hub on 127.0.0.1 for the real client: datasets in memory, served by the Hub's own protocol.

It owns what `huggingface_hub` and `datasets` call to create, push, list and pull a dataset, with large objects behind
signed URLs of a second origin or sent by Xet to a third, faults on request, and a log of every request. Paths, fields
and error codes are those that the client's source reads.
"""

from tests.hub.server import serve
from tests.hub.state import Hub, Request

__all__ = ["Hub", "Request", "serve"]
