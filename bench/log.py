"""What the inference log costs, and how quickly it is read, with a million requests in it.

Run: python -m bench.log [REQUESTS]

Requests of 29 float32 in and 1 out, with two challengers, in groups of 32 as a front under load
makes them, 20,000 a second. The writer works in a thread of this process, the flusher in a process
of its own, as in a server; what is measured is the processor time of the two.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import psutil
from deltalake import DeltaTable

from bench.report import Figure, show, timed_s
from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status, Ticket
from gnomon.log.places import directory_of, table_paths
from gnomon.log.query import LogQuery
from gnomon.log.reader import read
from gnomon.log.table import LogTable
from gnomon.log.writer import LogWriter
from gnomon.server.serve import FLUSHER_ENVIRONMENT
from gnomon.settings import child_environment
from tests.log.entries import SHADOWED

RATE = 20_000
GROUP = 32
RUNS = 5
MINUTE_US = 60_000_000
MOVED_WITHIN_S = 120.0

FLUSHER = (
    "import sys, threading; from pathlib import Path; from gnomon.log import flusher; "
    "flusher.run(Path(sys.argv[1]), threading.Event())"
)


def entries(
    number: int, time_us: int, values: np.ndarray
) -> list[InferenceEntry | ObservationEntry]:
    """Return what a front logs of a group of requests."""
    ids = [f"01890f9c-{number + index:012d}" for index in range(GROUP)]
    rows, ticket = [1] * GROUP, Ticket()
    seen = {"status": Status.OK, "elapsed_ns": 7_650, "time_us": time_us + 500}
    return [
        InferenceEntry(
            request_ids=ids,
            times_us=[time_us] * GROUP,
            rows=rows,
            route=SHADOWED,
            inputs={"tensor": values},
            champion=Observation(model=SHADOWED.champion, outputs=(values[:, :1],), **seen),
            sampled=[3] * GROUP,
            ticket=ticket,
        ),
        *(
            ObservationEntry(
                request_ids=ids,
                rows=rows,
                route=SHADOWED,
                ticket=ticket,
                positions=range(GROUP),
                observation=Observation(model=model, outputs=(values[:, 1:2],), **seen),
            )
            for model in SHADOWED.challengers
        ),
    ]


def writer_cpu_s() -> float:
    """Return the processor time of the log's thread."""
    [thread] = [each for each in threading.enumerate() if each.name == "inference-log"]
    stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / 100


def write(directory: Path, count: int, figures: dict[str, Figure]) -> int:
    """Log that many requests beside a flusher; return when the first one arrived."""
    generator = np.random.default_rng(1)
    values = [generator.normal(size=(GROUP, 29)).astype(np.float32) for _ in range(200)]
    log = LogWriter(directory / "front-0.sqlite")
    command = [sys.executable, "-c", FLUSHER, str(directory)]
    flusher = subprocess.Popen(command, env=child_environment(**FLUSHER_ENVIRONMENT))
    try:
        process = psutil.Process(flusher.pid)
        start, first_us = time.monotonic(), time.time_ns() // 1_000
        for number in range(0, count, GROUP):
            while number > (time.monotonic() - start) * RATE:
                time.sleep(0.002)
            time_us = first_us + number * 1_000_000 // RATE
            for entry in entries(number, time_us, values[number // GROUP % len(values)]):
                log.append(entry)
        took_s = time.monotonic() - start
        figures["writer"].runs.append(writer_cpu_s() / took_s * 100)
        moving = process.cpu_times()
        figures["flusher"].runs.append((moving.user + moving.system) / took_s * 100)
        figures["memory"].runs.append(process.memory_info().rss / 1e6)
        figures["dropped"].runs.append(log.stats()["dropped"])
        log.close()
        deadline = time.monotonic() + MOVED_WITHIN_S
        while rows(directory) < count and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        flusher.kill()
        flusher.wait()
    return first_us


def tables(directory: Path) -> list[LogTable]:
    """Return the tables of the pipeline."""
    return [LogTable(path) for path in table_paths(directory_of(directory, 1, 1))]


def rows(directory: Path) -> int:
    """Return how many rows have moved."""
    return sum(file.rows for table in tables(directory) for file in table.files())


def measure(directory: Path, count: int) -> list[Figure]:
    """Return the figures of a log of that many requests."""
    figures = {
        "writer": Figure(f"writer at {RATE:,} requests/s, share of a core", "%", None),
        "flusher": Figure(f"flusher at {RATE:,} requests/s, share of a core", "%", None),
        "both": Figure("both together", "%", 25.0),
        "memory": Figure("RSS of the flusher", "MB", None),
        "dropped": Figure("requests dropped", "", 0.0),
        "bytes": Figure("bytes a request in the table", "B", None),
        "last": Figure("last 100 requests", "ms", 50.0),
        "minute": Figure("1,000 requests from the midst, oldest first", "ms", 100.0),
        "id": Figure("one request by its id", "ms", None),
        "agreement": Figure("agreement of two columns over all, by DuckDB", "ms", 500.0),
    }
    first_us = write(directory, count, figures)
    both = figures["writer"].runs[0] + figures["flusher"].runs[0]
    figures["both"].runs.append(both)
    files = [file for table in tables(directory) for file in table.files()]
    figures["bytes"].runs.append(sum(file.bytes for file in files) / count)

    midst_us = first_us + count // 2 * 1_000_000 // RATE
    minute = LogQuery(start_us=midst_us, end_us=midst_us + MINUTE_US, oldest_first=True)
    one = LogQuery(request_id=f"01890f9c-{count // 2:012d}")
    duckdb.register("log", DeltaTable(tables(directory)[-1].path).to_pyarrow_dataset())
    agree = 'SELECT avg((("out.y0"[1] > 0) = ("out_alpha.y0"[1] > 0))::INT) FROM log'
    reads: dict[str, Callable[[], object]] = {
        "last": lambda: read(directory, 1).table(),
        "minute": lambda: read(directory, 1, query=minute, limit=1_000).table(),
        "id": lambda: read(directory, 1, query=one).table(),
        "agreement": lambda: duckdb.sql(agree).fetchall(),
    }
    for name, work in reads.items():
        work()  # the first one imports
        figures[name].runs.extend(timed_s(work) * 1e3 for _ in range(RUNS))
    return list(figures.values())


def main() -> int:
    """Measure; return the number of missed targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", nargs="?", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), arguments.requests // GROUP * GROUP)
    return show(figures, Path("bench-log.json"))


if __name__ == "__main__":
    sys.exit(main())
