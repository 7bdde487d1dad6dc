"""The backend for one machine: the supervisor runs the hosts, the fronts are told directly."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

from gnomon.core import limits
from gnomon.core.deployment import HostSpec, HostStatus, ProbeReport, ProcessStatus
from gnomon.core.errors import ServerError, ServerUnreachable
from gnomon.core.model import Signature
from gnomon.core.routing import RoutingTable
from gnomon.core.stats import FrontStats
from gnomon.private_files import write_private

log = logging.getLogger(__name__)


class Supervisor(Protocol):
    """What `supervisor/client.py` offers; ServerUnreachable if the supervisor does not answer."""

    def start_host(self, spec: HostSpec) -> None: ...
    def stop_host(self, name: str) -> None: ...
    def hosts(self) -> list[HostStatus]: ...
    def probe(self, path: Path, sha256: str, declared: Signature | None = None) -> ProbeReport: ...
    def processes(self) -> list[ProcessStatus]: ...


class Front(Protocol):
    """What `front/client.py` offers; ServerUnreachable if the front does not answer."""

    def route(self, table: RoutingTable) -> None: ...
    def commit(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...


class LocalBackend:
    """Implements `Backend` with processes of this machine.

    Args:
        supervisor: Where hosts are started and stopped.
        fronts: By name.
        routing_file: The last published table, which a restarted front reads; 0600, for it holds
            the hashes of tokens.
    """

    def __init__(
        self, supervisor: Supervisor, fronts: Mapping[str, Front], routing_file: Path
    ) -> None:
        self._supervisor = supervisor
        self._fronts = fronts
        self._routing_file = routing_file
        self._publishing = threading.Lock()
        self._asking = threading.Lock()
        self._stats: dict[str, Future[dict[str, Any]]] = {}
        self._counters = ThreadPoolExecutor(max(1, len(fronts)), thread_name_prefix="front-stats")
        self._callers = ThreadPoolExecutor(
            2 * max(1, len(fronts)),  # a front that does not commit keeps no table waiting
            thread_name_prefix="front-call",
        )

    def start_host(self, spec: HostSpec) -> None:
        """See `Backend`."""
        self._supervisor.start_host(spec)

    def stop_host(self, name: str) -> None:
        """See `Backend`."""
        self._supervisor.stop_host(name)

    def hosts(self) -> list[HostStatus]:
        """See `Backend`."""
        return self._supervisor.hosts()

    def probe(self, path: Path, sha256: str, declared: Signature | None = None) -> ProbeReport:
        """See `Backend`."""
        return self._supervisor.probe(path, sha256, declared)

    def processes(self) -> list[ProcessStatus]:
        """See `Backend`."""
        return self._supervisor.processes()

    def publish(self, table: RoutingTable) -> None:
        """See `Backend`. A front that starts meanwhile finds the table in the file."""
        with self._publishing:
            try:
                write_private(self._routing_file, json.dumps(table.to_json()).encode())
            except OSError as error:
                raise ServerError("The routing table could not be written.") from error
            calls = {
                self._callers.submit(front.route, table): name
                for name, front in self._fronts.items()
            }
            wait_for(calls, timeout=limits.FRONT_CALL_TIMEOUT_S)
        for call, name in calls.items():
            if not call.done():
                raise ServerUnreachable(f"{name} did not take the routing table in time.")
            call.result()

    def commit_logs(self) -> list[str]:
        """See `Backend`."""
        calls = {self._callers.submit(front.commit): name for name, front in self._fronts.items()}
        wait_for(calls, timeout=limits.LOG_COMMIT_WAIT_S)
        unread = []
        for call, name in calls.items():
            if not call.done() or call.exception() is not None:
                call.cancel()
                log.warning("front.log_not_committed front=%s", name)
                unread.append(name)
        return unread

    def front_stats(self) -> list[FrontStats]:
        """See `Backend`. A front that does not answer is asked again when that call is over."""
        with self._asking:
            for name, front in self._fronts.items():
                if name not in self._stats or self._stats[name].done():
                    self._stats[name] = self._counters.submit(front.stats)
            calls = dict(self._stats)
        wait_for(calls.values(), timeout=limits.FRONT_STATS_WAIT_S)
        return [_stats_of(name, call) for name, call in calls.items()]

    def close(self) -> None:
        """Stop calling."""
        self._callers.shutdown(wait=False, cancel_futures=True)
        self._counters.shutdown(wait=False, cancel_futures=True)


def _stats_of(name: str, call: Future[dict[str, Any]]) -> FrontStats:
    if not call.done() or call.exception() is not None:
        return FrontStats(front=name, answers=False)
    return FrontStats.from_json(name, call.result())
