"""Orders of the control plane: one JSON object a line, over a unix socket only it may use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import orjson

from gnomon import unix_sockets
from gnomon.core import limits
from gnomon.core.inference import InferenceLog
from gnomon.core.routing import RoutingTable

_LOG = logging.getLogger("gnomon.front.control")

Order = Mapping[str, Any]


class FrontLog(InferenceLog, Protocol):
    """The inference log as a front needs it; `log/writer.py` has it."""

    def deliver_by(self, deliver: Callable[[Callable[[], None]], object]) -> None:
        """Have those who wait for a commit told so."""

    def commit(self, timeout_s: float) -> bool:
        """Wait until all that was appended so far is committed; False if that takes longer."""

    def stats(self) -> dict[str, Any]:
        """Return how many entries were appended, dropped, and are not committed yet."""


class Ordered(Protocol):
    """What carries out the orders."""

    async def route(self, table: RoutingTable) -> int:
        """Route by a table; return the version of the one in use then."""

    def stats(self) -> dict[str, Any]:
        """Return what the front counts."""


class OrderServer:
    """Takes orders until it is closed.

    Args:
        front: Carries them out.
        log: Committed on order, in a thread.
    """

    def __init__(self, front: Ordered, log: FrontLog) -> None:
        self._front = front
        self._log = log
        self._committers = ThreadPoolExecutor(2, thread_name_prefix="commit")
        self._server: asyncio.Server | None = None
        self._orders: dict[str, Callable[[Order], Awaitable[dict[str, Any]]]] = {
            "route": self._route,
            "commit": self._commit,
            "stats": self._stats,
        }

    async def listen(self, path: Path) -> None:
        """Take orders at a unix socket, replacing a stale one."""
        self._server = await asyncio.start_unix_server(
            self._converse,
            sock=unix_sockets.listen(path),
            limit=limits.CONTROL_MESSAGE_BYTES_MAX,
        )

    def close(self) -> None:
        """Take no more orders."""
        if self._server is not None:
            self._server.close()
        self._committers.shutdown(wait=False, cancel_futures=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await asyncio.wait_for(reader.readline(), limits.KEEP_ALIVE_S):
                writer.write(orjson.dumps(await self._carry_out(line)) + b"\n")
                await asyncio.wait_for(writer.drain(), limits.FRONT_CALL_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError):  # gone, silent, or a line that is too long
            pass
        finally:
            writer.close()

    async def _carry_out(self, line: bytes) -> dict[str, Any]:
        try:
            order = orjson.loads(line)
            return {"ok": True, **await self._orders[order["op"]](order)}
        except Exception as error:
            _LOG.exception("an order was not carried out")
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    async def _route(self, order: Order) -> dict[str, Any]:
        return {"version": await self._front.route(RoutingTable.from_json(order["table"]))}

    async def _commit(self, _: Order) -> dict[str, Any]:
        committed = await asyncio.get_running_loop().run_in_executor(
            self._committers, self._log.commit, limits.LOG_COMMIT_WAIT_S
        )
        if not committed:
            raise TimeoutError("the log was not committed in time")
        return {}

    async def _stats(self, _: Order) -> dict[str, Any]:
        return self._front.stats()
