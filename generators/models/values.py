"""A model's values: their names, constants and element types. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
import onnx_ir as ir

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_ANY_FLOAT = (*FLOATS, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# The types of inputs that number tokens or mark which of them exist.
_INDICES = (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL)
# Operators that depend on a tensor's size, not its values.
SIZES = ("Shape", "Size")


class Names:
    """The names in use for a model's nodes and values, and new ones."""

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str | None] = set()
        for part in model.graphs():
            self._taken.update(value.name for value in (*part.inputs, *part.initializers.values()))
        for node in model.graph.all_nodes():
            self._taken.update((node.name, *(value.name for value in node.outputs)))

    def new(self, wanted: str) -> str:
        """The name wanted, with a number appended if it is taken."""
        name, number = wanted, 1
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs inside a control-flow node."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def tensor_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or a Constant; None for any other value, and for sparse tensors."""
    if value is None:
        return None
    node = value.producer()
    if node is not None and "sparse_value" in node.attributes:
        return None
    return ir.convenience.get_const_tensor(value)


def shape_of(tensor: ir.TensorProtocol) -> ir.Shape:
    """A copy of a tensor's shape for a new tensor."""
    return ir.Shape(tensor.shape.numpy())


def constants(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """The values and tensors of initializers and Constant nodes, in all graphs."""
    for part in model.graphs():
        values = [*part.initializers.values(), *(node.outputs[0] for node in part if node.op_type == "Constant")]
        for value in values:
            if (tensor := tensor_of(value)) is not None:
                yield value, tensor


def positional(model: ir.Model) -> set[ir.Value]:
    """The values that a language model computes from token positions only: masks, positions and their angles.

    These are all values in its main graph that depend only on 32- or 64-bit integer or boolean inputs, and on nothing
    looked up in a table of weights. A model without such a table has none: its integers may be pixels.
    """
    if not is_language(model):
        return set()
    types = element_types(model)
    inputs = {value for value in model.graph.inputs if not value.is_initializer()}
    flowing = {value for value in inputs if types.get(value) not in _INDICES}
    for node in model.graph:
        given = (
            *node.inputs,
            *(value for body in bodies(node) for inner in body.all_nodes() for value in inner.inputs),
        )
        if looks_up(node) or (node.op_type not in SIZES and not flowing.isdisjoint(given)):
            flowing.update(node.outputs)
    return {value for node in model.graph for value in node.outputs}.union(inputs) - flowing


def is_language(model: ir.Model) -> bool:
    """Whether a model takes integers and looks up rows in a table of weights, as language models do."""
    given = [value for value in model.graph.inputs if not value.is_initializer()]
    return any(value.dtype in _INDICES for value in given) and any(map(looks_up, model.graph))


def looks_up(node: ir.Node) -> bool:
    """Whether a node looks up rows of a table of weights by computed indices, as embeddings do."""
    if node.op_type != "Gather" or node.domain or tensor_of(node.inputs[1]) is not None:
        return False
    table = tensor_of(node.inputs[0])
    return table is not None and table.dtype in _ANY_FLOAT and len(table.shape) > 1


def element_types(model: ir.Model) -> dict[ir.Value, ir.DataType]:
    """The element type of each value: as declared, or else by the operator's definition; values without are left out.

    ONNX's own inference does not cover the bodies of control flow.
    """
    found: dict[ir.Value, ir.DataType] = {}

    def visit(part: ir.Graph) -> None:
        for value in (*part.inputs, *part.initializers.values()):
            if value.dtype is not None:
                found[value] = value.dtype
        for node in part:
            for body in bodies(node):
                visit(body)
            for i, value in enumerate(node.outputs):
                dtype = value.dtype or _output_type(node, i, model.opset_imports, found)
                if dtype is not None:
                    found[value] = dtype

    visit(model.graph)
    return found


def _output_type(
    node: ir.Node, index: int, opsets: Mapping[str, int], types: Mapping[ir.Value, ir.DataType]
) -> ir.DataType | None:
    if body := next(bodies(node), None):
        position = index + (node.op_type == "Loop")  # a Loop body's first output is its condition
        return types.get(body.outputs[position]) if position < len(body.outputs) else None
    if node.op_type in ("Constant", "ConstantOfShape"):
        tensor = tensor_of(node.outputs[0]) or node.attributes.get_tensor("value")
        return ir.DataType.FLOAT if tensor is None else tensor.dtype
    for attribute in ("to", "dtype"):
        if attribute in node.attributes:
            return ir.DataType(node.attributes[attribute].as_int())
    return _defined_type(node, index, opsets, types)


def _defined_type(
    node: ir.Node, index: int, opsets: Mapping[str, int], types: Mapping[ir.Value, ir.DataType]
) -> ir.DataType | None:
    """The type of an output that has the type of an input, or only one possible type."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except onnx.defs.SchemaError:
        return None
    formal = schema.outputs[min(index, len(schema.outputs) - 1)].type_str
    for i, value in enumerate(node.inputs):
        if value is not None and schema.inputs[min(i, len(schema.inputs) - 1)].type_str == formal:
            return types.get(value)
    allowed = next((c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == formal), [formal])
    kind = allowed[0].removeprefix("tensor(").removesuffix(")").upper()
    return ir.DataType[kind] if len(allowed) == 1 and kind in ir.DataType.__members__ else None
