"""What the control plane and the fronts may ask for: one JSON object a line, over a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gnomon.core import limits
from gnomon.core.deployment import HostSpec, ProcessStatus
from gnomon.core.errors import GnomonError, Internal, Invalid, ServerError
from gnomon.core.model import Signature
from gnomon.supervisor.hosts import Hosts
from gnomon.supervisor.nursery import NurseryGone

log = logging.getLogger(__name__)

_LOOKS, _LOOK_INTERVAL_S = 5, 0.02


class Orders:
    """Carries out orders; every answer is {"ok": value} or {"error": code, "message": text}."""

    def __init__(self, hosts: Hosts, processes: Callable[[], list[ProcessStatus]]) -> None:
        self._hosts = hosts
        self._processes = processes

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it closes."""
        try:
            while line := await reader.readline():
                answer = await self._answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            log.info("orders.connection_lost")
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": await self._do(json.loads(line))}
        except GnomonError as error:
            return {"error": error.code, "message": error.message}
        except (NurseryGone, OSError) as error:
            log.warning("orders.failed error=%r", error)
            return {"error": ServerError.code, "message": "No model host can be started just now."}
        except Exception:
            log.exception("orders.fault")
            return {"error": Internal.code, "message": "The supervisor failed; see its log."}

    async def _do(self, order: dict[str, Any]) -> Any:
        match order["op"]:
            case "start_host":
                self._hosts.start(HostSpec.from_json(order["spec"]))
                return None
            case "stop_host":
                self._hosts.stop(order["name"])
                return None
            case "replace_host":
                if not await self._is_at_work(order["name"]):
                    self._hosts.replace(order["name"])
                return None
            case "hosts":
                return [status.to_json() for status in self._hosts.status()]
            case "probe":
                declared = order["declared"]
                report = await self._hosts.probe(
                    order["path"],
                    order["sha256"],
                    None if declared is None else Signature.from_json(declared),
                )
                return report.to_json()
            case "processes":
                return [status.to_json() for status in self._processes()]
            case other:
                raise Invalid(f"The supervisor knows no order {str(other)[:40]!r}.")

    async def _is_at_work(self, name: str) -> bool:
        """Say whether a host runs, and so its own watchdog ends what takes too long.

        A front that waits for a host cannot tell that it runs for another front, with more time.
        """
        for _ in range(_LOOKS):
            pid = next((host.pid for host in self._hosts.status() if host.name == name), None)
            if pid is not None and "R" in _thread_states(pid):
                return True
            await asyncio.sleep(_LOOK_INTERVAL_S)
        return False


def _thread_states(pid: int) -> set[str]:
    """Return the states of a process's threads, as /proc has them: R works, T is stopped."""
    states = set()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            states.add(stat.read_text().rpartition(")")[2].split()[0])
    return states


LINE_BYTES_MAX = limits.CONTROL_MESSAGE_BYTES_MAX
