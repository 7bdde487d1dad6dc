"""What handlers take: the caller, the parts of the control plane, and what stands in a path."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from gnomon.control import catalog, deployments, pipelines
from gnomon.core import access, limits

_ID_MAX = 2**63 - 1


# Coroutines, although they wait for nothing: others would each cost a hop to a thread.
async def _caller(request: Request) -> Any:
    return request.state.caller


async def _catalog(request: Request) -> Any:
    return request.app.state.catalog


async def _pipelines(request: Request) -> Any:
    return request.app.state.pipelines


async def _deployments(request: Request) -> Any:
    return request.app.state.deployments


Caller = Annotated[access.Caller, Depends(_caller)]
Catalog = Annotated[catalog.Catalog, Depends(_catalog)]
Pipelines = Annotated[pipelines.Pipelines, Depends(_pipelines)]
Deployments = Annotated[deployments.Deployments, Depends(_deployments)]

WorkspaceId = Annotated[int, Path(ge=1, le=_ID_MAX)]
Revision = Annotated[int | None, Query(ge=0, le=_ID_MAX)]
WaitSeconds = Annotated[float, Query(ge=0, le=limits.LONG_POLL_MAX_S, allow_inf_nan=False)]
PageRows = Annotated[int, Query(ge=1, le=limits.PAGE_ROWS_MAX)]
LogRequests = Annotated[int, Query(ge=1, le=limits.LOG_READ_REQUESTS_MAX)]
