"""Measure gnomon and its peers side by side: python -m bench.servers [--help]."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.servers import chart, floors, goals, ours, peers, table, tree, work
from bench.servers.measuring import Plan, Sample, measure_session
from bench.servers.rounds import missing, one_round, ready
from bench.servers.server import Machine, Server

SERVERS: list[Server] = [*floors.SERVERS, *ours.SERVERS, *peers.SERVERS]
NAMES = [floors.SESSION, *(server.name for server in SERVERS)]
OUTPUT = Path("bench-servers.json")


def number(text: str) -> int:
    """Read a number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def numbers(text: str) -> list[int]:
    """Read `1,8,64`."""
    return [number(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    """Read names of servers."""
    chosen = text.split(",")
    for name in chosen:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(NAMES)}")
    return chosen


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.servers", description=__doc__)
    parser.add_argument("--seconds", type=number, default=5, help="of each measurement (5)")
    parser.add_argument("--rounds", type=number, default=3, help="medians are quoted (3)")
    parser.add_argument("--connections", type=numbers, default=[1, 8, 64, 256], metavar="N,N")
    parser.add_argument("--only", type=names, default=NAMES, metavar="NAME,NAME")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "gnomon-bench",
        help="the peers' environments (~/.cache/gnomon-bench)",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"{OUTPUT}; and .svg beside it")
    return parser.parse_args(given)


def main() -> int:
    """Measure; the exit code is the number of missed targets, 2 when nothing can be measured."""
    told = arguments()
    machine = Machine(told.server_core, told.client_core, told.cache.expanduser().absolute())
    lacking = missing(machine)
    if lacking:
        print(lacking, file=sys.stderr)
        return 2
    before = table.machine()
    os.sched_setaffinity(0, {machine.client_core})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    tree.adopt_orphans()
    given, plan = work.load(), Plan(told.seconds, told.connections)
    servers, skipped = ready([each for each in SERVERS if each.name in told.only], machine)
    samples: list[Sample] = []
    print(f"{given.model.name}, one row a request\n{table.HEADER}", flush=True)
    for each in range(1, told.rounds + 1):
        print(f"round {each} of {told.rounds}, load {os.getloadavg()[0]:.2f}", flush=True)
        if floors.SESSION in told.only:
            samples.append(measure_session(given, machine, plan, each))
            print(table.rows(samples[-1:])[0].line(), flush=True)
        measured, failed = one_round(each, servers, given, machine, plan)
        samples += measured
        skipped.update(failed)
    families = {server.name: server.family for server in SERVERS} | {floors.SESSION: floors.SESSION}
    reached = goals.goals(goals.Samples(samples, families))
    rows = table.rows(samples)
    about = {server.name: server.about for server in SERVERS}
    about[floors.SESSION] = floors.SESSION_ABOUT
    print("\n" + table.text(before, rows, reached, skipped, about))
    settings = {
        "model": given.model.name,
        "seconds": told.seconds,
        "rounds": told.rounds,
        "connections": told.connections,
        "about": about,
    }
    table.write(told.output, table.document(before, samples, reached, skipped, settings))
    title = f"{given.model.name}, one row of JSON a request, one core for each server"
    table.write(told.output.with_suffix(".svg"), chart.svg(rows, title))
    return sum(goal.met is False for goal in reached)


if __name__ == "__main__":
    sys.exit(main())
