"""Every error of the control plane as problem+json (RFC 9457), with gnomon's code in it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from gnomon.core.errors import (
    GnomonError,
    Internal,
    Invalid,
    MalformedRequest,
    NotFound,
)
from gnomon.http_errors import headers_of, status_of

_ERRORS_SHOWN_MAX = 10
_TEXT_MAX = 200


class Refused(HTTPException):
    """Carries one of gnomon's errors through code that swallows all but HTTPException."""

    def __init__(self, error: GnomonError) -> None:
        super().__init__(status_of(error), error.message)
        self.error = error


def problem(
    error: GnomonError,
    request_id: str,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer for an error.

    Args:
        status: Another one than the error's own.
        headers: Beside those that go with the error.
    """
    code = status_of(error) if status is None else status
    body = {
        "type": "about:blank",
        "title": HTTPStatus(code).phrase,
        "status": code,
        "detail": error.message,
        "error_code": error.code,
        "request_id": request_id,
        "details": error.details,
    }
    return Response(
        orjson.dumps(body, default=str),
        status_code=code,
        headers={**headers_of(error), **(headers or {})},
        media_type="application/problem+json",
    )


async def on_error(request: Request, error: Exception) -> Response:
    """Answer with one of gnomon's errors."""
    assert isinstance(error, GnomonError)
    return problem(error, request.state.request_id)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Answer a request whose parameters or body are not of the declared form."""
    assert isinstance(error, RequestValidationError)
    found = [
        {
            "where": ".".join(str(part) for part in item["loc"])[:_TEXT_MAX],
            "message": str(item["msg"])[:_TEXT_MAX],
        }
        for item in error.errors()[:_ERRORS_SHOWN_MAX]
    ]
    message = "; ".join(f"{item['where']}: {item['message']}" for item in found)
    return problem(Invalid(message, errors=found), request.state.request_id)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refused: no such route or method, a body it cannot read."""
    assert isinstance(error, StarletteHTTPException)
    request_id = request.state.request_id
    if isinstance(error, Refused):
        return problem(error.error, request_id)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return problem(NotFound("There is no such route."), request_id)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(request.app.state.methods(request.url.path))
            refused = Invalid(f"This route takes {allowed}, not {request.method[:20]}.")
            return problem(
                refused,
                request_id,
                status=HTTPStatus.METHOD_NOT_ALLOWED,
                headers={"Allow": allowed},
            )
        case HTTPStatus.BAD_REQUEST:
            return problem(MalformedRequest("The request's body cannot be read."), request_id)
        case _:
            return problem(Internal(INTERNAL), request_id)


INTERNAL = "gnomon failed to answer; the server's log has the details under this request id."
