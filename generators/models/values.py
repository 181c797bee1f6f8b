"""What flows through a model: the names that are taken, the constants, the element types. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
import onnx_ir as ir

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_ANY_FLOAT = (*FLOATS, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# What inputs that number tokens, or say which there are, consist of.
_INDICES = (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL)
# What tells of a tensor's size and not of its values.
_SIZES = ("Shape", "Size")


class Names:
    """The names of a model's nodes and values, and new ones."""

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str | None] = set()
        for part in model.graphs():
            self._taken.update(value.name for value in (*part.inputs, *part.initializers.values()))
        for node in model.graph.all_nodes():
            self._taken.update((node.name, *(value.name for value in node.outputs)))

    def new(self, wanted: str) -> str:
        """The name wanted, with a number behind it where it is taken."""
        name, number = wanted, 1
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs inside a node of control flow."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def tensor_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant; None for any other value, and for sparse ones."""
    if value is None:
        return None
    node = value.producer()
    if node is not None and "sparse_value" in node.attributes:
        return None
    return ir.convenience.get_const_tensor(value)


def shape_of(tensor: ir.TensorProtocol) -> ir.Shape:
    """A tensor's shape as one that a new tensor can have."""
    return ir.Shape(tensor.shape.numpy())


def constants(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Initializers and what Constant nodes put out, in all graphs."""
    for part in model.graphs():
        values = [*part.initializers.values(), *(node.outputs[0] for node in part if node.op_type == "Constant")]
        for value in values:
            if (tensor := tensor_of(value)) is not None:
                yield value, tensor


def positional(model: ir.Model) -> set[ir.Value]:
    """What a language model computes of where its tokens stand: masks, positions and their angles.

    That is all in its main graph that hangs on inputs of 32 or 64 bits or truth values alone, and on nothing that was
    looked up in a table of weights. A model without such a table has none: its whole numbers may be pixels.
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
        if looks_up(node) or (node.op_type not in _SIZES and not flowing.isdisjoint(given)):
            flowing.update(node.outputs)
    return {value for node in model.graph for value in node.outputs}.union(inputs) - flowing


def is_language(model: ir.Model) -> bool:
    """Whether a model is of language: it is given whole numbers, and looks rows up in a table of weights."""
    given = [value for value in model.graph.inputs if not value.is_initializer()]
    return any(value.dtype in _INDICES for value in given) and any(map(looks_up, model.graph))


def looks_up(node: ir.Node) -> bool:
    """Whether a node takes rows from a table of weights by numbers that are no constants, as embeddings are."""
    if node.op_type != "Gather" or node.domain or tensor_of(node.inputs[1]) is not None:
        return False
    table = tensor_of(node.inputs[0])
    return table is not None and table.dtype in _ANY_FLOAT and len(table.shape) > 1


def element_types(model: ir.Model) -> dict[ir.Value, ir.DataType]:
    """The element type of each value that has one: as declared, else as the operator's definition says.

    ONNX's own inference says nothing of what is inside the bodies of control flow.
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
        position = index + (node.op_type == "Loop")  # whose body puts out first whether to go on
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
    """The type of an output that is that of an input, or the same whatever the inputs."""
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
