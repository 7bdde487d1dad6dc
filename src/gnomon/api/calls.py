"""What handlers take: the caller, the parts of the control plane, and what stands in a path."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from gnomon.control import catalog, deployments, garbage, pipelines, shadows, tags, workspaces
from gnomon.core import access, limits
from gnomon.core.errors import Invalid
from gnomon.stores.records import Period

_ID_MAX = 2**63 - 1


# Coroutines, although they wait for nothing: others would each cost a hop to a thread.
async def _caller(request: Request) -> Any:
    return request.state.caller


def _part(name: str) -> Any:
    """Return what gives a handler the part of the control plane that the app has by this name."""

    async def part(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(part)


Caller = Annotated[access.Caller, Depends(_caller)]
Workspaces = Annotated[workspaces.Workspaces, _part("workspaces")]
Catalog = Annotated[catalog.Catalog, _part("catalog")]
Pipelines = Annotated[pipelines.Pipelines, _part("pipelines")]
Deployments = Annotated[deployments.Deployments, _part("deployments")]
Shadows = Annotated[shadows.Shadows, _part("shadows")]
Tags = Annotated[tags.Tags, _part("tags")]
Garbage = Annotated[garbage.Garbage, _part("garbage")]

WorkspaceId = Annotated[int, Path(ge=1, le=_ID_MAX)]
TagId = Annotated[int, Path(ge=1, le=_ID_MAX)]
TaggedId = Annotated[int, Path(ge=1, le=_ID_MAX)]
Term = Annotated[str | None, Query(max_length=limits.SEARCH_CHARS_MAX)]
Moment = Annotated[datetime | None, Query()]
Revision = Annotated[int | None, Query(ge=0, le=_ID_MAX)]
WaitSeconds = Annotated[float, Query(ge=0, le=limits.LONG_POLL_MAX_S, allow_inf_nan=False)]
PageRows = Annotated[int, Query(ge=1, le=limits.PAGE_ROWS_MAX)]
LogRequests = Annotated[int, Query(ge=1, le=limits.LOG_READ_REQUESTS_MAX)]


def period(start: datetime | None, end: datetime | None) -> Period:
    """Return the time from one moment to another; a moment without a zone is in UTC.

    Raises:
        Invalid: A moment is not within the years 1 to 9999 in UTC.
    """
    return Period(_in_utc(start), _in_utc(end))


def _in_utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is None:
        return moment and moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Invalid(f"{moment.isoformat()} is not within the years 1 to 9999 in UTC.") from None
