"""What the control plane asks of the place where hosts and fronts run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gnomon.core.deployment import HostSpec, HostStatus, ProbeReport, ProcessStatus
from gnomon.core.model import Signature
from gnomon.core.routing import RoutingTable
from gnomon.core.stats import FrontStats

__all__ = ["Backend", "HostSpec", "HostStatus", "ProbeReport", "ProcessStatus"]


class Backend(Protocol):
    """Starts and watches hosts, and tells the fronts where requests go. Any thread may call.

    Every method raises ServerUnreachable while the place does not answer.
    `tests/contract/test_backend.py` says what all implementations do.
    """

    def start_host(self, spec: HostSpec) -> None:
        """Keep this host running, through crashes, until it is stopped.

        Once for a name: a second call changes nothing, except that a host which failed is tried
        again. `hosts()` lists it from now on.

        Raises:
            LimitReached: No more hosts fit.
        """

    def stop_host(self, name: str) -> None:
        """Let a host answer what it was asked and end; none of that name is fine.

        `hosts()` lists it no more, or as "stopping".
        """

    def hosts(self) -> list[HostStatus]:
        """Return every host that was started and not stopped."""

    def probe(self, path: Path, sha256: str, declared: Signature | None = None) -> ProbeReport:
        """Load a model file once, away from everything else, and say what it takes and gives.

        Takes up to `PROBE_TIMEOUT_S`.

        Args:
            declared: What a Python model is said to take and give; None: it is an ONNX file.
        """

    def publish(self, table: RoutingTable) -> None:
        """Make every front route by this table; returns when each does.

        Raises:
            ServerUnreachable: A front did not answer; it may or may not use the table.
        """

    def commit_logs(self) -> list[str]:
        """Make readable what the fronts logged so far.

        Returns:
            Names of the fronts that did not do so within `LOG_COMMIT_WAIT_S`.
        """

    def front_stats(self) -> list[FrontStats]:
        """Return what each front counted; one that does not answer soon is there, and says so."""

    def processes(self) -> list[ProcessStatus]:
        """Return the processes other than hosts."""
