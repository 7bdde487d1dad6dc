"""What travels between the SDK and a gnomon server, as the stand-ins for one write and read it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

TOKEN = "gno_test-token"
FRONT = "/v1/api/pipelines/infer/"

_TENSOR = pa.struct(
    [
        ("name", pa.string()),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("data", pa.binary()),
    ]
)
_MODEL = pa.struct(
    [
        ("label", pa.string()),
        ("role", pa.string()),
        ("name", pa.string()),
        ("ordinal", pa.int64()),
        ("version", pa.string()),
        ("sha", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("elapsed_ns", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("outputs", pa.list_(_TENSOR)),
    ]
)
LOG_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("pipeline", pa.string()),
        ("pipeline_version", pa.string()),
        ("rows", pa.int64()),
        ("inputs", pa.list_(_TENSOR)),
        ("anomalies", pa.list_(_TENSOR)),
        ("models", pa.list_(_MODEL)),
    ]
)


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to answer; `document` is sent as JSON unless it is bytes."""

    status: int
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        if isinstance(self.document, bytes):
            return self.document
        return json.dumps(self.document).encode()


def problem(status: int, code: str, detail: str, **details: Any) -> Answer:
    """An error of the control plane."""
    document = {
        "type": "about:blank",
        "title": code,
        "status": status,
        "detail": detail,
        "error_code": code,
        "request_id": "request-1",
        "details": details,
    }
    return Answer(status, document, {"Content-Type": "application/problem+json"})


def refusal(status: int, code: str, text: str) -> Answer:
    """An error of a front."""
    return Answer(
        status,
        {
            "error": text,
            "code": status,
            "status": "error",
            "source": "gnomon",
            "error_code": code,
            "request_id": "request-1",
        },
    )


def tensor(name: str, array: Any) -> dict[str, Any]:
    """A tensor as the log has it."""
    array = np.asarray(array)
    if array.dtype.kind in "OU":
        data, dtype = json.dumps(array.ravel().tolist()).encode(), "string"
    else:
        data, dtype = array.tobytes(), array.dtype.name
    return {"name": name, "dtype": dtype, "shape": list(array.shape), "data": data}


def log_stream(rows: list[dict[str, Any]]) -> bytes:
    """Log rows as they travel."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, LOG_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, LOG_SCHEMA))
    return sink.getvalue().to_pybytes()
