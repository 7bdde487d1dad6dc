"""Challengers that misbehave on one row only, so that uploading and warming them up goes well.

Each function takes that row, float32 [1, width], and returns the bytes of an ONNX file: float32
[n, width] to float32 [n, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.servers import work

Row = npt.NDArray[np.float32]

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
SLOWER = 100
_NEAR = 1e-6
_WIDTH = 64
_TOUCHED_FLOATS = 150_000_000  # 600 MB: fits into a host, and every page is written
_REFUSED_FLOATS = 4_000_000_000  # 16 GB: fits into no host
_TIMED_RUNS = 300


def _constant(name: str, values: npt.ArrayLike, dtype: npt.DTypeLike) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def _value(name: str, dtype: int, shape: Sequence[str | int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _hit(row: Row) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return nodes and constants that say where the row is.

    They give `hit`, int64 [n, 1], 1 at the row, else 0; `any_hit`, a scalar, and `shape_of_hits`,
    int64 [1], 1 if it is there at all; `distance`, float32 [n, 1], of each row from it.
    """
    nodes = [
        helper.make_node("Sub", ["x", "row"], ["apart"]),
        helper.make_node("Abs", ["apart"], ["distances"]),
        helper.make_node("ReduceMax", ["distances", "second"], ["distance"], keepdims=1),
        helper.make_node("Less", ["distance", "near"], ["same"]),
        helper.make_node("Cast", ["same"], ["hit"], to=INT64),
        helper.make_node("ReduceMax", ["hit", "both"], ["any_hit"], keepdims=0),
        helper.make_node("Unsqueeze", ["any_hit", "first"], ["shape_of_hits"]),
    ]
    constants = [
        _constant("row", row, np.float32),
        _constant("near", _NEAR, np.float32),
        _constant("first", [0], np.int64),
        _constant("second", [1], np.int64),
        _constant("both", [0, 1], np.int64),
    ]
    return nodes, constants


def _model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], width: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [_value("x", FLOAT, ("n", width))],
        [_value("y", FLOAT, ("n", 1))],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 9
    return bytes(made.SerializeToString())


def _after_hit(row: Row, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    first, known = _hit(row)
    return _model([*first, *nodes], [*known, *constants], row.shape[1])


def erring(row: Row) -> bytes:
    """Look up an entry that its table does not have: an error that ONNX Runtime reports."""
    nodes = [
        helper.make_node("Mul", ["hit", "beyond"], ["index"]),
        helper.make_node("Gather", ["table", "index"], ["y"]),
    ]
    constants = [_constant("beyond", 99, np.int64), _constant("table", [0.5], np.float32)]
    return _after_hit(row, nodes, constants)


def crashing(row: Row) -> bytes:
    """Divide -2^63 by -1: a trap of x86 processors, which ends the process."""
    nodes = [
        helper.make_node("Mul", ["hit", "two"], ["twice"]),
        helper.make_node("Sub", ["one", "twice"], ["divisor"]),
        helper.make_node("Div", ["lowest", "divisor"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["y"], to=FLOAT),
    ]
    numbers = {"one": 1, "two": 2, "lowest": -(2**63)}
    constants = [_constant(name, number, np.int64) for name, number in numbers.items()]
    return _after_hit(row, nodes, constants)


def hanging(row: Row) -> bytes:
    """Go round in a loop for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["v"], ["w"]),
        ],
        "body",
        [_value("i", INT64, ()), _value("go", BOOL, ()), _value("v", FLOAT, ("n", 1))],
        [_value("go_on", BOOL, ()), _value("w", FLOAT, ("n", 1))],
    )
    nodes = [
        helper.make_node("Cast", ["any_hit"], ["start"], to=BOOL),
        helper.make_node("Loop", ["", "start", "distance"], ["y"], body=body),
    ]
    return _after_hit(row, nodes, [])


def eating(row: Row) -> bytes:
    """Fill 600 MB, then want 16 GB more."""
    nodes = [
        helper.make_node("Mul", ["shape_of_hits", "some"], ["some_shape"]),
        helper.make_node("ConstantOfShape", ["some_shape"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["nothing"], keepdims=0),
        helper.make_node("Cast", ["nothing"], ["whole_nothing"], to=INT64),
        helper.make_node("Mul", ["shape_of_hits", "many"], ["more"]),
        helper.make_node("Add", ["more", "whole_nothing"], ["more_shape"]),
        helper.make_node("ConstantOfShape", ["more_shape"], ["refused"]),
        helper.make_node("ReduceSum", ["refused"], ["total"], keepdims=0),
        helper.make_node("Add", ["distance", "total"], ["y"]),
    ]
    constants = [
        _constant("some", _TOUCHED_FLOATS, np.int64),
        _constant("many", _REFUSED_FLOATS, np.int64),
    ]
    return _after_hit(row, nodes, constants)


def looping(row: Row, rounds: int) -> bytes:
    """Multiply by a matrix `rounds` times, on any row."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["v", "matrix"], ["w"]),
        ],
        "body",
        [_value("i", INT64, ()), _value("go", BOOL, ()), _value("v", FLOAT, ("n", _WIDTH))],
        [_value("go_on", BOOL, ()), _value("w", FLOAT, ("n", _WIDTH))],
    )
    width = row.shape[1]
    nodes = [
        helper.make_node("MatMul", ["x", "widen"], ["start"]),
        helper.make_node("Loop", ["rounds", "", "start"], ["end"], body=body),
        helper.make_node("MatMul", ["end", "narrow"], ["y"]),
    ]
    constants = [
        _constant("rounds", rounds, np.int64),
        _constant("matrix", np.eye(_WIDTH), np.float32),
        _constant("widen", np.eye(width, _WIDTH), np.float32),
        _constant("narrow", np.full((_WIDTH, 1), 1 / _WIDTH), np.float32),
    ]
    return _model(nodes, constants, width)


def slow(row: Row, champion: Path, scratch: Path) -> bytes:
    """Take about `SLOWER` times as long as the champion does for the row."""
    goal_s = SLOWER * run_s(champion, row)
    few, many = 10, 1_010
    times_s = []
    for rounds in (few, many):
        path = scratch / "slow.onnx"
        path.write_bytes(looping(row, rounds))
        times_s.append(run_s(path, row))
    round_s = (times_s[1] - times_s[0]) / (many - few)
    return looping(row, max(few, round((goal_s - times_s[0]) / round_s) + few))


def run_s(model: Path, row: Row) -> float:
    """Return the seconds that ONNX Runtime takes for the row: the median of some runs."""
    session = work.session(model)
    feed = {session.get_inputs()[0].name: row}
    times_s = []
    for _ in range(_TIMED_RUNS):
        start = perf_counter()
        session.run(None, feed)
        times_s.append(perf_counter() - start)
    return float(np.median(times_s))
