"""The inference log as it travels: one Arrow row per request, with all of its models.

A page of it is kept as it came. Its requests are decoded when one of them is looked at: a million
of them are asked for and counted in a fraction of the time that decoding takes.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.client import HTTPMessage
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from gnomon.core import limits
from gnomon.core.errors import ServerError
from gnomon.core.tensors import STRING, Array
from gnomon.sdk.session import Session

if TYPE_CHECKING:
    import pyarrow as pa


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
        rows: Input rows, of those that are here.
        inputs: Its columns, of the types that the models declare; the first axis is the row.
        anomalies: What each validation found, by name: a bool for each row.
        numbers: Which of the request's rows are here; None: all.
        rows_sent: How many it has; None: they are all here.
    """

    request_id: str
    time: datetime
    pipeline: str
    pipeline_version: str
    rows: int
    inputs: Mapping[str, Array]
    models: tuple[LoggedModel, ...]
    anomalies: Mapping[str, Array] = field(default_factory=dict)
    numbers: Sequence[int] | None = None
    rows_sent: int | None = None

    def anomaly_counts(self) -> Array:
        """Return for each row how many validations found an anomaly."""
        counts = np.zeros(self.rows, np.int64)
        for found in self.anomalies.values():
            counts += found
        return counts

    def chosen(self, valid: bool) -> LoggedRequest:
        """Return the request with those of its rows that are valid, or that are not."""
        which = np.flatnonzero((self.anomaly_counts() == 0) == valid)
        if len(which) == self.rows:
            return self

        def part(array: Array) -> Array:
            return array[which] if array.ndim and len(array) == self.rows else array

        return replace(
            self,
            rows=len(which),
            inputs={name: part(array) for name, array in self.inputs.items()},
            models=tuple(
                replace(model, outputs=tuple(map(part, model.outputs))) for model in self.models
            ),
            anomalies={name: part(array) for name, array in self.anomalies.items()},
            numbers=which.tolist(),
            rows_sent=self.rows,
        )


_COLUMNS = [
    "request_id", "time", "pipeline", "pipeline_version", "rows", "inputs", "anomalies", "models"
]  # fmt: skip


class Page(Sequence[LoggedRequest]):
    """Some requests of a log, decoded when the first of them is looked at.

    Args:
        rows: As they came.
        valid: Of each request only the rows that are valid, or that are not; None: all.
    """

    def __init__(self, rows: pa.Table, valid: bool | None = None) -> None:
        self._rows: pa.Table | None = rows
        self._valid = valid
        self._decoded: Sequence[LoggedRequest] = ()
        self._count: int = rows.num_rows

    @classmethod
    def of(cls, requests: Iterable[LoggedRequest]) -> Page:
        """Make a page of requests that are decoded."""
        page = cls.__new__(cls)
        page._rows, page._valid, page._decoded = None, None, tuple(requests)
        page._count = len(page._decoded)
        return page

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, key: int) -> LoggedRequest: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[LoggedRequest]: ...
    def __getitem__(self, key: int | slice) -> LoggedRequest | Sequence[LoggedRequest]:
        if self._rows is not None:
            with _readable():
                decoded = [_request(row) for row in self._rows.to_pylist()]
            if self._valid is not None:
                decoded = [each.chosen(self._valid) for each in decoded]
            self._rows, self._decoded = None, decoded
        return self._decoded[key]

    def models(self) -> list[list[tuple[str, str]]]:
        """Return label and status of each request's models, without decoding anything."""
        if self._rows is None:
            return [[(each.label, each.status) for each in of.models] for of in self._decoded]
        with _readable():
            models = self._rows.column("models").combine_chunks()
            labels, statuses = (
                models.values.field(name).to_pylist() for name in ("label", "status")
            )
            told = list(zip(labels, statuses, strict=True))
            return [told[start:end] for start, end in pairwise(models.offsets.to_pylist())]


def pages(
    session: Session,
    route: str,
    limit: int | None,
    *,
    valid: bool | None = None,
    **conditions: Any,
) -> Iterator[tuple[Page, bool]]:
    """Read a pipeline's log page by page: the requests, and whether there are further ones.

    Warns if something of the log is missing.

    Args:
        limit: How many requests at most; None: all.
        valid: Those with a row that is valid, or that is not, and of them only such rows.
        conditions: Which, as the route takes them; None: not a condition.
    """
    query = _query(valid, conditions)
    left = limit
    more = True
    while more:
        most = limits.LOG_READ_REQUESTS_MAX
        query["limit"] = most if left is None else min(left, most)
        page, more = _next_page(session, route, query, valid)
        yield page, more
        if left is not None:
            left -= len(page)
            more = more and left > 0


def _next_page(
    session: Session, route: str, query: dict[str, Any], valid: bool | None
) -> tuple[Page, bool]:
    """Read a page, note in the query where the next one begins, and say whether there is one."""
    reply = session.transport.call("GET", route, query=query)
    _warn_of_what_is_missing(reply.headers)
    query["cursor"] = cursor = reply.headers.get("X-Gnomon-Cursor")
    more = cursor is not None and reply.headers.get("X-Gnomon-More") == "true"
    return decode(reply.body, valid), more


def _query(valid: bool | None, conditions: Mapping[str, Any]) -> dict[str, Any]:
    query = {name: value for name, value in conditions.items() if value is not None}
    if valid is not None:
        query["valid"] = "true" if valid else "false"
    return query


class Following:
    """What is logged from now on, in that order: whatever took long or the clock says.

    Args:
        valid: As of `pages`.
        conditions: As of `pages`.

    Attributes:
        newest: Id of the newest request until now, which may come again; None if there is none.
    """

    def __init__(
        self, session: Session, route: str, *, valid: bool | None = None, **conditions: Any
    ) -> None:
        self._session = session
        self._route = route
        self._valid = valid
        reply = session.transport.call("GET", route, query={"limit": 1})
        self.newest = next((request.request_id for request in decode(reply.body)), None)
        self._query = _query(valid, {**conditions, "order": "oldest"})
        self._query["limit"] = limits.LOG_READ_REQUESTS_MAX
        self._query["cursor"] = reply.headers["X-Gnomon-Cursor"]

    def pages(self) -> Iterator[Page]:
        """Return what has been logged since this was asked last."""
        more = True
        while more:
            page, more = _next_page(self._session, self._route, self._query, self._valid)
            yield page


def fetch(session: Session, route: str, limit: int, **conditions: Any) -> tuple[list[Page], bool]:
    """Read requests of a pipeline's log, and whether there are further ones; see `pages`."""
    found: list[Page] = []
    more = False
    for page, more in pages(session, route, limit, **conditions):  # noqa: B007
        found.append(page)
    return found, more


def _warn_of_what_is_missing(headers: HTTPMessage) -> None:
    missing = json.loads(headers.get("X-Gnomon-Notices", "[]"))
    if unread := headers.get("X-Gnomon-Unread"):
        missing.append(f"{unread} did not answer in time: its newest requests may be missing here.")
    for each in missing:
        warnings.warn(each, UserWarning, stacklevel=7)


def decode(stream: bytes, valid: bool | None = None) -> Page:
    """Read an Arrow IPC stream of log rows.

    Args:
        valid: As of `Page`.

    Raises:
        ServerError: It is not one.
    """
    import pyarrow as pa

    with _readable():
        rows = pa.ipc.open_stream(stream).read_all()
        rows.validate(full=True)
        return Page(rows.select(_COLUMNS), valid)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Have what is raised when something is no log called so."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
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
        anomalies={tensor["name"]: _array(tensor) for tensor in row["anomalies"] or ()},
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
