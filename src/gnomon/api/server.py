"""Routes of the server as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from gnomon.api.calls import Caller, Deployments
from gnomon.api.guards import PUBLIC, guarded_router, needs
from gnomon.api.views import DeploymentView, HealthView, ProcessView, ServerView
from gnomon.backends.base import Backend
from gnomon.core.access import Right


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """What a server says of itself.

    Attributes:
        version: Of gnomon.
        home: The data directory.
        pid: Of the supervisor.
    """

    version: str
    control_url: str
    front_url: str
    home: str
    pid: int


router = guarded_router("/v1")


@router.get("/health")
@needs(PUBLIC)
async def health(request: Request) -> HealthView:
    """Say that the server answers; the only route without a token."""
    identity: ServerIdentity = request.app.state.identity
    return HealthView(version=identity.version)


@router.get("/server")
@needs(Right.READ)
def server(request: Request, call: Caller, deployments: Deployments) -> ServerView:
    """Return the server's processes, addresses and deployments."""
    identity: ServerIdentity = request.app.state.identity
    backend: Backend = request.app.state.backend
    return ServerView(
        version=identity.version,
        control_url=identity.control_url,
        front_url=identity.front_url,
        home=identity.home,
        pid=identity.pid,
        processes=[ProcessView.of(process) for process in backend.processes()],
        deployments=[DeploymentView.of(found) for found in deployments.all(call)],
    )


@router.get("/openapi.json")
@needs(Right.READ)
def openapi(request: Request) -> dict[str, Any]:
    """Return the description of this API."""
    description: dict[str, Any] = request.app.openapi()
    return {
        **description,
        "components": {
            **description.get("components", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
