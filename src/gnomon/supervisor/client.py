"""How the control plane and the fronts talk to the supervisor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gnomon import unix_sockets
from gnomon.core import limits
from gnomon.core.deployment import HostSpec, HostStatus, ProbeReport, ProcessStatus
from gnomon.core.errors import ServerUnreachable, from_code


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

    def probe(self, path: Path, sha256: str) -> ProbeReport:
        """Load a model file in a throw-away host; takes up to `PROBE_TIMEOUT_S`."""
        order = {"op": "probe", "path": str(path), "sha256": sha256}
        timeout_s = limits.PROBE_TIMEOUT_S + limits.SUPERVISOR_CALL_TIMEOUT_S
        return ProbeReport.from_json(self._call(order, timeout_s=timeout_s))

    def processes(self) -> list[ProcessStatus]:
        """Return the processes other than hosts."""
        return [ProcessStatus.from_json(status) for status in self._call({"op": "processes"})]

    def _call(
        self, order: dict[str, Any], *, timeout_s: float = limits.SUPERVISOR_CALL_TIMEOUT_S
    ) -> Any:
        try:
            with unix_sockets.connect(self._path, timeout_s=timeout_s) as connection:
                connection.sendall(json.dumps(order).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    answer = json.loads(lines.readline(limits.CONTROL_MESSAGE_BYTES_MAX))
        except (OSError, ValueError) as error:
            raise ServerUnreachable("The supervisor does not answer.") from error
        if "error" in answer:
            raise from_code(answer["error"], answer["message"])
        return answer["ok"]
