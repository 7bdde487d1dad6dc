"""The least that serves the model over HTTP with uvicorn."""

import os

import numpy as np
import onnxruntime
import orjson

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
)
NAME = session.get_inputs()[0].name


async def app(scope, receive, send):
    """Answer `{"tensor": rows}` with `{"outputs": rows}`."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    rows = np.array(orjson.loads(body)["tensor"], dtype=np.float32)
    answer = orjson.dumps({"outputs": session.run(None, {NAME: rows})[0].tolist()})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
