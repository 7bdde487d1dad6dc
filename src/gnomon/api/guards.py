"""What stands before every route: a declared right, and a bound on the body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from gnomon.api.problems import Refused
from gnomon.core import limits
from gnomon.core.access import Right
from gnomon.core.errors import BodyTooLarge, MalformedRequest

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_GUARD = "__gnomon_guard__"


class _Public:
    """The right that everybody has."""


PUBLIC = _Public()


def needs(
    right: Right | _Public, *, body_bytes_max: int = limits.CONTROL_BODY_BYTES_MAX
) -> Callable[[Endpoint], Endpoint]:
    """Declare what a handler's caller must be allowed, and how long its body may be.

    It stands below the decorator that makes the route, which refuses a handler without it.
    """

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _GUARD, (right, body_bytes_max))
        return endpoint

    return declare


class GuardedRequest(Request):
    """A request whose JSON is read strictly: no NaN, no lone surrogates, a bounded depth."""

    async def json(self) -> Any:
        """Return the body's value.

        Raises:
            Refused: It is not JSON.
        """
        body = await self.body()
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Refused(MalformedRequest(f"The body is not JSON: {str(error)[:100]}.")) from error


class GuardedRoute(APIRoute):
    """A route that lets a request in before a byte of its body is read, or does not."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        guard = getattr(endpoint, _GUARD, None)
        if guard is None:
            raise TypeError(f"{path}: the handler declares no right; put @needs(...) on it.")
        self.right: Right | _Public = guard[0]
        self.body_bytes_max: int = guard[1]
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the framework's handler behind the guards."""
        handle = super().get_route_handler()
        right, bytes_max = self.right, self.body_bytes_max

        async def guarded(request: Request) -> Response:
            if isinstance(right, Right):
                access = request.app.state.access
                request.state.caller = access.admit(request.headers.get("authorization"), right)
            declared = request.headers.get("content-length", "0")
            if declared.isdecimal() and int(declared[:20]) > bytes_max:
                raise _too_large(bytes_max)
            receive = bounded(request.receive, bytes_max)
            return await handle(GuardedRequest(request.scope, receive))

        return guarded


def guarded_router(prefix: str = "") -> APIRouter:
    """Return a router all of whose routes are guarded."""
    return APIRouter(prefix=prefix, route_class=GuardedRoute)


def bounded(receive: Receive, bytes_max: int) -> Receive:
    """Bound a body in bytes, and in the time that its next bytes may take."""
    received = 0
    complete = False

    async def bounded_receive() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout(limits.BODY_STALL_TIMEOUT_S):
                message = await receive()
        except TimeoutError as error:
            raise Refused(
                MalformedRequest(
                    f"No byte of the body came for {limits.BODY_STALL_TIMEOUT_S:.0f} s."
                )
            ) from error
        received += len(message.get("body", b""))
        if received > bytes_max:
            raise _too_large(bytes_max)
        complete = not message.get("more_body", False)
        return message

    return bounded_receive


def _too_large(bytes_max: int) -> Refused:
    return Refused(
        BodyTooLarge(f"The body has more than {bytes_max:,} bytes, the most that this route takes.")
    )
