"""A round: every server measured once, one after the other."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence

from bench.servers import load, table, work
from bench.servers.measuring import Plan, Sample, measure
from bench.servers.server import Machine, Server, Unavailable


def missing(machine: Machine) -> str | None:
    """Say what this machine lacks."""
    if load.find_wrk() is None:
        return load.MISSING
    if shutil.which("taskset") is None:
        return "taskset is not installed: 'apt-get install util-linux' has it"
    cores = {machine.server_core, machine.client_core}
    if len(cores) < 2 or not cores <= os.sched_getaffinity(0):
        return "two cores are needed: one for the server, one for the load"
    return None


def ready(servers: Sequence[Server], machine: Machine) -> tuple[list[Server], dict[str, str]]:
    """Install what is missing; return what can be measured, and why the others cannot."""
    found, skipped = [], {}
    for server in servers:
        try:
            server.prepare(machine)
            found.append(server)
        except Unavailable as reason:
            skipped[server.name] = str(reason)
    return found, skipped


def one_round(
    round_number: int, servers: Sequence[Server], given: work.Work, machine: Machine, plan: Plan
) -> tuple[list[Sample], dict[str, str]]:
    """Measure each server once."""
    samples: list[Sample] = []
    failed: dict[str, str] = {}
    for server in servers:
        try:
            with contextlib.closing(
                measure(server, given, machine, plan, round_number)
            ) as measured:
                for sample in measured:
                    samples.append(sample)
                    print(table.rows([sample])[0].line(), flush=True)
                    if sample.example:
                        print(f"  the first wrong answer: {sample.example}", flush=True)
        except Exception as error:  # one server's trouble is not the others'
            expected = isinstance(error, Unavailable | RuntimeError)
            failed[server.name] = str(error) if expected else f"{type(error).__name__}: {error}"
            print(f"{server.name:<16} skipped: {failed[server.name]}", flush=True)
    return samples, failed
