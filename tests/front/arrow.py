"""Arrow bodies for tests, and what models make of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gnomon.core.inference import Observation, Status
from gnomon.front import codecs

FILE = b"application/vnd.apache.arrow.file"
STREAM = b"application/vnd.apache.arrow.stream"
ROWS = np.arange(6, dtype="float32").reshape(3, 2)
TENSOR = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 2)


def body_of(table: pa.Table, kind: bytes = STREAM, chunk: int | None = None, **options) -> bytes:
    sink = pa.BufferOutputStream()
    make = pa.ipc.new_file if kind == FILE else pa.ipc.new_stream
    with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return sink.getvalue().to_pybytes()


def read(table: pa.Table, **options):
    return codecs.read(body_of(table, **options), STREAM)


def columns(**arrays):
    return read(pa.table(arrays)).columns


def ok(model, *outputs) -> Observation:
    return Observation(model=model, status=Status.OK, outputs=outputs, elapsed_ns=5)
