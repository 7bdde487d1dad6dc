"""The routes of the data plane, all on this page: which requests are taken, and who answers.

GET, HEAD /v1/health, /livez                                              no token
GET, HEAD /readyz                                                         no token
POST      /v1/api/pipelines/infer/{pipeline}-{deployment id}              right: infer
POST      /v1/api/pipelines/infer/{pipeline}-{deployment id}/{pipeline}   right: infer
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from urllib.parse import unquote

import orjson
from httptools import HttpParserInvalidURLError, parse_url

from gnomon.core import limits
from gnomon.core.access import Caller, Right, authenticate, bearer_token
from gnomon.core.errors import HostUnavailable, NotDeployed, NotFound
from gnomon.core.inference import InferenceLog
from gnomon.core.routing import Route, RoutingTable
from gnomon.front.calls import Answerer, Call, Head, Refused
from gnomon.front.exchange import Exchange
from gnomon.front.terms import Terms
from gnomon.http_access import check_host, check_origin

HEALTH = b"/v1/health"
LIVE = b"/livez"
READY = b"/readyz"
INFER = b"/v1/api/pipelines/infer/"

_CALLERS_MAX = 1_024
_RETRY = b"Retry-After: %d\r\n" % limits.RETRY_AFTER_S


class Router:
    """Takes requests and hands them to their exchanges.

    Args:
        allowed_hosts: Host headers that name this server.
        version: Of gnomon, shown by the health route.
        log: Whose trouble is shown by the route that tells whether this front is ready.

    Attributes:
        is_draining: Said by the route that tells whether this front is ready.
    """

    def __init__(self, *, allowed_hosts: frozenset[str], version: str, log: InferenceLog) -> None:
        self._allowed_hosts = allowed_hosts
        self._usual_hosts = frozenset(host.encode() for host in allowed_hosts)
        self._health = orjson.dumps({"status": "ok", "version": version})
        self._log = log
        self._table: RoutingTable | None = None
        self._exchanges: Mapping[bytes, Exchange] = {}
        self._callers: dict[bytes, Caller] = {}  # by Authorization header, as far as known
        self.is_draining = False

    def use(self, table: RoutingTable, exchanges: Iterable[Exchange]) -> None:
        """Route by this table from now on."""
        by_path = {}
        for exchange in exchanges:
            for path in _paths(exchange.route):
                by_path[path] = exchange
        self._table, self._exchanges, self._callers = table, by_path, {}

    def accept(self, call: Call) -> Answerer:
        """Check everything that can be checked before the body is there; say what answers it.

        Raises:
            Misdirected, Forbidden: The request was meant for another server, or sent by the page
                of another site.
            NotFound, NotDeployed, Unauthenticated, HostUnavailable, MalformedRequest, Refused
        """
        head = call.head
        headers = head.headers
        self._check_sender(headers)
        path = _path(head.target)
        if path in (HEALTH, LIVE, READY):
            _check_method(head, (b"GET", b"HEAD"))
            return self._answer_ready if path == READY else self._answer_health
        if not path.startswith(INFER):
            raise NotFound("There is no such route.")
        _check_method(head, (b"POST",))
        self._check_caller(headers.get(b"authorization"))
        exchange = self._exchange(path)
        encoding = headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            raise Refused(415, "Compressed bodies are not taken.")
        query = head.target.partition(b"?")[2]
        return partial(exchange.infer, Terms.of(headers, query, exchange.route))

    def _answer_health(self, call: Call) -> None:
        call.answer(200, self._health)

    def _answer_ready(self, call: Call) -> None:
        """Say whether requests can be answered; challengers and the log do not matter for that.

        A log that is in trouble is told all the same.
        """
        missing = sum(not each.service.is_ready for each in set(self._exchanges.values()))
        if self._table is None:
            reason = "waiting for the routing table"
        elif self.is_draining:
            reason = "stopping"
        elif missing:
            reason = f"{missing} champion{'s' if missing > 1 else ''} without a host"
        else:
            trouble = self._log.trouble
            log = {} if trouble is None else {"log": f"degraded: {trouble}"}
            call.answer(200, orjson.dumps({"status": "ready", **log}))
            return
        call.answer(503, orjson.dumps({"status": "not ready", "reason": reason}), headers=_RETRY)

    def _check_sender(self, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host")
        if host not in self._usual_hosts:
            check_host([] if host is None else [host.decode("latin-1")], self._allowed_hosts)
        origin, fetch_site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is not None or fetch_site is not None:
            check_origin(
                None if origin is None else origin.decode("latin-1"),
                None if fetch_site is None else fetch_site.decode("latin-1"),
                self._allowed_hosts,
            )

    def _check_caller(self, authorization: bytes | None) -> None:
        table = self._table
        if table is None:
            raise HostUnavailable("The server is starting; try again shortly.")
        if table.open_inference:
            return
        caller = self._callers.get(authorization or b"")
        if caller is None:
            text = None if authorization is None else authorization.decode("latin-1")
            caller = authenticate(bearer_token(text), table.token_hashes)
            if len(self._callers) >= _CALLERS_MAX:
                self._callers.clear()
            self._callers[authorization or b""] = caller
        caller.require(Right.INFER)

    def _exchange(self, path: bytes) -> Exchange:
        exchange = self._exchanges.get(path) or self._exchanges.get(_plain(path))
        if exchange is None:
            shown = unquote(path[len(INFER) :].decode("latin-1"))[:140]
            raise NotDeployed(
                f"No pipeline is deployed under {shown!r}. Deploy it, and use the URL that "
                "pipeline.url() gives."
            )
        return exchange


def _paths(route: Route) -> tuple[bytes, bytes]:
    base = INFER + f"{route.pipeline}-{route.deployment_id}".encode()
    return base, base + f"/{route.pipeline}".encode()


def _path(target: bytes) -> bytes:
    if b"?" in target:
        target = target.partition(b"?")[0]
    if target.startswith(b"/"):
        return target
    try:  # a proxy's form, with scheme and host (RFC 9112, section 3.2.2)
        return parse_url(target).path or b"/"
    except HttpParserInvalidURLError:
        return target


def _plain(path: bytes) -> bytes:
    """Return the path unquoted and without a slash at its end."""
    return unquote(path.decode("latin-1")).encode().removesuffix(b"/")


def _check_method(head: Head, allowed: tuple[bytes, ...]) -> None:
    if head.method not in allowed:
        names = b", ".join(allowed).decode()
        raise Refused(405, f"This route takes {names} only.", {"Allow": names})
