"""A 3.7 MB image tensor in Arrow, beside a model in the server's process.

Run: python -m bench.servers.image [--help]

One caller asks gnomon and a uvicorn with the model inline in turns. What gnomon takes longer is its
log, which keeps the image, and its host; `bench.buffers` has the host alone, and the target.
"""

from __future__ import annotations

import contextlib
import http.client
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np

from bench.report import Figure, show
from bench.servers import figures, floors, ours, payloads, tree, work
from bench.servers.measuring import learnt, wait_for_answer
from bench.servers.sending import Sending
from bench.servers.server import Address

WARM_UP_RUNS = 20
ONLY_OUTPUTS = "?dataset=out"  # the answer does not repeat the image


class Caller:
    """One connection to one server."""

    def __init__(self, address: Address) -> None:
        place = urlsplit(address.url)
        self._connection = http.client.HTTPConnection(place.netloc, timeout=30)
        self._target = f"{place.path}?{place.query}"
        self._address = address
        self.took_ms: list[float] = []

    def ask(self) -> None:
        """Ask once, check the answer, keep how long it took."""
        start = perf_counter()
        self._connection.request(
            "POST", self._target, self._address.body, dict(self._address.headers)
        )
        answer = self._connection.getresponse().read()
        self.took_ms.append((perf_counter() - start) * 1_000)
        expected = self._address.expected
        assert expected is not None
        assert expected.text in answer, answer[:200]


def main() -> int:
    """Measure; return the exit code: the number of missed targets."""
    told = figures.parser("image", __doc__, cores="0", seconds=5).parse_args()
    machine = figures.machine(told)
    added = Figure("3.7 MB image: p50 of gnomon, less that of a model inline", "ms", None)
    longer = Figure("3.7 MB image: p50 of gnomon", "ms", None)
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="gnomon-bench-"))
        model = Path(name) / "means.onnx"
        model.write_bytes(payloads.image_model())
        image = np.random.default_rng(7).random((1, *payloads.IMAGE), dtype=np.float32)
        given = work.Work(model=model, challengers={}, row=[], expected=0.0)
        callers = []
        for server in (ours.SERVERS[0], floors.BareUvicorn(app="arrow_app")):
            sending = Sending(
                server,
                server.name,
                payloads.arrow("image", image),
                payloads.ARROW,
                ONLY_OUTPUTS,
                answer=payloads.answers(model, image),
            )
            scratch = Path(name) / server.name
            scratch.mkdir()
            running = stack.enter_context(sending.running(given, machine, scratch))
            learnt(running.address, wait_for_answer(running, scratch / "server.log"), given)
            callers.append(Caller(running.address))
        tree.pin(machine.server_cores)
        for _ in range(told.rounds):
            p50_ms = in_turns(callers, told.seconds)
            print(f"gnomon {p50_ms[0]:.2f} ms, inline {p50_ms[1]:.2f} ms")
            added.runs.append(p50_ms[0] - p50_ms[1])
            longer.runs.append(p50_ms[0])
    return show([added, longer], told.output)


def in_turns(callers: list[Caller], seconds: float) -> list[float]:
    """Return the median of each caller, milliseconds."""
    for caller in callers:
        for _ in range(WARM_UP_RUNS):
            caller.ask()
        caller.took_ms.clear()
    end = perf_counter() + seconds
    while perf_counter() < end:
        for caller in callers:
            caller.ask()
    return [statistics.median(caller.took_ms) for caller in callers]


if __name__ == "__main__":
    sys.exit(figures.run(main))
