"""What many pipelines cost: memory of each model host and of the server, and how long they start.

Run: python -m bench.memory [PIPELINES]

Each pipeline has a champion and two challengers, so three hosts. Memory is PSS, where a page that
n processes share counts 1/n in each, after every pipeline has answered.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter

import psutil

from bench.everyday import Bench, command, quiet, works
from bench.report import Figure, show
from gnomon import Pipeline, samples
from tests.waiting import until

MB = 1e6
AT_ONCE = 4
STARTED_WITHIN_S = 300.0
IDLE_S = 5.0


def pss_mb(process: psutil.Process) -> float:
    """Return a process's share of the memory it uses."""
    return float(process.memory_full_info().pss) / MB


def cpu_s(processes: list[psutil.Process]) -> float:
    """Return the seconds that processes have run."""
    return sum(times.user + times.system for times in (p.cpu_times() for p in processes))


def deploy(bench: Bench, count: int) -> list[Pipeline]:
    """Deploy pipelines, a few at a time."""
    client = bench.client
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [client.upload_model(n, path) for n, path in samples.challenger_paths().items()]
    pipelines = []
    for number in range(count):
        pipelines.append(client.build_pipeline(f"fraud-{number}"))
        pipelines[-1].add_shadow_deploy(champion, challengers)
    with quiet(), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(Pipeline.deploy, pipelines))
    return pipelines


def answer(pipelines: list[Pipeline]) -> None:
    """Wait until each pipeline answers, and its challengers too."""
    for pipeline in pipelines:
        infer = partial(pipeline.infer_from_file, samples.smoke_test_path())
        until(works(infer), within_s=STARTED_WITHIN_S)


def hosts(bench: Bench) -> list[psutil.Process]:
    """Return the processes of the models."""
    deployments = bench.get("/v1/server")["deployments"]
    pids = [model["pid"] for deployment in deployments for model in deployment["models"]]
    return [psutil.Process(pid) for pid in pids]


def ready(bench: Bench, count: int) -> bool:
    """Say whether every model has a host."""
    deployments = bench.get("/v1/server")["deployments"]
    models = [model for deployment in deployments for model in deployment["models"]]
    return len(models) == count and all(model["pid"] for model in models)


def measure(home: Path, count: int) -> list[Figure]:
    """Return the figures of `count` pipelines."""
    figures = [
        Figure(f"{count} pipelines deployed, {AT_ONCE} at a time", "s", 60.0),
        Figure(f"server started again: all {count} answer", "s", 60.0),
        Figure(f"PSS of a host, {3 * count} running", "MB", 10.0),
        Figure("PSS of the server with all its hosts", "MB", 4_096.0),
        Figure("all hosts while nobody asks, share of a core", "%", 5.0),
    ]
    bench = Bench(home)
    start = perf_counter()
    pipelines = deploy(bench, count)
    answer(pipelines)
    figures[0].runs.append(perf_counter() - start)
    command("down", home=home)

    start = perf_counter()
    bench.client = bench.start()
    pipelines = [bench.client.get_pipeline(f"fraud-{number}") for number in range(count)]
    answer(pipelines)
    until(partial(ready, bench, 3 * count), within_s=STARTED_WITHIN_S)
    figures[1].runs.append(perf_counter() - start)

    processes = hosts(bench)
    figures[2].runs.extend(map(pss_mb, processes))
    server = psutil.Process(int(str(bench.facts()["pid"])))
    figures[3].runs.append(sum(map(pss_mb, [server, *server.children(recursive=True)])))
    before = cpu_s(processes)
    time.sleep(IDLE_S)
    figures[4].runs.append((cpu_s(processes) - before) / IDLE_S * 100)
    return figures


def main() -> int:
    """Measure; return the number of missed targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipelines", nargs="?", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        try:
            figures = measure(home, arguments.pipelines)
        finally:
            command("down", home=home)
    return show(figures, Path("bench-memory.json"))


if __name__ == "__main__":
    sys.exit(main())
