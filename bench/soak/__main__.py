"""Swap versions under load, go on for long, then kill and lock: python -m bench.soak [--help].

Version n of the model multiplies by n, so every answer tells whether it belongs to the version that
it names. What is killed, and what the log must hold afterwards, is in `killing.py`. A part of which
there is to be nothing (--swaps 0) is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.isolation.serving import Serving, serving
from bench.report import Figure, show
from bench.servers import tree
from bench.soak import killing
from bench.soak.usage import Usage, growth
from gnomon.front.client import FrontClient
from tests import hostile_models
from tests.end_to_end.callers import Answer, Callers, first_output

OUTPUT = Path("bench-soak.json")
SETTLED_AFTER_S = 120.0
CHANGE_EVERY_S = 20.0
LOOK_EVERY_S = 5.0
RSS_MB_A_MINUTE = 1.0
PAUSE_S = 0.01
THREADS = 4

ROWS = np.random.default_rng(1).integers(-99, 99, (100, 2)).astype(float).tolist()
BODIES: list[dict[str, Any]] = [{"x": ROWS[:count]} for count in (1, 2, 1, 10, 1, 100)]


class Versions:
    """The versions of one model and the pipeline that has one of them at a time."""

    def __init__(self, server: Serving, scratch: Path) -> None:
        self._client = server.client
        self._scratch = scratch
        self._factors: dict[str, int] = {}
        self._uploaded: list[Any] = []

    def upload(self, count: int) -> None:
        """Make and upload versions 1 to `count`."""
        path = self._scratch / "times.onnx"
        for factor in range(1, count + 1):
            path.write_bytes(hostile_models.doubling(factor=float(factor)))
            version = self._client.upload_model("times", path)
            self._uploaded.append(version)
            self._factors[version.version()] = factor

    def deploy(self, number: int, name: str = "times") -> Any:
        """Deploy the pipeline with one of the versions; return it."""
        version = self._uploaded[number % len(self._uploaded)]
        pipeline = self._client.build_pipeline(name).add_model_step(version)
        with contextlib.redirect_stdout(io.StringIO()):
            return pipeline.deploy()

    def is_right(self, index: int, answer: Answer) -> bool:
        """Say whether an answer is what the version that it names says to a body."""
        factor = self._factors[answer[0]["model_version"]]
        expected = np.float32(BODIES[index]["x"]) * np.float32(factor)
        return first_output(answer).tobytes() == expected.tobytes()


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="after the swaps (10)")
    parser.add_argument("--swaps", type=int, default=50, help="of the version, under load (50)")
    parser.add_argument("--kills", type=int, default=100, help="of processes, under load (100)")
    parser.add_argument("--seed", type=int, default=0, help="of who is killed when (0)")
    parser.add_argument(
        "--locked-s", type=float, default=30.0, help="that the metadata is locked (30)"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help=str(OUTPUT))
    return parser.parse_args(given)


def swap(versions: Versions, callers: Callable[..., Callers], swaps: int) -> list[Figure]:
    """Deploy one version after the other, as fast as it goes, while callers ask."""
    versions.deploy(0)
    start = time.monotonic()
    with callers() as heard:
        for number in range(1, swaps + 1):
            versions.deploy(number)
    took_s = time.monotonic() - start
    print(f"{swaps} swaps in {took_s:.1f} s, {heard.answers:,} answers", flush=True)
    return [
        Figure(f"{swaps} swaps: failed requests", "", 0, [heard.failures.total()]),
        Figure(f"{swaps} swaps: answers of another version", "", 0, [len(heard.wrong)]),
    ]


def soak(
    versions: Versions, callers: Callable[..., Callers], server: Serving, seconds: float
) -> list[Figure]:
    """Go on for long, with a redeploy, a deploy and an undeploy every 20 s."""
    versions.deploy(0)
    usages: list[Usage] = []
    end = time.monotonic() + seconds
    change_at, number = time.monotonic() + CHANGE_EVERY_S, 0
    dropped = _dropped(server)
    with callers(pause_s=PAUSE_S) as heard:
        while time.monotonic() < end:
            time.sleep(LOOK_EVERY_S)
            usages.append(Usage.now())
            if time.monotonic() >= change_at:
                number += 1
                versions.deploy(number)
                with contextlib.redirect_stdout(io.StringIO()):
                    versions.deploy(number, name="passing").undeploy()
                change_at += CHANGE_EVERY_S
    settled = [usage for usage in usages if usage.at >= usages[0].at + SETTLED_AFTER_S] or usages
    first, last = settled[0], settled[-1]
    name = f"{seconds / 60:g} minutes"
    print(f"{name}, {heard.answers:,} answers; at first {usages[0]}; at last {last}", flush=True)
    return [
        Figure(f"{name}: failed requests", "", 0, [heard.failures.total()]),
        Figure(f"{name}: wrong answers", "", 0, [len(heard.wrong)]),
        Figure(f"{name}: entries that the log dropped", "", 0, [_dropped(server) - dropped]),
        *(
            Figure(f"{name}: RSS a minute, {process}", "MB", RSS_MB_A_MINUTE, [grown])
            for process, grown in growth(settled, _names(server)).items()
        ),
        Figure(f"{name}: more descriptors", "", 5, [last.files - first.files]),
        Figure(f"{name}: more threads", "", 2, [last.threads - first.threads]),
        Figure(f"{name}: more processes", "", 0, [last.processes - first.processes]),
    ]


def _names(server: Serving) -> dict[int, str]:
    """Return how the processes of a server are called, but for hosts, which come and go."""
    view = server.client._session.transport.call("GET", "/v1/server").json()
    return {view["pid"]: "supervisor", **{p["pid"]: p["name"] for p in view["processes"]}}


def _dropped(server: Serving) -> int:
    sockets = sorted(server.home.run.glob("front-*.sock"))
    return sum(FrontClient(socket).stats()["log"]["dropped"] for socket in sockets)


def main() -> int:
    """Measure; the exit code is the number of missed targets."""
    told = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    tree.adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="gnomon-soak-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        first = scratch / "first.onnx"
        first.write_bytes(hostile_models.doubling())
        with serving(scratch, first, {0, 1}) as server:
            versions = Versions(server, scratch)
            versions.upload(10)
            url = versions.deploy(0).url()
            figures: list[Figure] = []

            def callers(**more: float) -> Callers:
                token = server.client.auth.auth_header()["Authorization"].split()[1]
                return Callers(url, token, BODIES, versions.is_right, threads=THREADS, **more)

            if told.swaps:
                figures += swap(versions, callers, told.swaps)
            if told.minutes:
                figures += soak(versions, callers, server, told.minutes * 60)
        if told.kills or told.locked_s:
            figures += killing.measure(scratch, told.kills, told.locked_s, told.seed)
    return show(figures, told.output)


if __name__ == "__main__":
    sys.exit(main())
