"""One server, all connection counts: started, checked, warmed up, measured, stopped."""

from __future__ import annotations

import contextlib
import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from bench.servers import answers, floors, load, tree
from bench.servers.server import (
    START_TIMEOUT_S,
    Address,
    Machine,
    Running,
    Server,
    Unavailable,
)
from bench.servers.work import Work
from tests.waiting import until

WARM_UP_S = 1
_FIRST_ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        connections: 0: not over HTTP.
        cpu_us: CPU of the whole process tree a request, until its work after the answers is done.
        foreign_percent: How much of the server's cores others had, the hypervisor included.
        errors: By kind; empty when every answer was right.
        counts: What the server counted itself, as differences.
        collector_ms: Its longest collector pause since it was started, as far as it says.
        lag_ms: 99.9th percentile of how late its event loop was, as far as it says.
    """

    server: str
    round: int
    connections: int
    requests: int
    rps: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_us: float
    rss_mb: float
    pss_mb: float
    foreign_percent: float
    errors: dict[str, int] = field(default_factory=dict)
    example: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    collector_ms: float | None = None
    lag_ms: float | None = None

    @property
    def failed(self) -> int:
        """Return how many requests went wrong."""
        return sum(self.errors.values())


@dataclass(frozen=True)
class Plan:
    """How long and with how many connections each server is measured."""

    seconds: int
    connections: Sequence[int]


def measure(
    server: Server, work: Work, machine: Machine, plan: Plan, round_number: int
) -> Iterator[Sample]:
    """Yield a sample for each number of connections.

    Raises:
        Unavailable: It did not start, or gave a wrong answer to begin with.
    """
    with tempfile.TemporaryDirectory(prefix="gnomon-bench-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        with server.running(work, machine, scratch) as running:
            first = wait_for_answer(running, scratch / "server.log")
            expected = learnt(running.address, first, work)
            script = scratch / "load.lua"
            script.write_text(load.script(running.address, expected))
            tree.pin(machine.server_cores)
            for connections in plan.connections:
                load.run(
                    running.address.url,
                    script,
                    connections=connections,
                    seconds=WARM_UP_S,
                    core=machine.client_core,
                )
                running.settle()
                yield _sample(server, running, script, machine, plan, round_number, connections)


def learnt(address: Address, first: bytes, work: Work) -> answers.Expected:
    """Return how a right answer looks.

    Raises:
        Unavailable: The first one is wrong.
    """
    if address.expected is not None:
        if address.expected.text not in first:
            raise Unavailable(f"the first answer is wrong: {first[:200]!r}")
        return address.expected
    try:
        return answers.learn(first, address.number, work.expected)
    except answers.WrongAnswer as error:
        raise Unavailable(str(error)) from error


def wait_for_answer(running: Running, log: Path) -> bytes:
    """Return the first answer of a server that may still be starting."""
    problem = f"no answer within {START_TIMEOUT_S:.0f} s"
    found: list[bytes] = []

    def answered_or_ended() -> bool:
        found.extend(filter(None, [first_answer(running.address)]))
        return bool(found) or running.ended() is not None

    with contextlib.suppress(AssertionError):
        until(answered_or_ended, within_s=START_TIMEOUT_S, every_s=0.1)
        problem = f"ended with {running.ended()}"
    if not found:
        raise Unavailable(f"{problem}; the end of its output:\n{tree.last_lines(log)}")
    return found[0]


def first_answer(address: Address) -> bytes | None:
    """Return a server's answer to the body; None while it does not answer with 200."""
    request = urllib.request.Request(
        address.url,
        data=address.body,
        headers={"Content-Type": "application/json", **address.headers},
    )
    # urllib.error.URLError is an OSError
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        urllib.request.urlopen(request, timeout=_FIRST_ANSWER_TIMEOUT_S) as answer,
    ):
        return bytes(answer.read())
    return None


def _sample(
    server: Server,
    running: Running,
    script: Path,
    machine: Machine,
    plan: Plan,
    round_number: int,
    connections: int,
) -> Sample:
    tree.pin(machine.server_cores)  # what was started since
    counts, start = running.counts(), perf_counter()
    cpu, busy = tree.cpu_s(), tree.cores_busy_s(machine.server_cores)
    seen = load.run(
        running.address.url,
        script,
        connections=connections,
        seconds=plan.seconds,
        core=machine.client_core,
    )
    running.settle()
    used_s = tree.cpu_s() - cpu
    foreign_s = tree.cores_busy_s(machine.server_cores) - busy - used_s
    cores = len(machine.server_cores)
    rss_mb, pss_mb = tree.memory_mb()
    return Sample(
        server=server.name,
        round=round_number,
        connections=connections,
        requests=seen.requests,
        rps=seen.requests / seen.duration_s,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        max_ms=seen.max_ms,
        cpu_us=used_s / max(seen.requests, 1) * 1e6,
        rss_mb=rss_mb,
        pss_mb=pss_mb,
        foreign_percent=max(foreign_s, 0.0) / (perf_counter() - start) / cores * 100,
        errors=seen.errors,
        example=seen.example,
        counts=difference(counts, running.counts()),
        collector_ms=running.collector_ms(),
        lag_ms=running.lag_ms(),
    )


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return what has been counted in between, zeros left out."""
    steps = {name: after[name] - before.get(name, 0) for name in after}
    return {name: step for name, step in steps.items() if step}


def measure_session(work: Work, machine: Machine, plan: Plan, round_number: int) -> Sample:
    """Measure onnxruntime in a loop."""
    start, busy = perf_counter(), tree.cores_busy_s(machine.server_cores)
    seen = floors.bare_session(work, machine, plan.seconds)
    foreign_s = tree.cores_busy_s(machine.server_cores) - busy
    foreign_s -= seen["runs"] * seen["cpu_us"] / 1e6
    return Sample(
        server=floors.SESSION,
        round=round_number,
        connections=0,
        requests=seen["runs"],
        rps=seen["runs"] / seen["duration_s"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        max_ms=seen["max_ms"],
        cpu_us=seen["cpu_us"],
        rss_mb=seen["rss_mb"],
        pss_mb=seen["rss_mb"],
        foreign_percent=max(foreign_s, 0.0) / (perf_counter() - start) * 100,
        errors={"bad_answers": seen["wrong"]} if seen["wrong"] else {},
    )
