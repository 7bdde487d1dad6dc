"""How the control plane talks to a front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnomon import unix_sockets
from gnomon.core import limits
from gnomon.core.errors import ServerError
from gnomon.core.routing import RoutingTable


class FrontClient:
    """Orders over a front's socket, one connection a call; any thread may call.

    Every method raises ServerUnreachable if the front does not answer in time, ServerError if it
    could not do what was asked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def route(self, table: RoutingTable) -> None:
        """Make the front route by `table`; when this returns, new requests do.

        An older table than the front has changes nothing.
        """
        self._call({"op": "route", "table": table.to_json()})

    def commit(self) -> None:
        """Have everything that was logged so far committed, within `LOG_COMMIT_WAIT_S`."""
        self._call({"op": "commit"})

    def stats(self) -> dict[str, Any]:
        """Return what the front counts.

        Returns:
            connected: Host name to whether the front has its connection.
            requests: Inference requests so far.
            log: Requests and observations appended, dropped, uncommitted.
            models: Deployment id to label to what became of the requests: `sampled`, the number
                by status, the quantiles `p50_ms` and `p99_ms` of the latest (of the champion from
                arrival to answer, of a challenger of its runs), the state of its `breaker` (None:
                the champion), and whether its host is `connected`.
        """
        return self._call({"op": "stats"})

    def _call(self, order: dict[str, Any]) -> dict[str, Any]:
        answer = unix_sockets.ask(
            self._path, order, whom="the front", timeout_s=limits.FRONT_CALL_TIMEOUT_S
        )
        if not answer.pop("ok"):
            raise ServerError(f"The front did not carry out {order['op']!r}: {answer['error']}")
        return answer
