"""What a user waits for, and how fast everything is back after `kill -9`.

Run: python -m bench.everyday [ROUNDS]
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import pandas as pd
import psutil
import pyarrow as pa
import urllib3

import gnomon
from bench.report import Figure, show, timed_s
from gnomon import samples
from tests import hostile_models
from tests.waiting import until

FIGURES = {
    "help": Figure("gnomon --help", "s", 0.3),
    "client": Figure("Client() that starts a server", "s", 20.0),
    "deploy": Figure("deploy() to ok, three samples", "s", 1.5),
    "undeploy": Figure("undeploy() to ok", "s", 1.5),
    "infer": Figure("infer_from_file, waiting for two challengers", "ms", 1_000.0),
    "row": Figure("infer of one row, a dict", "ms", 2.0),
    "row_frame": Figure("infer of one row, a pandas DataFrame", "ms", 2.0),
    "table": Figure("infer of 1,001 rows, a pyarrow Table", "ms", None),
    "frame": Figure("infer of 1,001 rows, a pandas DataFrame", "ms", None),
    "array": Figure("infer of 1,001 rows, a numpy array", "ms", None),
    "parallel": Figure("parallel_infer of 1,001 rows, one a request", "ms", None),
    "demo": Figure("gnomon demo, whole", "s", 8.0),
    "champion_heard": Figure("champion's host killed: its caller gets 503", "ms", 100.0),
    "champion_back": Figure("champion's host killed: it answers again", "s", 3.0),
    "front_back": Figure("front killed: it answers again", "s", 3.0),
    "control_back": Figure("control plane killed: it answers again", "s", 5.0),
    "supervisor_gone": Figure("supervisor killed: no process left", "s", 5.0),
    "restart": Figure("server started again: the deployed pipeline answers", "s", 20.0),
}


def measured(name: str, value: float) -> None:
    """Keep one run of a figure."""
    FIGURES[name].runs.append(value)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep waiting lines off the table."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def command(*arguments: str, home: Path) -> float:
    """Run gnomon's command line; return how long it took, in seconds."""
    start = perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gnomon", *arguments],
        env={**os.environ, "GNOMON_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return perf_counter() - start


class Bench:
    """One server in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.client = self.start()

    def start(self) -> gnomon.Client:
        with quiet():
            return gnomon.Client(home=self.home)

    def facts(self) -> dict[str, object]:
        return json.loads((self.home / "server.json").read_text())

    def get(self, path: str) -> dict:
        headers = self.client.auth.auth_header()
        url = f"{self.client.api_endpoint}{path}"
        return urllib3.request("GET", url, headers=headers, retries=False, timeout=5.0).json()

    def pids(self) -> dict[str, int]:
        status = self.get("/v1/server")
        pids = {process["name"]: process["pid"] for process in status["processes"]}
        for deployment in status["deployments"]:
            pids.update({model["label"]: model["pid"] for model in deployment["models"]})
        return pids

    def post(self, url: str, body: object) -> int:
        headers = {**self.client.auth.auth_header(), "Content-Type": "application/json"}
        return urllib3.request(
            "POST", url, body=json.dumps(body), headers=headers, retries=False, timeout=20.0
        ).status


def works(attempt: Callable[[], object]) -> Callable[[], bool]:
    """Make an attempt that may raise a question that may be false."""

    def question() -> bool:
        try:
            return bool(attempt())
        except Exception:
            return False

    return question


def back_s(attempt: Callable[[], object], pid: int) -> float:
    """Kill a process and return the seconds until an attempt works."""
    os.kill(pid, signal.SIGKILL)
    return timed_s(lambda: until(works(attempt), within_s=30.0))


def everyday(bench: Bench) -> gnomon.Pipeline:
    """Measure what is done every day."""
    client = bench.client
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [client.upload_model(n, path) for n, path in samples.challenger_paths().items()]
    pipeline = client.build_pipeline("fraud")
    pipeline.add_shadow_deploy(champion, challengers)
    with quiet():
        for _ in range(3):
            measured("deploy", timed_s(pipeline.deploy))
            measured("undeploy", timed_s(pipeline.undeploy))
        pipeline.deploy()
    for _ in range(50):
        took_s = timed_s(lambda: pipeline.infer_from_file(samples.smoke_test_path()))
        measured("infer", took_s * 1_000)
    return pipeline


def asking(bench: Bench) -> None:
    """Measure the ways to ask a champion alone."""
    champion = bench.client.get_model(samples.CHAMPION)
    rows = samples.held_out()[0][:1001]
    table = pa.table({"tensor": pa.FixedSizeListArray.from_arrays(rows.reshape(-1), 29)})
    frame = pd.DataFrame({"tensor": list(rows)})
    with quiet():
        pipeline = bench.client.build_pipeline("alone").add_model_step(champion).deploy()
    for name, tensor, times in [
        ("row", {"tensor": rows[:1].tolist()}, 500),
        ("row_frame", frame[:1], 500),
        ("table", table, 100),
        ("frame", frame, 100),
        ("array", rows, 100),
    ]:
        pipeline.infer(tensor)  # what is loaded and connected only once
        for _ in range(times):
            measured(name, timed_s(partial(pipeline.infer, tensor)) * 1_000)
    with quiet():
        for _ in range(3):
            took_s = timed_s(lambda: asyncio.run(pipeline.parallel_infer(table)))
            measured("parallel", took_s * 1_000)
        pipeline.undeploy()


def kill_a_champion(bench: Bench) -> None:
    """Kill a champion's host inside a run that would not end."""
    path = bench.home / "endless.onnx"
    path.write_bytes(hostile_models.endless_loop(on_input=True))
    pipeline = bench.client.build_pipeline("endless")
    with quiet():
        pipeline.add_model_step(bench.client.upload_model("endless", path)).deploy()
    pid = bench.pids()["endless"]
    heard: list[float] = []

    def call() -> None:
        assert bench.post(pipeline.url(), {"x": [[1_000.0, 0.0]]}) == 503
        heard.append(perf_counter())

    caller = threading.Thread(target=call)
    caller.start()
    until(lambda: psutil.Process(pid).cpu_times().user > 0.2)
    killed = perf_counter()
    took_s = back_s(lambda: bench.post(pipeline.url(), {"x": [[1.0, 0.0]]}) == 200, pid)
    caller.join()
    measured("champion_heard", (heard[0] - killed) * 1_000)
    measured("champion_back", took_s)
    with quiet():
        pipeline.undeploy()


def kill_processes(bench: Bench, pipeline: gnomon.Pipeline) -> None:
    """Kill front, control plane and supervisor in turn."""

    def infer() -> object:
        return pipeline.infer_from_file(samples.smoke_test_path())

    measured("front_back", back_s(infer, bench.pids()["front"]))
    measured("control_back", back_s(bench.client.list_workspaces, bench.pids()["control"]))
    supervisor = psutil.Process(int(bench.facts()["pid"]))
    tree = supervisor.children(recursive=True)
    os.kill(supervisor.pid, signal.SIGKILL)
    start = time.monotonic()
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert not alive
    measured("supervisor_gone", time.monotonic() - start)

    def again() -> None:
        bench.client = bench.start()
        fetched = bench.client.get_pipeline("fraud")
        until(works(lambda: fetched.infer_from_file(samples.smoke_test_path())), within_s=30.0)

    measured("restart", timed_s(again))


def main() -> int:
    """Measure everything; the exit code is the number of missed targets."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch) / "home"
            measured("help", command("--help", home=home))
            start = perf_counter()
            bench = Bench(home)
            measured("client", perf_counter() - start)
            try:
                pipeline = everyday(bench)
                asking(bench)
                kill_a_champion(bench)
                kill_processes(bench, pipeline)
            finally:
                command("down", home=home)
            measured("demo", command("demo", "--home", f"{scratch}/demo", home=home))
    return show(list(FIGURES.values()), Path("bench-everyday.json"))


if __name__ == "__main__":
    sys.exit(main())
