"""HTTP to a gnomon server: one pool, the token on every request, errors as our own exceptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from gnomon.core import limits
from gnomon.core.errors import (
    GnomonError,
    InferenceTimeout,
    Invalid,
    NotFound,
    ServerError,
    ServerUnreachable,
    from_code,
)
from gnomon.sdk.connections import (
    BrokenOff,
    Cancel,
    Connections,
    NotConnected,
    Request,
    Unanswered,
)

JSON = "application/json"
_REPEATABLE = frozenset({"GET", "DELETE"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered, with a status below 400.

    Attributes:
        headers: Names without regard to case.
    """

    url: str
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON values.

        Raises:
            ServerError: It is not JSON: something else than gnomon answered.
        """
        try:
            return orjson.loads(self.body)
        except ValueError as error:
            raise _not_gnomon(self.url, self.status) from error


class Transport:
    """A connection pool to one server. Safe to use from several threads.

    Args:
        url: Of the control plane, as "http://127.0.0.1:8080".
        token: Sent with every request, never shown.
        timeout_s: Seconds that a call may take unless it says otherwise.

    Raises:
        Invalid: `url` is not an http or https address, or `token` cannot be one.
    """

    def __init__(
        self, url: str, token: str | None, *, timeout_s: float = limits.CLIENT_TIMEOUT_S
    ) -> None:
        self.url = url.rstrip("/")
        if not _is_address(self.url):
            raise Invalid(
                f"{url!r} is no server's address: it must start with http:// or https://, as "
                "http://127.0.0.1:8080."
            )
        if token and not (token.isascii() and token.isprintable()):
            raise Invalid("The token has a character that no token has; 'gnomon token' prints it.")
        self.timeout_s = timeout_s
        self._headers = {"User-Agent": f"gnomon/{_version()}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connections = Connections()

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    def authorization(self) -> dict[str, str]:
        """Return the header that carries the token; empty if there is none."""
        return {k: v for k, v in self._headers.items() if k == "Authorization"}

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        document: Any = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """Call the control plane with JSON.

        Args:
            path: Below the server's address, as "/v1/workspaces"; made with `path`.
            document: JSON values to send; None sends no body.

        Raises:
            GnomonError: What the server refused, or that it does not answer.
        """
        url = self.query_url(path, query)
        body = None if document is None else json.dumps(document).encode()
        headers = {} if body is None else {"Content-Type": JSON}
        return self.send(method, url, body=body, headers=headers, timeout_s=timeout_s)

    def query_url(self, path: str, query: Mapping[str, Any] | None) -> str:
        """Return the address of a route, with a query."""
        return self.url + path + ("?" + urlencode(query) if query else "")

    def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        late: type[GnomonError] = ServerUnreachable,
        repeatable: bool | None = None,
        cancel: Cancel | None = None,
        on_second: Callable[[], None] | None = None,
    ) -> Reply:
        """Send one request to any address of the server.

        Args:
            timeout_s: Seconds to wait for the answer; None: this transport's own.
            late: What to raise when the answer does not come in time.
            repeatable: Whether it does no harm if it is done twice, so that it is sent once more
                when the connection ends before any of the answer came. None: a GET or DELETE.
            cancel: By which another thread can end it.
            on_second: Called each second that the answer is waited for.

        Raises:
            ServerUnreachable: Nothing answers at `url`, or the connection broke.
            Cancelled: Another thread ended it.
            GnomonError: What the server refused.
        """
        request = Request(
            method=method,
            url=url,
            body=body,
            headers={**self._headers, **(headers or {})},
            timeout_s=self.timeout_s if timeout_s is None else timeout_s,
            repeatable=method in _REPEATABLE if repeatable is None else repeatable,
            on_second=on_second,
        )
        try:
            answer = self._connections.ask(request, cancel)
        except TimeoutError as error:
            raise _too_late(late, _origin(url), request.timeout_s) from error
        except NotConnected as error:
            raise _unreachable(_origin(url), str(error)) from error
        except (Unanswered, BrokenOff) as error:
            raise _ended_early(_origin(url), str(error)) from error
        reply = Reply(url, answer.status, answer.headers, answer.body)
        if reply.status >= 300:
            raise _error_of(reply)
        return reply


def path(*parts: object) -> str:
    """Return the route /v1/part/part, each part quoted.

    Raises:
        NotFound: A part is empty, "." or "..", and so cannot be the name of anything.
    """
    for part in parts:
        if str(part) in {"", ".", ".."}:
            raise NotFound(f"Nothing can have the name {str(part)!r}.")
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _error_of(reply: Reply) -> GnomonError:
    try:
        document = json.loads(reply.body)
    except ValueError:
        document = None
    code = document.get("error_code") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(code, str):
        return _not_gnomon(reply.url, reply.status)
    message = document.get("detail") or document.get("error") or f"The server said {code}."
    details = document.get("details")
    error = from_code(code, str(message), request_id=document.get("request_id"))
    error.details.update(details if isinstance(details, dict) else {})
    return error


def _not_gnomon(url: str, status: int) -> ServerError:
    return ServerError(
        f"{url.partition('?')[0]} answered with status {status}, and not as a gnomon server "
        "does. Is this the right address?",
        status=status,
    )


def _unreachable(url: str, cause: str) -> ServerUnreachable:
    return ServerUnreachable(
        f"No gnomon server answers at {url} ({cause}). Start one with 'gnomon serve', or let "
        "gnomon.Client() start one on this machine; 'gnomon status' shows what runs.",
        url=url,
    )


def _ended_early(url: str, cause: str) -> ServerUnreachable:
    when = f"within its answer ({cause})" if cause else "before it answered"
    return ServerUnreachable(
        f"The server at {url} closed the connection {when}; whether it did what was asked is not "
        "known. 'gnomon status' shows how it is; try again.",
        url=url,
    )


def _too_late(kind: type[GnomonError], url: str, timeout_s: float) -> GnomonError:
    if issubclass(kind, InferenceTimeout):
        return kind(
            f"The inference did not return within {timeout_s:g} s. Give it longer with "
            "infer(..., timeout=seconds), or see with 'gnomon status' what the model does.",
            timeout_s=timeout_s,
        )
    return kind(
        f"The server at {url} did not answer within {timeout_s:g} s. 'gnomon status' shows how "
        "it is.",
        timeout_s=timeout_s,
    )


def _version() -> str:
    try:
        return version("gnomon")
    except PackageNotFoundError:  # run from a source tree
        return "0"
