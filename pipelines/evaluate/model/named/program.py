"""Any network of PyTorch's as an ONNX file, by PyTorch's own exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.named.pytorch import BY_NAME, Needs, quietly, required
from pipelines.text import first_line

# What PyTorch's exporter writes of itself, without a converter after it.
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
    """Write a network, called `name`, as ONNX: `inputs` are tensors by the names of its arguments.

    The first dimensions of each, named by `free`, are of any length; those of the tensors must be two or more, since
    the exporter takes a length of one for a fixed one. Raises UsageError where it cannot be exported, and OSError.
    """
    torch = required("torch", needs)
    required("onnxscript", needs)
    from generators.models import files  # which imports onnx

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
    except Exception as error:  # the exporter's, dynamo's and the network's own
        raise UsageError(f"{name} cannot be exported to ONNX ({first_line(error)})") from None
    _forget_origins(program.model)
    files.save(program.model, path)


def _forget_origins(model: Any) -> None:
    """Drop what the exporter notes of where in the code each node is from: it is long, and names folders."""
    model.metadata_props.clear()
    for part in (model.graph, *model.graph.all_nodes()):
        part.metadata_props.clear()
        part.doc_string = None
        for value in part.outputs:
            value.metadata_props.clear()
