"""How the control plane and the fronts talk to the supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnomon import unix_sockets
from gnomon.core import limits
from gnomon.core.deployment import HostSpec, HostStatus, ProbeReport, ProcessStatus
from gnomon.core.errors import from_code
from gnomon.core.model import Signature


class SupervisorClient:
    """Orders over the supervisor's socket, one connection a call; any thread may call.

    Every method raises ServerUnreachable if the supervisor does not answer in time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def start_host(self, spec: HostSpec) -> None:
        """Keep this host running until it is stopped; a second call changes nothing."""
        self._call({"op": "start_host", "spec": spec.to_json()})

    def stop_host(self, name: str) -> None:
        """Let a host finish its connections and end; unknown names are fine."""
        self._call({"op": "stop_host", "name": name})

    def replace_host(self, name: str) -> None:
        """End a host's process and start another; for one that is past its own watchdog."""
        self._call({"op": "replace_host", "name": name})

    def hosts(self) -> list[HostStatus]:
        """Return every host that is wanted."""
        return [HostStatus.from_json(status) for status in self._call({"op": "hosts"})]

    def probe(self, path: Path, sha256: str, declared: Signature | None = None) -> ProbeReport:
        """Load a model file in a throw-away host; takes up to `PROBE_TIMEOUT_S`.

        Args:
            declared: What a Python model is said to take and give; None: it is an ONNX file.
        """
        order = {
            "op": "probe",
            "path": str(path),
            "sha256": sha256,
            "declared": None if declared is None else declared.to_json(),
        }
        timeout_s = limits.PROBE_TIMEOUT_S + limits.SUPERVISOR_CALL_TIMEOUT_S
        return ProbeReport.from_json(self._call(order, timeout_s=timeout_s))

    def processes(self) -> list[ProcessStatus]:
        """Return the processes other than hosts."""
        return [ProcessStatus.from_json(status) for status in self._call({"op": "processes"})]

    def _call(
        self, order: dict[str, Any], *, timeout_s: float = limits.SUPERVISOR_CALL_TIMEOUT_S
    ) -> Any:
        answer = unix_sockets.ask(self._path, order, whom="the supervisor", timeout_s=timeout_s)
        if "error" in answer:
            raise from_code(answer["error"], answer["message"])
        return answer["ok"]
