"""Measure what a champion's callers feel of a challenger: python -m bench.isolation [--help]."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.isolation import load, models, table
from bench.isolation.serving import Serving, serving
from bench.servers import tree, work

SERVER_CORE, CLIENT_CORE = 0, 1
OUTPUT = Path("bench-isolation.json")
WARM_UP_S = 1.0
CAPACITY_S = 2.0

ABOUT = {
    "slow": f"takes {models.SLOWER} times as long as the champion",
    "errors": "raises an error on every row",
    "crashes": "ends its process at each run",
    "hangs": "never ends a run",
    "memory": "fills 600 MB, then wants 16 GB",
}


def names(text: str) -> list[str]:
    """Read names of challengers."""
    chosen = text.split(",")
    for name in chosen:
        if name not in ABOUT:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(ABOUT)}")
    return chosen


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=10.0, help="of each case (10)")
    parser.add_argument("--rate", type=positive, help="requests/s (half of what is reached alone)")
    parser.add_argument("--only", type=names, default=list(ABOUT), metavar="NAME,NAME")
    parser.add_argument("--two-cores", action="store_true", help="for the server; the client's too")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=str(OUTPUT))
    return parser.parse_args(given)


def made(names: Sequence[str], row: models.Row, champion: Path, scratch: Path) -> dict[str, Path]:
    """Write the challengers' files."""
    makers: dict[str, Callable[[], bytes]] = {
        "slow": lambda: models.slow(row, champion, scratch),
        "errors": lambda: models.erring(row),
        "crashes": lambda: models.crashing(row),
        "hangs": lambda: models.hanging(row),
        "memory": lambda: models.eating(row),
    }
    paths = {name: scratch / f"{name}.onnx" for name in names}
    for name, path in paths.items():
        path.write_bytes(makers[name]())
    return paths


@dataclass
class Bench:
    """The load that every case gets.

    Attributes:
        row: On this row challengers misbehave.
        rate: Requests a second; None until it is known.
        expected: What the champion says alone; empty until it is known.
    """

    server: Serving
    row: models.Row
    seconds: float
    rate: float | None
    expected: str = ""

    def alone(self, name: str) -> table.Result:
        """Measure the champion alone; the first time also what it can do, and what it says."""
        url, real = self._ready(None, None)
        if self.rate is None:
            seen = load.OpenLoop(url, real, rate=None, seconds=CAPACITY_S).run()
            capacity = len(seen.answers) / seen.duration_s
            self.rate = capacity / 2
            print(f"closed loop: {capacity:,.0f} requests/s, client {seen.busy:.0%} busy")
        seen = load.OpenLoop(url, real, rate=self.rate, seconds=self.seconds).run()
        if seen.answers and not self.expected:
            self.expected = table.of_champion(seen.answers[0])
        return table.result(name, seen, self.expected, {})

    def beside(self, name: str, path: Path) -> table.Result:
        """Measure the champion beside a challenger."""
        url, real = self._ready(name, path)
        before = self.server.runs(name)
        seen = load.OpenLoop(url, real, rate=self.rate, seconds=self.seconds).run()
        runs = self.server.settled_runs(name)
        runs.subtract(before)
        return table.result(name, seen, self.expected, {k: v for k, v in runs.items() if v})

    def _ready(self, name: str | None, path: Path | None) -> tuple[str, bytes]:
        """Deploy and warm up with a row that harms nobody; return URL and the real request."""
        self.server.calm()
        url, headers = self.server.deploy(name, path)

        def message(row: models.Row) -> bytes:
            body = json.dumps({"tensor": row.astype(np.float64).tolist()}).encode()
            return load.request(url, body, headers)

        harmless = message(np.zeros_like(self.row))
        load.OpenLoop(url, harmless, rate=200, seconds=WARM_UP_S).run()
        if name is not None:
            self.server.settled_runs(name)
        return url, message(self.row)


def measure(told: argparse.Namespace, scratch: Path) -> tuple[list[table.Result], float]:
    """Measure all cases; return them and the rate in requests a second."""
    given = work.load()
    row = np.array([given.row], dtype=np.float32)
    paths = made(told.only, row, given.model, scratch)
    cores = {SERVER_CORE, CLIENT_CORE} if told.two_cores else {SERVER_CORE}
    print(f"{given.model.name}, one row a request, {load.CONNECTIONS} connections")
    with serving(scratch, given.model, cores) as server:
        bench = Bench(server, row, told.seconds, told.rate)
        results = [bench.alone(table.ALONE)]
        print(f"{bench.rate:,.0f} requests/s\n{table.HEADER}")
        alone_p99_ms = results[0].p99_ms
        print(results[0].line(alone_p99_ms), flush=True)
        for name, path in paths.items():
            results.append(bench.beside(name, path))
            print(results[-1].line(alone_p99_ms), flush=True)
        results.append(bench.alone(table.AGAIN))
    return results, bench.rate or 0.0


def main() -> int:
    """Measure; the exit code is the number of missed targets, -1 (255) when nothing can be."""
    told = arguments()
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        print("two cores are needed: one for the server, one for the load", file=sys.stderr)
        return -1
    before = os.getloadavg()
    os.sched_setaffinity(0, {CLIENT_CORE})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    tree.adopt_orphans()
    with tempfile.TemporaryDirectory(
        prefix="gnomon-isolation-", ignore_cleanup_errors=True
    ) as name:
        results, rate = measure(told, Path(name))
    after = os.getloadavg()
    print(f"\n{os.cpu_count()} cores, load {before[0]:.2f} before, {after[0]:.2f} after")
    print(table.text(results))
    print("\n".join(f"{each:<12} {about}" for each, about in ABOUT.items() if each in told.only))
    settings = {
        "cores": os.cpu_count(),
        "load_before": before,
        "load_after": after,
        "rate": rate,
        "seconds": told.seconds,
        "two_cores": told.two_cores,
        "about": ABOUT,
    }
    told.output.write_text(table.document(results, settings))
    print(f"written to {told.output.name}")
    return table.missed(results)


if __name__ == "__main__":
    sys.exit(main())
