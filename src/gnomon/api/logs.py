"""The route of the inference log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from fastapi import Query, Request
from fastapi.responses import StreamingResponse

from gnomon.api.calls import Caller, LogRequests, Pipelines, WorkspaceId
from gnomon.api.guards import guarded_router, needs
from gnomon.backends.base import Backend
from gnomon.core import limits
from gnomon.core.access import Right
from gnomon.core.errors import NotFound
from gnomon.core.inference import Status
from gnomon.core.log_settings import LogSettings
from gnomon.log.places import directory_of, table_paths
from gnomon.log.query import Cursor, LogQuery
from gnomon.log.where import Where

if TYPE_CHECKING:
    import pyarrow as pa

    from gnomon.log.reader import Page

ARROW_STREAM = "application/vnd.apache.arrow.stream"
_BATCH_REQUESTS = 100
_NOTICES, _NOTICE_CHARS = 10, 200  # in a header
_OFF = (
    "The log of pipeline {!r} is off: what its deployed version answers is not logged. "
    "configure_log('async') and deploy() switch it on."
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Text = Annotated[str | None, Query(max_length=2_000)]

router = guarded_router("/v1/workspaces/{workspace}/pipelines/{name}/logs")


class ReadLogs(Protocol):
    """`log.reader.read`: requests of a pipeline."""

    def __call__(
        self,
        directory: Path,
        pipeline_id: int,
        *,
        query: LogQuery,
        limit: int,
        after: Cursor | None,
    ) -> Page: ...


@router.get("", response_class=StreamingResponse)
@needs(Right.READ)
def read_logs(
    request: Request,
    workspace: WorkspaceId,
    name: str,
    call: Caller,
    pipelines: Pipelines,
    limit: LogRequests = limits.LOGS_DEFAULT,
    start_datetime: datetime | None = None,
    end_datetime: datetime | None = None,
    status: Status | None = None,
    model: Text = None,
    request_id: Text = None,
    where: Text = None,
    disagree: Text = None,
    valid: bool | None = None,
    order: Literal["newest", "oldest"] = "newest",
    cursor: Text = None,
) -> StreamingResponse:
    """Return requests as an Arrow stream, one row a request.

    Those that arrived from `start_datetime` up to, not with, `end_datetime`; times without a zone
    are UTC. `model` is a label, `status` that of this model, or of any. `where` is a condition on
    the columns of the log's table, as `"out.dense_1"[1] > 0.5`, which holds for a row. With
    `disagree`, a label or `*`, challengers gave other values than the champion. With `valid` there
    is a row in which no validation found an anomaly; with `valid=false`, one in which one did.

    `X-Gnomon-More` says whether there are further ones; `X-Gnomon-Cursor`, given as `cursor`,
    begins with those. `X-Gnomon-Unread` names the fronts whose last moments are missing, because
    they did not answer in time; `X-Gnomon-Notices` is a JSON list of what else is missing.
    """
    pipeline, settings = pipelines.logged(call, workspace, name)
    backend: Backend = request.app.state.backend
    read: ReadLogs = request.app.state.read_logs
    after = None if cursor is None else Cursor.parse(cursor)
    query = LogQuery(
        start_us=_microseconds(start_datetime),
        end_us=_microseconds(end_datetime),
        status=status,
        model=model,
        request_id=request_id,
        where=None if where is None else Where(where),
        valid=valid,
        disagree=disagree,
        oldest_first=order == "oldest",
    )
    unread = backend.commit_logs()
    page = read(request.app.state.log_directory, pipeline.id, query=query, limit=limit, after=after)
    notices = [_OFF.format(name), *page.notices] if _is_off(settings) else page.notices
    headers = {
        "X-Gnomon-More": "true" if page.more else "false",
        "X-Gnomon-Cursor": str(page.next),
        "X-Gnomon-Unread": ",".join(unread),
        "X-Gnomon-Notices": json.dumps([each[:_NOTICE_CHARS] for each in notices[:_NOTICES]]),
    }
    return StreamingResponse(_arrow_stream(page.table()), media_type=ARROW_STREAM, headers=headers)


@router.get("/tables")
@needs(Right.READ)
def list_tables(
    request: Request, workspace: WorkspaceId, name: str, call: Caller, pipelines: Pipelines
) -> dict[str, list[str]]:
    """Return where the Delta tables of the log are, the newest last."""
    pipeline, settings = pipelines.logged(call, workspace, name)
    directory = directory_of(request.app.state.log_directory, workspace, pipeline.id)
    tables = table_paths(directory)
    if not tables and _is_off(settings):
        raise NotFound(_OFF.format(name))
    if not tables:
        raise NotFound(
            f"The log of pipeline {name!r} has no table yet: its requests move there some seconds "
            "after all of their models have ended."
        )
    return {"tables": [str(path) for path in tables]}


def _is_off(settings: LogSettings | None) -> bool:
    return settings is not None and settings.level == "off"


def _microseconds(time: datetime | None) -> int | None:
    if time is None:
        return None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


class _Pieces:
    """A file that gives away what was written to it."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._pieces.append(data)
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _arrow_stream(table: pa.Table) -> Iterator[bytes]:
    import pyarrow as pa  # a tenth of a second, which no other route needs

    pieces = _Pieces()
    with pa.ipc.new_stream(pieces, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=_BATCH_REQUESTS):
            writer.write_batch(batch)
            yield pieces.take()
    yield pieces.take()
