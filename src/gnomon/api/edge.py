"""The outermost layer: which requests come in at all, and what every answer carries."""

from __future__ import annotations

import logging
import os
import time

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gnomon import http_access
from gnomon.api.problems import INTERNAL, problem
from gnomon.core.errors import GnomonError, Internal
from gnomon.core.names import check_request_id, uuid7

log = logging.getLogger(__name__)

REQUEST_ID = "X-Gnomon-Request-Id"
_POLICY_VIOLATION = 1008
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


class Edge:
    """Checks Host and Origin of every request, of any method and path; names it; and sees to it
    that whatever happens inside becomes an answer with the security headers.

    Args:
        allowed_hosts: See `http_access.allowed_hosts`.
    """

    def __init__(self, app: ASGIApp, *, allowed_hosts: frozenset[str]) -> None:
        self._app = app
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":  # there are none
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        request_id = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                identity = (REQUEST_ID.lower().encode(), request_id.encode())
                message["headers"] = [*message.get("headers", ()), *_HEADERS, identity]
            await send(message)

        answer: Response | None = None
        try:
            if given := request.headers.get(REQUEST_ID):
                request_id = check_request_id(given)
            request.state.request_id = request_id
            self._check(request)
            await self._app(scope, receive, sending)
        except GnomonError as error:
            answer = problem(error, request_id)
        except ClientDisconnect:
            log.info("request.abandoned request_id=%s", request_id)
        except Exception:
            log.exception(
                "request.failed request_id=%s method=%s path=%r",
                request_id,
                request.method,
                request.url.path,
            )
            if started:
                raise  # the answer is cut short, which tells the caller
            answer = problem(Internal(INTERNAL), request_id)
        if answer is not None:
            await answer(scope, receive, sending)

    def _check(self, request: Request) -> None:
        headers = request.headers
        http_access.check_host(headers.getlist("host"), self._allowed_hosts)
        http_access.check_origin(
            headers.get("origin"), headers.get("sec-fetch-site"), self._allowed_hosts
        )
