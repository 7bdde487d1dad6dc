"""An exchange whose channels are functions of this process, and callers of it."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import uvloop

from gnomon.core.errors import ModelFailed
from gnomon.front.calls import Call, run
from gnomon.front.exchange import Exchange, Tally
from gnomon.testing import FakeChannel, ListLog


def twice(x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (x * 2,)


def broken(_: np.ndarray) -> tuple[np.ndarray, ...]:
    raise ModelFailed("division by zero")


class Answers:
    """A connection that keeps what is written to it."""

    date_line = b""

    def closes_after(self, call: Call) -> bool:
        return False

    def answered(self, call: Call, answer: bytes) -> None:
        call.answer_bytes = answer


class Desk:
    """An exchange, its channels, and callers."""

    def __init__(self, deployed) -> None:
        self.loop = uvloop.new_event_loop()
        self.log = ListLog()
        self.channels = {model.label: FakeChannel(model, twice) for model in deployed.models()}
        self.tallies = {model.label: Tally() for model in deployed.models()}
        self.exchange = self.within(self._make(deployed))

    async def _make(self, deployed) -> Exchange:
        hosts = {model.host: self.channels[model.label] for model in deployed.models()}
        return Exchange(deployed, channels=hosts, tallies=self.tallies, log=self.log)

    def within(self, work):
        return self.loop.run_until_complete(work)

    def infer(self, value=None, request_id: str = "id-1", **headers: int) -> Call:
        call = Call(
            Answers(),
            method=b"POST",
            target=b"/",
            headers={
                name.replace("_", "-").encode(): str(text).encode()
                for name, text in headers.items()
            },
            request_id=request_id,
            time_ns=1_700_000_000_123_456_789,
            http_10=False,
            keep_alive=True,
        )
        call.body = json.dumps(value or {"tensor": [[1, 2]]}).encode()

        class Direct:
            accept = None
            run = staticmethod(self.exchange.infer)

        async def go() -> None:
            run(Direct(), call)

        self.within(go())
        return call

    def wait_answered(self, call: Call) -> None:
        async def wait() -> None:
            async with asyncio.timeout(5):
                while call.answer_bytes is None:
                    await asyncio.sleep(0)

        self.within(wait())

    def status(self, label: str) -> dict[str, int]:
        return {name: count for name, count in self.tallies[label].to_json().items() if count}


def status_of(call: Call) -> int:
    assert call.answer_bytes is not None
    return int(call.answer_bytes.split()[1])


def json_of(call: Call):
    assert call.answer_bytes is not None
    return json.loads(call.answer_bytes.partition(b"\r\n\r\n")[2])


def outputs_of(call: Call):
    return json_of(call)[0]["outputs"]
