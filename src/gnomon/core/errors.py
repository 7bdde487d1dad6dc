"""Every error of gnomon, in one tree.

    GnomonError
    ├── Invalid                    what was asked cannot be done as asked
    │   ├── InvalidName            a name breaks the naming rule
    │   ├── ModelRejected          an uploaded file is not a model that can be served
    │   └── LimitReached           a bound of core/limits.py would be passed
    ├── NotFound                   no such workspace, model, pipeline, version or route
    ├── Conflict                   another change got there first, or the name is taken
    ├── Denied
    │   ├── Unauthenticated        no token, or one that is not known
    │   ├── Forbidden              the token's owner may not do this; or a foreign Origin
    │   └── Misdirected            the Host header names another server
    ├── InferenceError             an inference was refused or failed
    │   ├── MalformedRequest       the body is not what its format says
    │   ├── InputMismatch          well-formed, but it does not fit the model's inputs
    │   ├── ModelFailed            the model itself raised an error on this input
    │   ├── BodyTooLarge           more bytes than one request may have
    │   ├── NotDeployed            no running deployment under this address
    │   ├── Overloaded             the queue is full
    │   ├── HostUnavailable        the champion's host is starting or gone
    │   ├── NotLogged              it cannot be logged, and its pipeline answers nothing that is not
    │   └── InferenceTimeout       no answer within the deadline
    ├── DeploymentError            a deployment did not come up or go down
    │   └── WaitExpired            it may still do so: the caller's patience ended first
    └── ServerError
        ├── ServerUnreachable      nothing answers at the server's address
        ├── ServerBusy             the metadata database is locked by another process
        ├── OutOfSpace             the disk is full
        └── Internal               a fault of gnomon's own; its log has the details

Every class has a `code`, which crosses HTTP; the SDK raises the same class again. Which status
a code becomes stands in `http_errors.py`: core knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class GnomonError(Exception):
    """Root of the tree.

    Args:
        message: What was asked, what was found, what to do. Shown to users as it is.
        details: The same facts for programs: JSON values only.

    Attributes:
        request_id: Id of the request that failed, where one is known.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, request_id: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.details = details

    def __str__(self) -> str:
        return self.message


class Invalid(GnomonError):
    """What was asked cannot be done as asked."""

    code = "invalid"


class InvalidName(Invalid):
    """A name breaks the naming rule of `core/names.py`."""

    code = "invalid_name"


class ModelRejected(Invalid):
    """An uploaded file is not a model that can be served; `details["reason"]` says why."""

    code = "model_rejected"


class LimitReached(Invalid):
    """A bound of `core/limits.py` would be passed."""

    code = "limit_reached"


class NotFound(GnomonError):
    """No such workspace, model, pipeline, version or route."""

    code = "not_found"


class Conflict(GnomonError):
    """Another change got there first, or the name is taken."""

    code = "conflict"


class Denied(GnomonError):
    """The caller may not do this."""

    code = "denied"


class Unauthenticated(Denied):
    """No token came with the request, or one that this server does not know."""

    code = "unauthenticated"


class Forbidden(Denied):
    """The caller is known and may not do this, or a page of another site sent the request."""

    code = "forbidden"


class Misdirected(Denied):
    """The Host header names a server that this one is not (DNS rebinding)."""

    code = "misdirected"


class InferenceError(GnomonError):
    """An inference was refused or failed."""

    code = "inference_failed"


class MalformedRequest(InferenceError):
    """The request is not what its format says: broken JSON, a NaN literal, an empty body."""

    code = "malformed_request"


class InputMismatch(InferenceError):
    """The request's columns do not fit the model's declared inputs."""

    code = "input_mismatch"


class ModelFailed(InferenceError):
    """The model itself raised an error on this input."""

    code = "model_failed"


class BodyTooLarge(InferenceError):
    """The request has more bytes than one request may have."""

    code = "body_too_large"


class NotDeployed(InferenceError):
    """No running deployment under this address."""

    code = "not_deployed"


class Overloaded(InferenceError):
    """The champion's queue is full; try again after `details["retry_after_s"]`."""

    code = "overloaded"


class HostUnavailable(InferenceError):
    """The champion's host is starting, or ended while the request was under way."""

    code = "host_unavailable"


class NotLogged(InferenceError):
    """The log or its disk is full or fails, and the pipeline answers nothing that is not logged."""

    code = "not_logged"


class InferenceTimeout(InferenceError):
    """No answer within the deadline."""

    code = "inference_timeout"


class DeploymentError(GnomonError):
    """A deployment did not come up, or did not go down."""

    code = "deployment_failed"


class WaitExpired(DeploymentError):
    """The caller stopped waiting; the deployment may still come up or go down."""

    code = "wait_expired"


class ServerError(GnomonError):
    """The server cannot serve, whatever is asked."""

    code = "server_error"


class ServerUnreachable(ServerError):
    """Nothing answers at the server's address."""

    code = "server_unreachable"


class ServerBusy(ServerError):
    """The metadata database is locked by another process; trying again helps."""

    code = "busy"


class OutOfSpace(ServerError):
    """The disk is full."""

    code = "out_of_space"


class Internal(ServerError):
    """A fault of gnomon's own. The message names no path and no traceback: the log does."""

    code = "internal"


def all_errors() -> Iterator[type[GnomonError]]:
    """Walk the tree, root first."""
    waiting: list[type[GnomonError]] = [GnomonError]
    while waiting:
        error = waiting.pop(0)
        yield error
        waiting.extend(error.__subclasses__())


_BY_CODE = {error.code: error for error in all_errors()}


def from_code(
    code: str, message: str, *, request_id: str | None = None, **details: Any
) -> GnomonError:
    """Make the error that a code stands for; an unknown code becomes a plain GnomonError."""
    return _BY_CODE.get(code, GnomonError)(message, request_id=request_id, **details)
