"""An exchange whose channels are functions of this process, and callers of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import numpy as np
import uvloop

from gnomon.core.errors import ModelFailed
from gnomon.core.inference import Status
from gnomon.front.calls import Call, Head, run
from gnomon.front.exchange import Exchange
from gnomon.front.port import HttpTimers, Port
from gnomon.front.tallies import Tally
from gnomon.front.terms import Terms
from gnomon.testing import FakeChannel, ListLog


def twice(x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (x * 2,)


def broken(_: np.ndarray) -> tuple[np.ndarray, ...]:
    raise ModelFailed("division by zero")


class Answers:
    """A connection that keeps what is written to it."""

    port = Port(handler=None, timers=HttpTimers(), now=0.0)

    def closes_after(self, call: Call) -> bool:
        return False

    def answered(self, call: Call, answer: bytes) -> None:
        call.answer_bytes = answer


class Desk:
    """An exchange, its channels, and callers."""

    def __init__(self, deployed) -> None:
        self.loop = uvloop.new_event_loop()
        self.log = ListLog()
        self.channels = {model.label: FakeChannel(model, twice) for model in deployed.served()}
        self.tallies = {model.label: Tally() for model in deployed.served()}
        self.exchange = self.within(self._make(deployed))

    async def _make(self, deployed) -> Exchange:
        hosts = {model.host: self.channels[model.label] for model in deployed.served()}
        return Exchange.of(deployed, channels=hosts, tallies=self.tallies, log=self.log)

    def within(self, work):
        return self.loop.run_until_complete(work)

    def infer(self, value=None, request_id: str = "id-1", **headers: int) -> Call:
        [call] = self.infer_together([value or {"tensor": [[1, 2]]}], request_id, **headers)
        return call

    def infer_together(self, values, request_id: str = "id", **headers: int) -> list[Call]:
        """Send requests within one turn of the loop; bytes as they are, all else as JSON."""
        said = {
            name.replace("_", "-").encode(): str(text).encode() for name, text in headers.items()
        }
        head = Head(b"POST", b"/", said, keep_alive=True)
        calls = []
        for number, value in enumerate(values):
            name = request_id if len(values) == 1 else f"{request_id}-{number}"
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            calls.append(Call(Answers(), head, name, 1_700_000_000_123_456_789, body))

        def answer(call: Call) -> None:
            self.exchange.infer(Terms.of(said, b"", self.exchange.route), call)

        self.do(lambda: [run(answer, call) for call in calls])
        return calls

    def release(self, label: str) -> None:
        """Let a channel run what waits."""
        self.do(self.channels[label].release)

    def do(self, work: Callable[[], object]) -> None:
        """Do something in the loop, and let happen what follows from it."""

        async def go() -> None:
            work()
            for _ in range(3):  # a group is made; answered; logged and shown to the challengers
                await asyncio.sleep(0)

        self.within(go())

    def wait_answered(self, call: Call) -> None:
        async def wait() -> None:
            async with asyncio.timeout(5):
                while call.answer_bytes is None:
                    await asyncio.sleep(0)

        self.within(wait())

    def status(self, label: str) -> dict[str, int]:
        counts = self.tallies[label].to_json()
        return {status: counts[status] for status in (*Status,) if counts[status]}


def status_of(call: Call) -> int:
    assert call.answer_bytes is not None
    return int(call.answer_bytes.split()[1])


def json_of(call: Call):
    assert call.answer_bytes is not None
    return json.loads(call.answer_bytes.partition(b"\r\n\r\n")[2])


def outputs_of(call: Call):
    return json_of(call)[0]["outputs"]


def data_of(call: Call) -> list[float]:
    return outputs_of(call)[0]["Float"]["data"]
