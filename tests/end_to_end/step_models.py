"""Small models for pipelines of several steps, and what ONNX Runtime itself says to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

import gnomon
from tests.hostile_models import model, value

FLOAT = TensorProto.FLOAT


def layer(seed: int, given: int, taken: int, *, takes: str = "x", gives: str = "y") -> bytes:
    """A dense layer with tanh: float32 [n, given] -> [n, taken], weights drawn with `seed`."""
    drawn = np.random.default_rng(seed)
    weights = numpy_helper.from_array(drawn.normal(size=(given, taken)).astype(np.float32), "w")
    bias = numpy_helper.from_array(drawn.normal(size=taken).astype(np.float32), "b")
    nodes = [
        helper.make_node("Gemm", [takes, "w", "b"], ["sum"]),
        helper.make_node("Tanh", ["sum"], [gives]),
    ]
    inputs, outputs = [value(takes, shape=("n", given))], [value(gives, shape=("n", taken))]
    return model(nodes, inputs, outputs, initializers=[weights, bias])


def apart() -> bytes:
    """Two outputs: `low` and `high`, the smallest and the largest of a row. `x` [n, 3]."""
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    nodes = [
        helper.make_node("ReduceMin", ["x", "axis"], ["low"], keepdims=1),
        helper.make_node("ReduceMax", ["x", "axis"], ["high"], keepdims=1),
    ]
    outputs = [value("low", shape=("n", 1)), value("high", shape=("n", 1))]
    return model(nodes, [value("x", shape=("n", 3))], outputs, initializers=[axis])


def together() -> bytes:
    """Two inputs, and two outputs of other types: `span` float32, and `wide` bool."""
    limit = numpy_helper.from_array(np.array(1.0, dtype=np.float32), "limit")
    nodes = [
        helper.make_node("Sub", ["high", "low"], ["span"]),
        helper.make_node("Greater", ["span", "limit"], ["wide"]),
    ]
    inputs = [value("high", shape=("n", 1)), value("low", shape=("n", 1))]
    outputs = [value("span", shape=("n", 1)), value("wide", TensorProto.BOOL, ("n", 1))]
    return model(nodes, inputs, outputs, initializers=[limit])


def told(content: bytes, *inputs: npt.NDArray) -> list[npt.NDArray]:
    """Return what ONNX Runtime gives for a model's inputs, each row run by itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in session.get_inputs()]
    rows = [
        session.run(None, dict(zip(names, (array[at : at + 1] for array in inputs), strict=True)))
        for at in range(len(inputs[0]))
    ]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


class Studio:
    """Uploads models to a workspace of its own, and builds pipelines of them."""

    def __init__(self, client: gnomon.Client, directory: Path, workspace: str) -> None:
        self.client = client
        self.directory = directory
        client.set_current_workspace(client.get_workspace(workspace, create_if_not_exist=True))

    def upload(
        self, name: str, content: bytes, tensor_fields: Sequence[str] | None = None
    ) -> gnomon.Model:
        """Upload a model's next version."""
        file = self.directory / f"{name}.onnx"
        file.write_bytes(content)
        uploaded = self.client.upload_model(name, file)
        return uploaded if tensor_fields is None else uploaded.configure(
            tensor_fields=list(tensor_fields)
        )  # fmt: skip

    def pipeline(self, name: str) -> gnomon.Pipeline:
        """Return a new pipeline, without steps."""
        return self.client.build_pipeline(name)


def column(frame, name: str) -> npt.NDArray:
    """Return a column of a frame's lists as an array [rows, ...]."""
    return np.array(frame[name].tolist())
