"""The inference log as it travels: one Arrow row per request, with all of its models."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPMessage
from typing import Any

import numpy as np

from gnomon.core import limits
from gnomon.core.errors import ServerError
from gnomon.core.tensors import STRING, Array
from gnomon.sdk.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """What one model did with one request.

    Attributes:
        label: The champion's name, or the challenger's label.
        ordinal: The version's number under `name`.
        version: The version's uuid.
        status: "ok", "error", "timeout", "dropped", "schema", "pending" or "lost".
        error: Why there are no outputs, in a sentence.
        elapsed_ns: Wall time of the run, in nanoseconds.
        time: When it ended; aware. None if it has not.
        outputs: As the model gave them; empty unless `status` is "ok".
    """

    label: str
    role: str
    name: str
    ordinal: int
    version: str
    sha: str
    status: str
    error: str | None
    elapsed_ns: int
    time: datetime | None
    output_names: tuple[str, ...]
    outputs: tuple[Array, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One request, with the champion and then the challengers sorted by label.

    Attributes:
        time: When it arrived; aware.
        rows: Input rows.
        inputs: Its columns, of the types that the models declare; the first axis is the row.
    """

    request_id: str
    time: datetime
    pipeline: str
    pipeline_version: str
    rows: int
    inputs: Mapping[str, Array]
    models: tuple[LoggedModel, ...]


def pages(
    session: Session, route: str, limit: int | None, **conditions: Any
) -> Iterator[tuple[list[LoggedRequest], bool]]:
    """Read a pipeline's log page by page: the requests, and whether there are further ones.

    Warns if something of the log is missing.

    Args:
        limit: How many requests at most; None: all.
        conditions: Which, as the route takes them; None: not a condition.
    """
    query = {name: value for name, value in conditions.items() if value is not None}
    left = limit
    while True:
        most = limits.LOG_READ_REQUESTS_MAX
        query["limit"] = most if left is None else min(left, most)
        reply = session.transport.call("GET", route, query=query)
        _warn_of_what_is_missing(reply.headers)
        requests = decode(reply.body)
        more = reply.headers.get("X-Gnomon-More") == "true"
        yield requests, more
        left = None if left is None else left - len(requests)
        cursor = reply.headers.get("X-Gnomon-Cursor")
        if not more or cursor is None or (left is not None and left <= 0):
            return
        query["cursor"] = cursor


def fetch(
    session: Session, route: str, limit: int, **conditions: Any
) -> tuple[list[LoggedRequest], bool]:
    """Read requests of a pipeline's log, and whether there are further ones; see `pages`."""
    found: list[LoggedRequest] = []
    more = False
    for requests, more in pages(session, route, limit, **conditions):  # noqa: B007
        found += requests
    return found, more


def _warn_of_what_is_missing(headers: HTTPMessage) -> None:
    missing = json.loads(headers.get("X-Gnomon-Notices", "[]"))
    if unread := headers.get("X-Gnomon-Unread"):
        missing.append(f"{unread} did not answer in time: its newest requests may be missing here.")
    for each in missing:
        warnings.warn(each, UserWarning, stacklevel=6)


def decode(stream: bytes) -> list[LoggedRequest]:
    """Read an Arrow IPC stream of log rows.

    Raises:
        ServerError: It is not one.
    """
    import pyarrow as pa

    try:
        rows = pa.ipc.open_stream(stream).read_all().to_pylist()
        return [_request(row) for row in rows]
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise ServerError(
            "The server's answer is not a log that this version of gnomon can read."
        ) from error


def _request(row: Mapping[str, Any]) -> LoggedRequest:
    return LoggedRequest(
        request_id=row["request_id"],
        time=row["time"],
        pipeline=row["pipeline"],
        pipeline_version=row["pipeline_version"],
        rows=row["rows"],
        inputs={tensor["name"]: _array(tensor) for tensor in row["inputs"]},
        models=tuple(_model(model) for model in row["models"]),
    )


def _model(row: Mapping[str, Any]) -> LoggedModel:
    outputs: Sequence[Mapping[str, Any]] = row["outputs"] or ()
    return LoggedModel(
        label=row["label"],
        role=row["role"],
        name=row["name"],
        ordinal=row["ordinal"],
        version=row["version"],
        sha=row["sha"],
        status=row["status"],
        error=row["error"],
        elapsed_ns=row["elapsed_ns"] or 0,
        time=row["time"],
        output_names=tuple(tensor["name"] for tensor in outputs),
        outputs=tuple(_array(tensor) for tensor in outputs),
    )


def _array(tensor: Mapping[str, Any]) -> Array:
    """Make the array of raw little-endian bytes in C order; texts are a JSON list."""
    if tensor["dtype"] == STRING:
        texts = json.loads(tensor["data"])
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
    else:
        array = np.frombuffer(tensor["data"], np.dtype(tensor["dtype"]).newbyteorder("<"))
    return array.reshape(tensor["shape"])


def wide(array: Array) -> Array:
    """Return floats as float64, and other types as they are."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def rows_of(array: Array, rows: int) -> Iterator[Any]:
    """Yield the cell of each row: a value for a column of plain values, else a list.

    An array whose first axis is not the row belongs to every row.
    """
    if array.ndim and len(array) == rows:
        yield from wide(array).tolist()
    else:
        yield from [wide(array).tolist()] * rows
