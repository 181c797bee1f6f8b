"""A Hugging Face Hub on 127.0.0.1 for the real client: datasets in memory, served by the Hub's own protocol.

It implements what `huggingface_hub` and `datasets` call to create, push, list and pull a dataset. Large objects are
behind signed URLs of a second origin, or are sent by Xet to a third. Faults can be injected, and every request is
logged. Paths, fields and error codes are those that the client's source reads.
"""

from tests.hub.server import serve
from tests.hub.state import Hub, Request

__all__ = ["Hub", "Request", "serve"]
