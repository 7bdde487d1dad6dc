"""Bodies of other sizes: many rows, an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
from onnx import TensorProto, helper

from bench.servers import work
from gnomon import samples

Tensor = npt.NDArray[np.float32]
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
IMAGE = (3, 480, 640)
"""float32: 3.7 MB."""


def rows(count: int) -> Tensor:
    """Return rows of the sample data, again and again."""
    held_out, _ = samples.held_out()
    return np.resize(held_out, (count, held_out.shape[1])).astype(np.float32)


def arrow(name: str, tensor: Tensor) -> bytes:
    """Return a tensor, one row for each index of its first axis, as an Arrow stream."""
    column: pa.Array = pa.array(tensor.ravel())
    for size in reversed(tensor.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    batch = pa.record_batch({name: column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def json_tensor(tensor: Tensor) -> bytes:
    """Return rows as `{"tensor": [[...]]}`."""
    return json.dumps({"tensor": tensor.astype(np.float64).tolist()}).encode()


def answers(model: Path, tensor: Tensor) -> bytes:
    """Return the bytes of onnxruntime's own answer, as they stand in an Arrow answer."""
    loaded = work.session(model)
    return bytes(loaded.run(None, {loaded.get_inputs()[0].name: tensor})[0].tobytes())


def image_model() -> bytes:
    """Return a model that takes the mean of each channel: float32 [n, 3, 480, 640] to [n, 3]."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ("n", *IMAGE))
    means = helper.make_tensor_value_info("means", TensorProto.FLOAT, ("n", IMAGE[0]))
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
    ]
    graph = helper.make_graph(nodes, "means", [image], [means])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 9
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())
