"""Noised models as artefacts: `models/<model>/<variant>.onnx`, and `<variant>.json`, which records how it was made.

Owns the folder of one model's variants: whether an existing one is still valid, and its record: the digest of the
source model, every changed node and how it changed, the calibration images with their pixel hashes, the libraries'
versions and the code's digest. Files are written whole or not at all, the JSON last. The same model, images, libraries
and code give the same bytes. Refuses noise that does not apply to the model, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from generators.models import Feed
from generators.registry import LIBRARIES, Method
from manifests.provenance import code_sha256
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.cells import Noised, as_it_is
from pipelines.evaluate.model.record import read_record
from pipelines.evaluate.model.runtimes import runtime_of
from pipelines.evaluate.model.weights import model_sha256
from pipelines.store.files import replacing

_ROOT = Path(__file__).resolve().parents[3]
# The code that decides a noised model's bytes.
_CODE = ("generators/models",)
BOXES_REASON = "it has no boxes to decode"


class DoesNotApplyError(Exception):
    """Noise changes nothing in a model, or cannot be added to it; the message is the reason."""


@dataclass(frozen=True)
class Images:
    """Calibration data: `read` starts over the model's inputs (batches of images, or arrays by input name) at each
    call; `facts` is the record of it.
    """

    read: Callable[[], Iterator[Feed]]
    facts: Mapping[str, Any]


class NoisedModels:
    """The noised variants of `model` in `folder`; `images` is called when calibration is first needed."""

    def __init__(self, model: Path, folder: Path, images: Callable[[], Images]) -> None:
        self.model, self.folder = model, folder
        self._ask = images
        # How many nodes were changed in each requested variant, by name.
        self.changes: dict[str, int] = {}

    @cached_property
    def as_it_is(self) -> Noised:
        return as_it_is(self.model)

    @cached_property
    def _images(self) -> Images:
        return self._ask()

    def noised(self, methods: Sequence[Method]) -> Noised:
        """The model with this noise, in stage order; made if it does not exist yet.

        Raises DoesNotApplyError, UsageError if the model cannot be read, and RunError if nothing can be written.
        """
        if not methods:
            return self.as_it_is
        _check_noise(self.model)
        name = "+".join(method.token for method in methods)
        path = self.folder / f"{name}.onnx"
        facts = self._facts(methods)
        record = read_record(path, facts, "changes", list) or self._make(methods, path, facts)
        self.changes[name] = len(record["changes"])
        return Noised(name, path, record["sha256"], session_config(methods))

    def _facts(self, methods: Sequence[Method]) -> dict[str, Any]:
        """All that decides a variant's bytes, as plain JSON values."""
        calibrated = any(method.calibrated for method in methods)
        return {
            "model": {"file": self.model.name, "sha256": self.as_it_is.sha256},
            "methods": {method.stage: method.token for method in methods},
            "calibration": dict(self._images.facts) if calibrated else None,
            "libraries": LIBRARIES["ONNX"].versions(),
            "code_sha256": code_sha256(_ROOT, _CODE),
        }

    def _make(self, methods: Sequence[Method], path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
        from generators.models import files  # imports onnx
        from generators.models.graph import ModelError

        try:
            model = files.load(self.model)
            changes = [change for method in methods for change in self._apply(method, model, methods)]
            path.parent.mkdir(parents=True, exist_ok=True)
            files.save(model, path)
        except ModelError as error:
            raise UsageError(f"{self.model}: {error}") from None
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror or error}); no partial file is left") from None
        record = {**facts, "changes": changes, "sha256": model_sha256(path)}
        with replacing(path.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return record

    def _apply(self, method: Method, model: Any, methods: Sequence[Method]) -> list[dict[str, str]]:
        from generators.models.graph import ModelError

        function = method.load_noise()
        try:
            changes = function(model, self._images.read()) if method.calibrated else function(model)
        except ModelError as error:
            raise _does_not_apply(method, str(error), methods) from None
        if not changes:
            raise _does_not_apply(method, reason(method, model), methods)
        return [{"method": method.token, **change._asdict()} for change in changes]


def _check_noise(model: Path) -> None:
    """Raises DoesNotApplyError for a model whose runtime supports no noise."""
    if why := runtime_of(model).NO_NOISE:
        raise DoesNotApplyError(why)


def _does_not_apply(method: Method, why: str, methods: Sequence[Method]) -> DoesNotApplyError:
    """The error with the reason, which names the method if there are several."""
    return DoesNotApplyError(f"{method.token}: {why}" if len(methods) > 1 else why)


def reason(method: Method, model: Any) -> str:
    """Why a method that changed nothing in a model does not apply to it."""
    from generators.models import pool, precision, upsample

    if method.stage == "pool":
        return pool.reason(model, method.token)
    if method.stage == "upsample":
        return upsample.reason(model)
    return precision.reason(model, method.token) or "it has nothing to round"


def session_config(methods: Sequence[Method]) -> Mapping[str, str]:
    """The session configuration with which ONNX Runtime runs a noised model the same way on every CPU."""
    if not any(method.calibrated for method in methods):
        return {}
    from generators.models.precision import SESSION_CONFIG

    return dict(SESSION_CONFIG)


def nodes_changed(model: Path, methods: Sequence[Method]) -> list[str]:
    """The operators of the nodes that this noise would change in a model; nothing is calibrated or written.

    Raises DoesNotApplyError, and UsageError if the model cannot be read.
    """
    from generators.models import files
    from generators.models.graph import ModelError
    from generators.models.precision import quantised

    _check_noise(model)
    try:
        loaded = files.load(model)
    except ModelError as error:
        raise UsageError(f"{model}: {error}") from None
    found = []
    for method in methods:
        try:
            changes = quantised(loaded, **method.options) if method.calibrated else method.load_noise()(loaded)
        except ModelError as error:
            raise _does_not_apply(method, str(error), methods) from None
        if not changes:
            raise _does_not_apply(method, reason(method, loaded), methods)
        found += [change.operator for change in changes]
    return found
