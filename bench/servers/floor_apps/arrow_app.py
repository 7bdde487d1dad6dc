"""The least that serves the model over HTTP with uvicorn, Arrow in and out."""

import os

import numpy as np
import onnxruntime
import pyarrow as pa

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
)
INPUT = session.get_inputs()[0]
HEADERS = [(b"content-type", b"application/vnd.apache.arrow.stream")]


def tensor(body):
    """Return the only column of a stream, in the model's shape."""
    batch = pa.ipc.open_stream(body).read_next_batch()
    batch.validate(full=True)
    column = batch.column(0)
    while pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    return column.to_numpy().reshape(batch.num_rows, *INPUT.shape[1:])


def encoded(rows):
    """Return rows as a stream."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(rows)), rows.shape[1])
    batch = pa.record_batch({"out": values})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


async def app(scope, receive, send):
    """Answer a stream with a stream."""
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    answer = encoded(session.run(None, {INPUT.name: tensor(b"".join(parts))})[0])
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": answer})
