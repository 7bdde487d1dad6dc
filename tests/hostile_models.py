"""Model files that a server meets sooner or later: broken, greedy, endless, crashing. Made here.

Each function returns the bytes of one file.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
OPSET = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]


def value(name: str, dtype: int = FLOAT, shape: tuple[object, ...] = ("n", 2)):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, *, initializers=(), opset=OPSET, functions=()) -> bytes:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    made = helper.make_model(graph, opset_imports=opset, functions=list(functions))
    made.ir_version = 9
    return made.SerializeToString()


def doubling(input_name: str = "x", output_name: str = "y", factor: float = 2.0) -> bytes:
    """A good one: y = factor * x, float32 [n, 2]."""
    by = numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor")
    node = helper.make_node("Mul", [input_name, "factor"], [output_name])
    return model([node], [value(input_name)], [value(output_name)], initializers=[by])


def external_data() -> bytes:
    """Its weights are said to lie in /etc/passwd."""
    weights = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", "../../../../etc/passwd"), ("offset", "0"), ("length", "8")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, text
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return model([node], [value("x")], [value("y")], initializers=[weights])


def custom_operator() -> bytes:
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")
    return model(
        [node], [value("x")], [value("y")], opset=[*OPSET, helper.make_opsetid("com.example", 1)]
    )


def unknown_operator() -> bytes:
    return model([helper.make_node("Frobnicate", ["x"], ["y"])], [value("x")], [value("y")])


def future_opset() -> bytes:
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], [value("x")], [value("y")], opset=[helper.make_opsetid("", 9999)])


def cycle() -> bytes:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    return model(nodes, [value("x")], [value("b")])


def function_bomb(levels: int = 30) -> bytes:
    """2^levels nodes in about 2 kB: each function calls the one below it twice."""
    functions = []
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    for level in range(levels):
        callee, domain = ("Neg", "") if level == 0 else (f"f{level - 1}", "local")
        nodes = [
            helper.make_node(callee, ["a"], ["b"], domain=domain),
            helper.make_node(callee, ["b"], ["c"], domain=domain),
        ]
        functions.append(helper.make_function("local", f"f{level}", ["a"], ["c"], nodes, opset))
    node = helper.make_node(f"f{levels - 1}", ["x"], ["y"], domain="local")
    return model(
        [node],
        [value("x")],
        [value("y")],
        opset=[*OPSET, helper.make_opsetid("local", 1)],
        functions=functions,
    )


def endless_function() -> bytes:
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    nodes = [helper.make_node("f", ["a"], ["b"], domain="local")]
    function = helper.make_function("local", "f", ["a"], ["b"], nodes, opset)
    return model(
        [helper.make_node("f", ["x"], ["y"], domain="local")],
        [value("x")],
        [value("y")],
        opset=[*OPSET, helper.make_opsetid("local", 1)],
        functions=[function],
    )


def deep_nesting(levels: int = 25) -> bytes:
    """`If` in `If` in `If`."""
    condition = numpy_helper.from_array(np.array(True), "condition")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["o0"])], "g0", [], [value("o0")]
    )
    for level in range(1, levels):
        node = (
            helper.make_node(
                "If", ["condition"], [f"o{level}"], then_branch=graph, else_branch=graph
            )
            if level < 4
            else helper.make_node(
                "Loop", ["one", "condition"], [f"o{level}"], body=_once(graph, level)
            )
        )
        graph = helper.make_graph([node], f"g{level}", [], [value(f"o{level}")])
    one = numpy_helper.from_array(np.array(1, dtype=np.int64), "one")
    last = helper.make_node("If", ["condition"], ["y"], then_branch=graph, else_branch=graph)
    return model([last], [value("x")], [value("y")], initializers=[condition, one])


def _once(graph, level: int):
    return helper.make_graph(
        [
            helper.make_node("Identity", [f"c{level}"], [f"d{level}"]),
            *graph.node,
        ],
        f"body{level}",
        [value(f"i{level}", INT64, ()), value(f"c{level}", BOOL, ())],
        [value(f"d{level}", BOOL, ()), *graph.output],
    )


def endless_loop(*, on_input: bool = False, rows: object = "n") -> bytes:
    """Never ends a run; with `on_input`, only where a value of x is above 100."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["v"], ["w"]),
        ],
        "body",
        [value("i", INT64, ()), value("go", BOOL, ()), value("v", FLOAT, ("n", 2))],
        [value("go_on", BOOL, ()), value("w", FLOAT, ("n", 2))],
    )
    nodes, initializers = [], []
    if on_input:
        initializers = [
            numpy_helper.from_array(np.array(100.0, dtype=np.float32), "limit"),
        ]
        nodes = [
            helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
            helper.make_node("Greater", ["most", "limit"], ["start"]),
        ]
    else:
        initializers = [numpy_helper.from_array(np.array(True), "start")]
    nodes.append(helper.make_node("Loop", ["", "start", "x"], ["y"], body=body))
    shape = (rows, 2)
    return model(
        nodes,
        [value("x", shape=shape)],
        [value("y", shape=shape)],
        initializers=initializers,
    )


def memory_bomb(elements: int = 4_000_000_000) -> bytes:
    """A file of some hundred bytes that wants 16 GB in one node."""
    shape = numpy_helper.from_array(np.array([elements], dtype=np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "total"], ["y"]),
    ]
    return model(nodes, [value("x")], [value("y")], initializers=[shape])


def memory_bomb_on_input() -> bytes:
    """Wants as many values as x says: harmless on zeros."""
    axes = numpy_helper.from_array(np.array([0, 1], dtype=np.int64), "axes")
    nodes = [
        helper.make_node("ReduceMax", ["x", "axes"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["many"], to=INT64),
        helper.make_node("Unsqueeze", ["many", "zero"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "total"], ["y"]),
    ]
    zero = numpy_helper.from_array(np.array([0], dtype=np.int64), "zero")
    return model(nodes, [value("x")], [value("y")], initializers=[axes, zero])


def one_long_node() -> bytes:
    """Multiplies two matrices as wide as the most of x says: a stop is not heard meanwhile."""
    axes = numpy_helper.from_array(np.array([0, 1], dtype=np.int64), "axes")
    twice = numpy_helper.from_array(np.array([2], dtype=np.int64), "twice")
    nodes = [
        helper.make_node("ReduceMax", ["x", "axes"], ["most"], keepdims=1),
        helper.make_node("Cast", ["most"], ["width"], to=INT64),
        helper.make_node("Reshape", ["width", "one"], ["flat"]),
        helper.make_node("Tile", ["flat", "twice"], ["square"]),
        helper.make_node("Expand", ["most", "square"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
        helper.make_node("ReduceMean", ["product", "axes"], ["mean"], keepdims=1),
        helper.make_node("Add", ["x", "mean"], ["y"]),
    ]
    one = numpy_helper.from_array(np.array([1], dtype=np.int64), "one")
    return model(nodes, [value("x")], [value("y")], initializers=[axes, one, twice])


def crashes_on_input() -> bytes:
    """y = x / d on int64: -2^63 / -1 is a SIGFPE in the processor."""
    node = helper.make_node("Div", ["x", "d"], ["y"])
    shape = ("n", 2)
    return model(
        [node], [value("x", INT64, shape), value("d", INT64, shape)], [value("y", INT64, shape)]
    )


def crashes_on_zeros() -> bytes:
    """The same with constants: the run on zeros kills its process."""
    low = numpy_helper.from_array(np.array([-(2**63)], dtype=np.int64), "low")
    minus = numpy_helper.from_array(np.array([-1], dtype=np.int64), "minus")
    nodes = [
        helper.make_node("Add", ["x", "low"], ["a"]),
        helper.make_node("Div", ["a", "minus"], ["y"]),
    ]
    return model(nodes, [value("x", INT64)], [value("y", INT64)], initializers=[low, minus])


def errors_on_input() -> bytes:
    """Gathers row x of a table of three: a clean error for x above 2."""
    table = numpy_helper.from_array(np.arange(3, dtype=np.float32), "table")
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    return model([node], [value("x", INT64)], [value("y")], initializers=[table])


def mixes_rows(operator: str = "mean") -> bytes:
    """A first axis left open, and rows that are not independent of each other."""
    axis = numpy_helper.from_array(np.array(0, dtype=np.int64), "axis")
    axes = numpy_helper.from_array(np.array([0], dtype=np.int64), "axes")
    if operator == "mean":
        nodes = [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ]
    else:
        nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    return model(nodes, [value("x")], [value("y")], initializers=[axis, axes])


def hostile_names() -> bytes:
    node = helper.make_node("Identity", ["<script>alert(1)</script>"], ["../../etc\x00\n"])
    return model([node], [value("<script>alert(1)</script>")], [value("../../etc\x00\n")])


def script_name() -> bytes:
    """Its names are printable, and only that."""
    name = "<script>alert(1)</script>"
    return model(
        [helper.make_node("Identity", [name], ["<b>y</b>"])], [value(name)], [value("<b>y</b>")]
    )


def no_outputs() -> bytes:
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "graph", [value("x")], [])
    made = helper.make_model(graph, opset_imports=OPSET)
    made.ir_version = 9
    return made.SerializeToString()


def many_outputs(count: int = 65) -> bytes:
    names = [f"y{number}" for number in range(count)]
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in names]
    return model(nodes, [value("x")], [value(name) for name in names])


def as_large_as_asked() -> bytes:
    """Gives ones [n, n], where n is the first value of x."""
    one = numpy_helper.from_array(np.array([1], dtype=np.int64), "one")
    zero = numpy_helper.from_array(np.array(0, dtype=np.int64), "zero")
    twice = numpy_helper.from_array(np.array([2], dtype=np.int64), "twice")
    nodes = [
        helper.make_node("Reshape", ["x", "all"], ["flat"]),
        helper.make_node("Gather", ["flat", "zero"], ["first"]),
        helper.make_node("Cast", ["first"], ["n"], to=INT64),
        helper.make_node("Reshape", ["n", "one"], ["size"]),
        helper.make_node("Tile", ["size", "twice"], ["shape"]),
        helper.make_node("Expand", ["ones", "shape"], ["y"]),
    ]
    all_ = numpy_helper.from_array(np.array([-1], dtype=np.int64), "all")
    ones = numpy_helper.from_array(np.array(1, dtype=np.float32), "ones")
    outputs = [value("y", shape=("m", "m"))]
    return model(nodes, [value("x")], outputs, initializers=[one, zero, twice, all_, ones])


def sequence_output() -> bytes:
    """What a classifier with a ZipMap gives: not a tensor."""
    node = helper.make_node("SequenceConstruct", ["x", "x"], ["y"])
    output = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    return model([node], [value("x")], [output])


def huge_dimensions() -> bytes:
    weights = TensorProto(name="w", data_type=FLOAT, dims=[2**40, 2**20])
    weights.raw_data = b"\0" * 8
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return model([node], [value("x")], [value("y")], initializers=[weights])


def deep_tree(depth: int) -> bytes:
    """A decision tree that is one long chain."""
    # Node 2i is the i-th branch, node 2i + 1 its leaf, node 2 * depth the last leaf.
    count = 2 * depth + 1
    branches = [i % 2 == 0 and i < count - 1 for i in range(count)]
    leaves = [i for i in range(count) if not branches[i]]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0] * count,
        nodes_nodeids=list(range(count)),
        nodes_featureids=[0] * count,
        nodes_values=[float(i) for i in range(count)],
        nodes_modes=["BRANCH_LEQ" if branch else "LEAF" for branch in branches],
        nodes_truenodeids=[i + 1 if branch else 0 for i, branch in enumerate(branches)],
        nodes_falsenodeids=[i + 2 if branch else 0 for i, branch in enumerate(branches)],
        target_treeids=[0] * len(leaves),
        target_nodeids=leaves,
        target_ids=[0] * len(leaves),
        target_weights=[1.0] * len(leaves),
    )
    return model([node], [value("x")], [value("y", FLOAT, ("n", 1))])


NOT_ONNX = {
    "empty": b"",
    "random": np.random.default_rng(7).bytes(4_096),
    "text": b"hello, world\n" * 20,
    "html": b"<!doctype html><title>404</title>",
    "zip": b"PK\x03\x04" + bytes(200),
    "pickled": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
    "ort": b"\x18\x00\x00\x00ORTM" + bytes(100),
    "truncated": doubling()[:-20],
}

assert onnx.__version__
