"""Latency at half of capacity, open loop, on two cores: python -m bench.servers.half [--help].

gnomon and a bare uvicorn get requests at one rate, whatever becomes of the answers before: half of
what the slower of the two answers to this client without a pause.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.isolation.load import OpenLoop, Seen, request
from bench.report import Figure, show
from bench.servers import figures, floors, ours, tree, work
from bench.servers.answers import Expected
from bench.servers.measuring import learnt, wait_for_answer
from bench.servers.server import Address, Machine, Server

WARM_UP_S = 1.0
CAPACITY_S = 2.0
SERVERS: list[Server] = [ours.SERVERS[0], floors.SERVERS[0]]


@contextlib.contextmanager
def started(
    server: Server, given: work.Work, machine: Machine
) -> Iterator[tuple[Address, Expected]]:
    """Run a server on its cores, warm."""
    with tempfile.TemporaryDirectory(prefix="gnomon-bench-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        with server.running(given, machine, scratch) as running:
            first = wait_for_answer(running, scratch / "server.log")
            expected = learnt(running.address, first, given)
            tree.pin(machine.server_cores)
            loaded(running.address, None, WARM_UP_S)
            tree.pin(machine.server_cores)  # what was started since
            yield running.address, expected


def loaded(address: Address, rate: float | None, seconds: float) -> Seen:
    """Send requests at a rate; None: without a pause."""
    message = request(address.url, address.body, address.headers)
    return OpenLoop(address.url, message, rate=rate, seconds=seconds).run()


def wrong(seen: Seen, expected: Expected) -> int:
    """Return how many requests were not answered, or not rightly."""
    usual = expected.context + expected.text + expected.after
    return seen.asked - sum(usual in body for body in seen.answers)


def capacity(given: work.Work, machine: Machine) -> float:
    """Return what the slower of the servers answers without a pause, requests a second."""
    found = []
    for server in SERVERS:
        with started(server, given, machine) as (address, _):
            seen = loaded(address, None, CAPACITY_S)
        found.append(len(seen.answers) / seen.duration_s)
        print(
            f"{server.name}: {found[-1]:,.0f} requests/s closed loop, client {seen.busy:.0%} busy"
        )
    return min(found)


def main() -> int:
    """Measure; return the exit code: the number of missed targets."""
    told = figures.parser("half", __doc__, cores="0,1", seconds=10).parse_args()
    machine, given = figures.machine(told), work.load()
    rate = capacity(given, machine) / 2
    ratio = Figure(f"p99 at {rate:,.0f} requests/s, gnomon / uvicorn", "x", 1.5)
    failed = Figure("requests that failed or were answered wrongly, gnomon", "", 0)
    for _ in range(told.rounds):
        p99_ms = []
        for server in SERVERS:
            with started(server, given, machine) as (address, expected):
                seen = loaded(address, rate, told.seconds)
            p99_ms.append(seen.latency_ms(99))
            print(
                f"{server.name:<10} p50 {seen.latency_ms(50):.3f} ms, p99 {p99_ms[-1]:.3f} ms, "
                f"client {seen.busy:.0%} busy"
            )
            if server is SERVERS[0]:
                failed.runs.append(wrong(seen, expected))
        ratio.runs.append(p99_ms[0] / p99_ms[1])
    return show([ratio, failed], told.output)


if __name__ == "__main__":
    sys.exit(figures.run(main))
