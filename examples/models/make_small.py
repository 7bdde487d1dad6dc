"""Make the two small models that the examples of chains, and of several inputs, need.

    decision.onnx  after a model that gives a score: whether it is flagged, and points
    amount.onnx    two inputs, two outputs: what an order costs, and whether that is much

They are arithmetic that would otherwise be code around a server, written as ONNX by hand. Run it
with the development dependencies installed; it writes the same bytes each time:

    python examples/models/make_small.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

FOLDER = Path(__file__).resolve().parent
THRESHOLD, POINTS, MUCH = 0.3, 1_000.0, 100.0


def decision() -> ModelProto:
    """Return the model that decides: `score` float32 [n, 1] -> `flagged` bool, `points` float32."""
    nodes = [
        helper.make_node("GreaterOrEqual", ["score", "threshold"], ["flagged"]),
        helper.make_node("Mul", ["score", "scale"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["points"]),
    ]
    outputs = [_column("flagged", TensorProto.BOOL), _column("points", TensorProto.FLOAT)]
    return _model(nodes, [_column("score", TensorProto.FLOAT)], outputs, threshold=THRESHOLD,
                  scale=POINTS)  # fmt: skip


def amount() -> ModelProto:
    """Return the model of an order: `price` float32, `pieces` int64 -> `total`, `much` bool."""
    nodes = [
        helper.make_node("Cast", ["pieces"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["price", "count"], ["total"]),
        helper.make_node("Greater", ["total", "limit"], ["much"]),
    ]
    inputs = [_column("price", TensorProto.FLOAT), _column("pieces", TensorProto.INT64)]
    outputs = [_column("total", TensorProto.FLOAT), _column("much", TensorProto.BOOL)]
    return _model(nodes, inputs, outputs, limit=MUCH)


def _column(name: str, kind: int) -> ValueInfoProto:
    """Return a tensor of one value a row, of any number of rows."""
    return helper.make_tensor_value_info(name, kind, ["n", 1])


def _model(
    nodes: list, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto], **constants: float
) -> ModelProto:
    weights = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write both files."""
    for name, model in (("decision", decision()), ("amount", amount())):
        (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
