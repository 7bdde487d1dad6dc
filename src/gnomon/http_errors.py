"""Which HTTP status each error becomes, for the control plane and the front alike."""

from __future__ import annotations

from gnomon.core import errors, limits
from gnomon.core.errors import GnomonError

STATUS: dict[type[GnomonError], int] = {
    GnomonError: 500,
    errors.Invalid: 422,
    errors.InvalidName: 422,
    errors.ModelRejected: 422,
    errors.LimitReached: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Denied: 403,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.Misdirected: 421,
    errors.InferenceError: 500,
    errors.MalformedRequest: 400,
    errors.InputMismatch: 422,
    errors.ModelFailed: 422,
    errors.BodyTooLarge: 413,
    errors.NotDeployed: 404,
    errors.Overloaded: 429,
    errors.HostUnavailable: 503,
    errors.NotLogged: 507,
    errors.InferenceTimeout: 504,
    errors.DeploymentError: 409,
    errors.WaitExpired: 409,
    errors.ServerError: 500,
    errors.ServerUnreachable: 503,
    errors.ServerBusy: 503,
    errors.OutOfSpace: 507,
    errors.Internal: 500,
}

_RETRY = {"Retry-After": str(limits.RETRY_AFTER_S)}

HEADERS: dict[type[GnomonError], dict[str, str]] = {
    errors.Unauthenticated: {"WWW-Authenticate": "Bearer"},
    errors.Overloaded: _RETRY,
    errors.HostUnavailable: _RETRY,
    errors.NotLogged: _RETRY,
    errors.ServerBusy: _RETRY,
}


def status_of(error: GnomonError) -> int:
    """Return the HTTP status of an error."""
    return STATUS[type(error)]


def headers_of(error: GnomonError) -> dict[str, str]:
    """Return the headers that go with an error's status."""
    return HEADERS.get(type(error), {})
