"""One `infer` of the SDK on loopback: python -m bench.servers.sdk [--help]."""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from bench.report import Figure, show
from bench.servers import figures, ours, work
from gnomon.settings import Home

WARM_UP_RUNS = 50


def main() -> int:
    """Measure; return the exit code: the number of missed targets."""
    told = figures.parser("sdk", __doc__, cores="0", seconds=3).parse_args()
    machine, given = figures.machine(told), work.load()
    figure = Figure("p50 of the SDK's infer, one row", "ms", 2.0)
    with tempfile.TemporaryDirectory(prefix="gnomon-bench-") as name:
        home = Home(Path(name) / "home")
        with ours.served(home, Path(name) / "server.log", machine) as (client, _):
            pipeline = client.build_pipeline("sdk")
            pipeline.add_model_step(client.upload_model("champion", given.model))
            with contextlib.redirect_stdout(io.StringIO()):
                pipeline.deploy()
            body = {"tensor": [given.row]}
            for _ in range(WARM_UP_RUNS):
                pipeline.infer(body)
            for _ in range(told.rounds):
                took_ms, end = [], perf_counter() + told.seconds
                while perf_counter() < end:
                    start = perf_counter()
                    pipeline.infer(body)
                    took_ms.append((perf_counter() - start) * 1_000)
                figure.runs.append(statistics.median(took_ms))
    return show([figure], told.output)


if __name__ == "__main__":
    sys.exit(figures.run(main))
