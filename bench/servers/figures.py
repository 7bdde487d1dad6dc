"""What the commands beside the big table have in common: options, cores, the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.report import Figure, show
from bench.servers import load, tree
from bench.servers.server import Machine, Unavailable

CACHE = Path.home() / ".cache" / "gnomon-bench"
NOT_MEASURED = 255


def numbers(text: str) -> list[int]:
    """Read `0,1`."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers")
    return [int(part) for part in parts]


def parser(
    name: str, description: str | None, *, cores: str, seconds: int
) -> argparse.ArgumentParser:
    """Return a parser that knows what all of them take.

    Args:
        cores: Of the server, unless told otherwise.
        seconds: Of each measurement, likewise.
    """
    made = argparse.ArgumentParser(prog=f"python -m bench.servers.{name}", description=description)
    made.add_argument(
        "--seconds", type=int, default=seconds, help=f"of each measurement ({seconds})"
    )
    made.add_argument("--rounds", type=int, default=3, help="medians are quoted (3)")
    made.add_argument("--server-cores", type=numbers, default=numbers(cores), metavar="N,N")
    made.add_argument("--client-core", type=int, help="(the first that the server does not have)")
    made.add_argument("--output", type=Path, default=Path(f"bench-{name}.json"))
    return made


def machine(told: argparse.Namespace) -> Machine:
    """Take the client's core, and see to it that every server is stopped in the end.

    A machine with too few cores gives the client one of the server's; that is said.
    """
    there = os.sched_getaffinity(0)
    cores: Sequence[int] = [core for core in told.server_cores if core in there]
    if not cores:
        sys.exit(f"none of the server's cores {told.server_cores} is there, only {sorted(there)}")
    if load.find_wrk() is None:
        sys.exit(load.MISSING)
    spare = sorted(there - set(cores))
    client = told.client_core
    if client is None:
        client = spare[0] if spare else cores[-1]
    if client in cores:
        print(f"the client shares core {client} with the server: there is no core to spare")
    os.sched_setaffinity(0, {client})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    tree.adopt_orphans()
    return Machine(cores[0], client, CACHE, tuple(cores[1:]))


def end(figures: Sequence[Figure], file: Path, failed: Mapping[str, str]) -> int:
    """Show the figures, say what could not be measured; return the exit code.

    Args:
        failed: By server, why.
    """
    for figure in figures:
        if failed and not figure.runs and not figure.missing:
            figure.missing = f"not measured: {', '.join(failed)} failed"
    missed = show(figures, file)
    return NOT_MEASURED if failed else missed


def run(main: Callable[[], int]) -> int:
    """Return the exit code of a command, also where a server does not start."""
    try:
        return main()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return NOT_MEASURED
