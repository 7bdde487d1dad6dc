"""Models of five kinds that read one table, and what ONNX Runtime itself says to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from tests.hostile_models import model, value

FLOAT, DOUBLE, HALF = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16
INT64, UINT8, BOOL, STRING = (
    TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL, TensorProto.STRING,
)  # fmt: skip

INPUTS = {
    "x": value("x", FLOAT, ("n", 3)),
    "a": value("a", DOUBLE, ("n", 2)),
    "k": value("k", INT64, ("n", 1)),
    "word": value("word", STRING, ("n", 1)),
    "flag": value("flag", BOOL, ("n", 2)),
}
WORDS = ["", "a", "=1+1", "Grüße, 世界 \u0000 🜚", "'quoted'\r\n", "a"]
EDGES = {
    "x": [np.nan, np.inf, -np.inf, -0.0, np.float32(1e-45), np.finfo(np.float32).max],
    "a": [np.nan, np.inf, -1.0, -0.0, 5e-324, np.finfo(np.float64).max],
    "k": [2**63 - 1, -(2**63), 2**53 + 1, 0, -1, 1],
}


def everything(step: int = 1, *, sums: int = INT64) -> bytes:
    """All inputs, and an output of each type: `half`, `root`, `next` (= k + step), `said`, `other`.

    Args:
        step: Makes another version of it.
        sums: The type of `next`.
    """
    half = numpy_helper.from_array(np.array(0.5, np.float32), "by")
    one = numpy_helper.from_array(np.array(step, np.int64), "one")
    nodes = [
        helper.make_node("Mul", ["x", "by"], ["half"]),
        helper.make_node("Sqrt", ["a"], ["root"]),
        helper.make_node("Add", ["k", "one"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["next"], to=sums),
        helper.make_node("Identity", ["word"], ["said"]),
        helper.make_node("Not", ["flag"], ["other"]),
    ]
    outputs = [
        value("half", FLOAT, ("n", 3)),
        value("root", DOUBLE, ("n", 2)),
        value("next", sums, ("n", 1)),
        value("said", STRING, ("n", 1)),
        value("other", BOOL, ("n", 2)),
    ]
    return model(nodes, list(INPUTS.values()), outputs, initializers=[half, one])


def floats() -> bytes:
    """`x` -> `low` [n, 1] and, as half floats, `near` [n, 3]."""
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    nodes = [
        helper.make_node("ReduceMin", ["x", "axis"], ["low"], keepdims=1),
        helper.make_node("Cast", ["x"], ["near"], to=HALF),
    ]
    outputs = [value("low", FLOAT, ("n", 1)), value("near", HALF, ("n", 3))]
    return model(nodes, [INPUTS["x"]], outputs, initializers=[axis])


def doubles() -> bytes:
    """`a` -> `negated`, nested: [n, 2, 1]."""
    axis = numpy_helper.from_array(np.array([2], np.int64), "axis")
    nodes = [
        helper.make_node("Neg", ["a"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "axis"], ["negated"]),
    ]
    return model(nodes, [INPUTS["a"]], [value("negated", DOUBLE, ("n", 2, 1))], initializers=[axis])


def integers() -> bytes:
    """`k` and `flag` -> `twice` and `above`."""
    zero = numpy_helper.from_array(np.array(0, np.int64), "zero")
    nodes = [
        helper.make_node("Add", ["k", "k"], ["twice"]),
        helper.make_node("Greater", ["k", "zero"], ["positive"]),
        helper.make_node("And", ["positive", "flag"], ["above"]),
    ]
    outputs = [value("twice", INT64, ("n", 1)), value("above", BOOL, ("n", 2))]
    return model(nodes, [INPUTS["k"], INPUTS["flag"]], outputs, initializers=[zero])


def words() -> bytes:
    """`word` -> `code`, and `name`: of some words another one."""
    known = ["a", "=1+1"]
    nodes = [
        helper.make_node(
            "LabelEncoder", ["word"], ["code"], domain="ai.onnx.ml",
            keys_strings=known, values_int64s=[1, 2], default_int64=-7,
        ),
        helper.make_node(
            "LabelEncoder", ["word"], ["name"], domain="ai.onnx.ml",
            keys_strings=known, values_strings=["eins", "@zwei"], default_string="",
        ),
    ]  # fmt: skip
    outputs = [value("code", INT64, ("n", 1)), value("name", STRING, ("n", 1))]
    return model(nodes, [INPUTS["word"]], outputs)


def flags() -> bytes:
    """`flag` -> `bits`, as bytes without a sign."""
    node = helper.make_node("Cast", ["flag"], ["bits"], to=UINT8)
    return model([node], [INPUTS["flag"]], [value("bits", UINT8, ("n", 2))])


def rows(seed: int, count: int) -> dict[str, npt.NDArray]:
    """Rows for all of them, among which are values that are easily spoilt."""
    drawn = np.random.default_rng(seed)

    def edged(name: str, array: npt.NDArray) -> npt.NDArray:
        where = drawn.random(array.shape) < 0.3
        array[where] = drawn.choice(np.array(EDGES[name], array.dtype), int(where.sum()))
        return array

    return {
        "x": edged("x", drawn.normal(size=(count, 3)).astype(np.float32)),
        "a": edged("a", drawn.normal(size=(count, 2))),
        "k": edged("k", drawn.integers(-(2**62), 2**62, (count, 1))),
        "word": drawn.choice(np.array(WORDS, dtype=object), (count, 1)),
        "flag": drawn.random((count, 2)) < 0.5,
    }


def told(content: bytes, given: dict[str, npt.NDArray]) -> dict[str, npt.NDArray]:
    """Return what ONNX Runtime gives for rows, by name of the output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    wanted = {spec.name: given[spec.name] for spec in session.get_inputs()}
    names = [spec.name for spec in session.get_outputs()]
    return dict(zip(names, session.run(None, wanted), strict=True))
