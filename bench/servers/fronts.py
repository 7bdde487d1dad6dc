"""Two fronts beside one: python -m bench.servers.fronts [--help].

On one core: what a request costs, with as many connections for each front. On as many cores as
there are, but for the client's: how many more requests a second two of them answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from bench.report import Figure
from bench.servers import figures, ours, table, work
from bench.servers.goals import Number, Samples, ratios
from bench.servers.measuring import Plan, Sample
from bench.servers.rounds import one_round
from bench.servers.server import Machine, Server

CONNECTIONS = 64
"""Of each front."""
CORES_NEEDED = 3
TWO = ours.Gnomon("gnomon-2-fronts", "champion alone, log on, two fronts", fronts=2)
SERVERS: Sequence[Server] = [ours.SERVERS[0], TWO]


def measured(
    given: work.Work, machine: Machine, rounds: int, plan: Plan, failed: dict[str, str]
) -> Samples:
    """Measure both; note in `failed` why one could not be."""
    samples: list[Sample] = []
    for each in range(1, rounds + 1):
        found, reasons = one_round(each, SERVERS, given, machine, plan)
        samples += found
        failed |= reasons
    return Samples(samples, {server.name: server.family for server in SERVERS})


def ratio(samples: Samples, connections: int, number: Number) -> list[float]:
    """Return two fronts' figure over that of one with so many connections, a round."""
    two = samples.of(TWO.name, 2 * CONNECTIONS)
    return list(ratios(two, samples.of(SERVERS[0].name, connections), number))


def main() -> int:
    """Measure; return the exit code: the number of missed targets."""
    told = figures.parser("fronts", __doc__, cores="0", seconds=5).parse_args()
    cores = sorted(os.sched_getaffinity(0))
    machine, given = figures.machine(told), work.load()
    plan = Plan(told.seconds, [CONNECTIONS, 2 * CONNECTIONS])
    failed: dict[str, str] = {}
    print(table.HEADER)
    on_one = measured(given, machine, told.rounds, plan, failed)
    cpu = Figure("CPU a request on one core, two fronts / one", "x", 1.1)
    cpu.runs = ratio(on_one, CONNECTIONS, lambda sample: sample.cpu_us)
    larger = Figure("largest share of the requests that one of two fronts had", "x", 0.6)
    for sample in on_one.of(TWO.name, 2 * CONNECTIONS).values():
        share = sample.counts.get("front 1 requests", 0) / max(sample.requests, 1)
        larger.runs.append(max(share, 1 - share))
    more = Figure("requests a second, two fronts / one", "x", 1.6, at_least=True)
    if len(cores) < CORES_NEEDED:
        more.missing = f"not measured: {CORES_NEEDED} cores are needed, there are {len(cores)}"
    else:
        others = [core for core in cores if core != machine.client_core]
        wide = replace(machine, server_core=others[0], more_cores=tuple(others[1:]))
        on_all = measured(given, wide, told.rounds, plan, failed)
        more.runs = ratio(on_all, 2 * CONNECTIONS, lambda sample: sample.rps)
    return figures.end([cpu, larger, more], told.output, failed)


if __name__ == "__main__":
    sys.exit(figures.run(main))
