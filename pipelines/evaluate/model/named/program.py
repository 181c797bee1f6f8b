"""Exports any PyTorch network to ONNX, with PyTorch's own exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.named.pytorch import BY_NAME, Needs, quietly, required
from pipelines.text import first_line

# The opset that PyTorch's exporter writes without conversion.
OPSET = 18


def write(
    name: str,
    module: Any,
    inputs: Mapping[str, Any],
    output: str,
    free: Sequence[str],
    path: Path,
    needs: Needs = BY_NAME,
) -> None:
    """Write the network called `name` as ONNX; `inputs` are example tensors by the names of its arguments.

    The first dimensions of each, named by `free`, may have any length; in the examples it must be at least 2, since the
    exporter takes a length of 1 for fixed. Raises UsageError if the network cannot be exported, and OSError.
    """
    torch = required("torch", needs)
    required("onnxscript", needs)
    from generators.models import files  # imports onnx

    lengths = {place: torch.export.Dim(dimension) for place, dimension in enumerate(free)}
    try:
        with quietly(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=(lengths,) * len(inputs),
            )
    except Exception as error:  # any, of the exporter, dynamo or the network
        raise UsageError(f"{name} cannot be exported to ONNX ({first_line(error)})") from None
    _forget_origins(program.model)
    files.save(program.model, path)


def _forget_origins(model: Any) -> None:
    """Drop the exporter's notes on where in the code each node comes from: they are long, and name folders."""
    model.metadata_props.clear()
    for part in (model.graph, *model.graph.all_nodes()):
        part.metadata_props.clear()
        part.doc_string = None
        for value in part.outputs:
            value.metadata_props.clear()
