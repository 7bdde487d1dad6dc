"""The route of the inference log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import Request
from fastapi.responses import StreamingResponse

from gnomon.api.calls import Caller, LogRequests, Pipelines, WorkspaceId
from gnomon.api.guards import guarded_router, needs
from gnomon.backends.base import Backend
from gnomon.core import limits
from gnomon.core.access import Right

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_STREAM = "application/vnd.apache.arrow.stream"
_BATCH_REQUESTS = 100

router = guarded_router("/v1/workspaces/{workspace}/pipelines/{name}/logs")


class ReadLogs(Protocol):
    """`log.reader.read`: a pipeline's newest requests, and whether there are older ones."""

    def __call__(
        self, directory: Path, pipeline_id: int, *, limit: int
    ) -> tuple[pa.Table, bool]: ...


@router.get("", response_class=StreamingResponse)
@needs(Right.READ)
def read_logs(
    request: Request,
    workspace: WorkspaceId,
    name: str,
    call: Caller,
    pipelines: Pipelines,
    limit: LogRequests = limits.LOGS_DEFAULT,
) -> StreamingResponse:
    """Return the newest requests as an Arrow stream, one row a request, newest first.

    `X-Gnomon-More` says whether there are older ones; `X-Gnomon-Unread` names the fronts whose
    last moments are missing, because they did not answer in time.
    """
    pipeline_id = pipelines.id_of(call, workspace, name)
    backend: Backend = request.app.state.backend
    read: ReadLogs = request.app.state.read_logs
    unread = backend.commit_logs()
    table, more = read(request.app.state.log_directory, pipeline_id, limit=limit)
    headers = {"X-Gnomon-More": "true" if more else "false", "X-Gnomon-Unread": ",".join(unread)}
    return StreamingResponse(_arrow_stream(table), media_type=ARROW_STREAM, headers=headers)


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
