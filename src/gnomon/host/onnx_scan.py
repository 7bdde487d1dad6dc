"""A look at an ONNX file's structure, before ONNX Runtime sees the file.

ONNX is protobuf, whose wire format is walked here field by field: nothing is copied, nothing is
executed, depth and counts are bounded. It is a courtesy that gives good messages; the real guard
is the process in which it runs.

Source: onnx/onnx.proto (field numbers); protobuf's "Encoding" page (wire format).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gnomon.core import limits
from gnomon.host.loaded import Refused

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1  # TensorProto.DataLocation

Operator = tuple[str, str]  # domain, op_type


@dataclass(slots=True)
class _Scan:
    nodes: Counter[Operator] = field(default_factory=Counter)
    functions: dict[Operator, Counter[Operator]] = field(default_factory=dict)


def scan(data: memoryview) -> None:
    """Refuse a file that is not ONNX, or asks for what gnomon does not serve.

    Args:
        data: The whole file.

    Raises:
        Refused: not_onnx, external_data_not_allowed, custom_operator or model_too_complex.
    """
    if len(data) >= 8 and bytes(data[4:8]) == b"ORTM":
        raise Refused("not_onnx", "This is an .ort file; export the model as .onnx.")
    found = _Scan()
    has_version = has_graph = False
    for number, wire, value in _fields(data):
        if number == 1 and wire == _VARINT:
            has_version = True
        elif number == 7 and wire == _BYTES:
            has_graph = True
            _graph(_view(value), found.nodes, depth=1)
        elif number == 25 and wire == _BYTES:
            _function(_view(value), found)
        elif number == 20 and wire == _BYTES:  # training_info: graphs too
            for part, part_wire, graph in _fields(_view(value)):
                if part in (1, 2) and part_wire == _BYTES:
                    _graph(_view(graph), found.nodes, depth=1)
    if not (has_version and has_graph):
        raise _not_onnx()
    _check_operators(found)
    _check_size(found)


def _not_onnx() -> Refused:
    return Refused(
        "not_onnx",
        "The file is not an ONNX model. Upload the .onnx file that your training library exports.",
    )


def _view(value: int | memoryview) -> memoryview:
    assert isinstance(value, memoryview)
    return value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _not_onnx()
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (field number, wire type, value) of one message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            size, at = _varint(data, at)
            value = data[at : at + size]
            at += size
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
            value = data[at : at + size]
            at += size
        else:
            raise _not_onnx()
        if number == 0 or at > len(data):
            raise _not_onnx()
        yield number, wire, value


def _text(value: memoryview) -> str:
    return bytes(value[: limits.MODEL_NAME_BYTES_MAX]).decode(errors="replace")


def _graph(data: memoryview, nodes: Counter[Operator], *, depth: int) -> None:
    if depth > limits.MODEL_NESTING_MAX:
        raise Refused(
            "model_too_complex",
            f"The model nests graphs deeper than {limits.MODEL_NESTING_MAX} levels.",
        )
    for number, wire, value in _fields(data):
        if wire != _BYTES:
            continue
        if number == 1:
            _node(_view(value), nodes, depth=depth)
        elif number == 5:
            _tensor(_view(value))
        elif number == 15:
            _sparse_tensor(_view(value))


def _node(data: memoryview, nodes: Counter[Operator], *, depth: int) -> None:
    op_type = domain = ""
    for number, wire, value in _fields(data):
        if wire != _BYTES:
            continue
        if number == 4:
            op_type = _text(_view(value))
        elif number == 7:
            domain = _text(_view(value))
        elif number == 5:
            _attribute(_view(value), nodes, depth=depth)
    nodes[domain, op_type] += 1
    if nodes.total() > limits.MODEL_NODES_MAX:
        raise _too_many_nodes()


def _too_many_nodes() -> Refused:
    return Refused(
        "model_too_complex",
        f"The model has more than {limits.MODEL_NODES_MAX} nodes, functions expanded.",
    )


def _attribute(data: memoryview, nodes: Counter[Operator], *, depth: int) -> None:
    for number, wire, value in _fields(data):
        if wire != _BYTES:
            continue
        if number in (5, 10):
            _tensor(_view(value))
        elif number in (6, 11):
            _graph(_view(value), nodes, depth=depth + 1)
        elif number in (22, 23):
            _sparse_tensor(_view(value))


def _tensor(data: memoryview) -> None:
    for number, wire, value in _fields(data):
        if number == 13 or (number == 14 and wire == _VARINT and value == _EXTERNAL):
            raise Refused(
                "external_data_not_allowed",
                "The model keeps weights in another file (external data). Save it as one file: "
                "onnx.save(model, path, save_as_external_data=False).",
            )


def _sparse_tensor(data: memoryview) -> None:
    for number, wire, value in _fields(data):
        if number in (1, 2) and wire == _BYTES:
            _tensor(_view(value))


def _function(data: memoryview, found: _Scan) -> None:
    name = domain = ""
    nodes: Counter[Operator] = Counter()
    for number, wire, value in _fields(data):
        if wire != _BYTES:
            continue
        if number == 1:
            name = _text(_view(value))
        elif number == 10:
            domain = _text(_view(value))
        elif number == 7:
            _node(_view(value), nodes, depth=1)
    found.functions[domain, name] = nodes
    if len(found.functions) > limits.MODEL_FUNCTIONS_MAX:
        raise Refused(
            "model_too_complex",
            f"The model defines more than {limits.MODEL_FUNCTIONS_MAX} functions.",
        )


def _check_operators(found: _Scan) -> None:
    for nodes in (found.nodes, *found.functions.values()):
        for domain, op_type in nodes:
            if domain not in limits.MODEL_DOMAINS and (domain, op_type) not in found.functions:
                raise Refused(
                    "custom_operator",
                    f"The model uses the operator {op_type!r} of domain {domain!r}; only the "
                    "standard domains ai.onnx and ai.onnx.ml are served. "
                    "Export it without custom operators.",
                )


def _check_size(found: _Scan) -> None:
    """Estimate the node count with functions expanded: 2 kB can describe 10^9 nodes."""
    sizes: dict[Operator, int] = {}
    open_calls: set[Operator] = set()

    def expanded(nodes: Counter[Operator]) -> int:
        return min(
            sum(count * size(operator) for operator, count in nodes.items()),
            limits.MODEL_NODES_MAX + 1,
        )

    def size(operator: Operator) -> int:
        if operator not in found.functions:
            return 1
        if operator in open_calls or len(open_calls) > 200:
            raise Refused("model_too_complex", "The model's functions call themselves.")
        if operator not in sizes:
            open_calls.add(operator)
            sizes[operator] = expanded(found.functions[operator])
            open_calls.discard(operator)
        return sizes[operator]

    if expanded(found.nodes) > limits.MODEL_NODES_MAX:
        raise _too_many_nodes()
