"""The control plane's API: every route, and the layers around them.

Edge            Host and Origin, request id, security headers, whatever went wrong
GuardedRoute    token and right, bounds on the body
handler         decode, one call into `control`, encode
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gnomon.api import (
    deployments,
    garbage,
    logs,
    metrics,
    models,
    pipelines,
    server,
    stats,
    tags,
    users,
    versions,
    workspaces,
)
from gnomon.api.edge import Edge
from gnomon.api.guards import GuardedRoute
from gnomon.api.logs import ReadLogs
from gnomon.api.models import UploadSlots
from gnomon.api.problems import on_error, on_http_exception, on_validation_error
from gnomon.api.server import ServerIdentity
from gnomon.control.plane import ControlPlane
from gnomon.core.errors import GnomonError

ROUTERS = (
    server.router,
    workspaces.router,
    users.router,
    models.router,
    pipelines.router,
    versions.router,
    tags.router,
    deployments.router,
    logs.router,
    stats.router,
    metrics.router,
    garbage.router,
)


def create_app(
    plane: ControlPlane,
    *,
    identity: ServerIdentity,
    read_logs: ReadLogs,
    log_directory: Path,
    allowed_hosts: frozenset[str],
) -> FastAPI:
    """Return the API over a control plane.

    Args:
        identity: What the server says of itself.
        read_logs: `log.reader.read`.
        log_directory: What it reads.
        allowed_hosts: Host headers to answer to (`http_access.allowed_hosts`).
    """
    app = FastAPI(
        title="gnomon",
        version=identity.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.access = plane.access
    app.state.backend = plane.backend
    app.state.workspaces = plane.workspaces
    app.state.catalog = plane.catalog
    app.state.pipelines = plane.pipelines
    app.state.deployments = plane.deployments
    app.state.shadows = plane.shadows
    app.state.tags = plane.tags
    app.state.garbage = plane.garbage
    app.state.identity = identity
    app.state.read_logs = read_logs
    app.state.log_directory = log_directory
    app.state.uploads = UploadSlots()
    app.state.methods = methods
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(GnomonError, on_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_middleware(Edge, allowed_hosts=allowed_hosts)
    return app


def guarded_routes() -> list[GuardedRoute]:
    """Return every route of the API."""
    routes = [route for router in ROUTERS for route in router.routes]
    guarded = [route for route in routes if isinstance(route, GuardedRoute)]
    assert len(guarded) == len(routes), "every route declares a right"
    return guarded


def methods(path: str) -> list[str]:
    """Return the methods that the path takes, over all of its routes."""
    scope = {"type": "http", "path": path, "root_path": "", "method": ""}
    return sorted(
        method
        for route in guarded_routes()
        if route.matches(scope)[0] is not Match.NONE
        for method in route.methods or ()
    )
