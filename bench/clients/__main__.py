"""Measure a champion's callers beside 10,000 idle and 500 slow ones: python -m bench.clients."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.isolation.__main__ import CLIENT_CORE, SERVER_CORE
from bench.isolation.load import request
from bench.isolation.serving import serving
from bench.overload.load import Client, percentile_ms
from bench.report import Figure, show
from bench.servers import tree, work
from gnomon.core import limits

OUTPUT = Path("bench-clients.json")
IDLE = limits.CONNECTIONS_MAX - 100
SLOW = 500
DEAF = 20  # each is sent more than the system keeps for a connection
RATE, SECONDS = 500.0, 5.0
IDLE_P99_FACTOR, SLOW_P99_FACTOR, P99_EXTRA_MS = 1.2, 1.5, 2.0
IDLE_MB, SLOW_MB = 200.0, 256.0
_SLACK_S, _SETTLE_S = 5.0, 4.0
_LARGE_ROWS = 1_000


class Crowd:
    """Connections that are no good: they never read what the server says.

    Args:
        first: Sent by each at once, as far as the server takes it.
        drip: Sent by each every second; empty: nothing.
    """

    def __init__(self, url: str, count: int, first: bytes, drip: bytes = b"") -> None:
        self._port = urlsplit(url).port or 80
        self._drip = drip
        self._others = self._held()
        self._start = time.monotonic()
        self._clients = [self._connect(first) for _ in range(count)]

    def _connect(self, first: bytes) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)
        with contextlib.suppress(OSError):
            client.sendall(first)
        return client

    def _held(self) -> int:
        """Return how many connections of its port the server has not closed."""
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        established = (line.split()[1:4] for line in lines)
        return sum(
            local.endswith(f":{self._port:04X}") and state == "01"
            for local, _, state in established
        )

    def close(self) -> None:
        """Close them all."""
        for client in self._clients:
            client.close()

    def closed_after_s(self, most_s: float) -> float:
        """Go on until the server has closed them all; return when, or infinity after `most_s`."""
        while (now_s := time.monotonic() - self._start) < most_s:
            if self._held() <= self._others:
                return now_s
            for client in self._clients if self._drip else []:
                with contextlib.suppress(OSError):
                    client.send(self._drip)
            time.sleep(1.0)
        return float("inf")


def beside(
    name: str,
    probe: Callable[[], float],
    make: Callable[[], Crowd],
    *,
    factor: float,
    most_mb: float,
) -> tuple[Crowd, list[Figure]]:
    """Return a crowd, and what others feel of it."""
    usual_ms = probe()
    before_mb, _ = tree.memory_mb()
    crowd = make()
    crowd.closed_after_s(_SETTLE_S)  # the burst that it begins with is no matter here
    p99_ms = probe()
    after_mb, _ = tree.memory_mb()
    allowed_ms = factor * usual_ms + P99_EXTRA_MS
    return crowd, [
        Figure(f"{name}: p99 of the others", "ms", allowed_ms, [p99_ms]),
        Figure(f"{name}: RSS growth", "MB", most_mb, [after_mb - before_mb]),
    ]


def measure(url: str, row: list[float], headers: dict[str, str]) -> list[Figure]:
    """Return the figures of all crowds, one after the other."""
    message = request(url, json.dumps({"tensor": [row]}).encode(), headers)
    large = request(url, json.dumps({"tensor": [row] * _LARGE_ROWS}).encode(), headers)
    head, _, body = message.partition(b"\r\n\r\n")
    health = b"GET /v1/health HTTP/1.1\r\nHost: " + urlsplit(url).netloc.encode() + b"\r\n\r\n"
    stall_s = limits.BODY_STALL_TIMEOUT_S
    crowds = [
        (f"{SLOW} that drip a head", SLOW, head[:20], b"x", limits.HEAD_TIMEOUT_S),
        (f"{SLOW} that drip a body", SLOW, message[: -len(body)], b" ", stall_s),
        (f"{SLOW} that stop in a body", SLOW, message[:-1], b"", stall_s),
        (f"{DEAF} that never read", DEAF, large * 16, b"", stall_s),
        (f"{IDLE:,} idle", IDLE, health, b"", limits.KEEP_ALIVE_S),
    ]
    figures = []
    with Client(url, message, connections=32) as client:

        def probe() -> float:
            seen = client.load(rate=RATE, seconds=SECONDS)
            assert len(seen.answered_s) == seen.asked, seen.failures
            return percentile_ms(seen.answered_s, 99)

        for name, count, first, drip, after_s in crowds:
            crowd, felt = beside(
                name,
                probe,
                lambda: Crowd(url, count, first, drip),  # noqa: B023
                factor=IDLE_P99_FACTOR if count == IDLE else SLOW_P99_FACTOR,
                most_mb=IDLE_MB if count == IDLE else SLOW_MB,
            )
            most_s = after_s + _SLACK_S
            closed_s = crowd.closed_after_s(2 * most_s)
            crowd.close()
            figures += [
                *felt,
                Figure(f"{name}: all are closed after", "s", most_s, [closed_s]),
            ]
            for figure in figures[-3:]:
                print(figure.line(), flush=True)
    return figures


def main(given: Sequence[str] | None = None) -> int:
    """Measure; the exit code is the number of missed targets, -1 (255) when nothing can be."""
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help=str(OUTPUT))
    told = parser.parse_args(given)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * limits.CONNECTIONS_MAX or not {0, 1} <= os.sched_getaffinity(0):
        print("two cores are needed, and 'ulimit -n 20000'", file=sys.stderr)
        return -1
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * limits.CONNECTIONS_MAX, hard))
    os.sched_setaffinity(0, {CLIENT_CORE})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    tree.adopt_orphans()
    work_given = work.load()
    with (
        tempfile.TemporaryDirectory(prefix="gnomon-clients-", ignore_cleanup_errors=True) as name,
        serving(Path(name), work_given.model, {SERVER_CORE}) as server,
    ):
        url, headers = server.deploy(None, None)
        figures = measure(url, work_given.row, headers)
    return show(figures, told.output)


if __name__ == "__main__":
    sys.exit(main())
