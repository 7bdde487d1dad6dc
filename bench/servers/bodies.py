"""1,000 rows in one body, on one core: python -m bench.servers.bodies [--help]."""

from __future__ import annotations

import sys

from bench.report import Figure
from bench.servers import figures, floors, ours, payloads, table, work
from bench.servers.goals import Samples, ratios
from bench.servers.measuring import Plan, Sample
from bench.servers.rounds import one_round, ready
from bench.servers.sending import Sending
from bench.servers.server import Server

ROWS = 1_000
CONNECTIONS = 16


def servers(given: work.Work) -> list[Server]:
    """Return gnomon and its floors, with what each is sent."""
    rows = payloads.rows(ROWS)
    stream, text = payloads.arrow("tensor", rows), payloads.json_tensor(rows)
    right = payloads.answers(given.model, rows)
    gnomon, uvicorn = ours.SERVERS[0], floors.SERVERS[0]
    unlogged = ours.SERVERS[1]
    arrow_floor = floors.BareUvicorn(app="arrow_app")
    return [
        Sending(gnomon, "gnomon-arrow", stream, payloads.ARROW, answer=right),
        Sending(unlogged, "gnomon-arrow-unlogged", stream, payloads.ARROW, answer=right),
        Sending(arrow_floor, "uvicorn-arrow", stream, payloads.ARROW, answer=right),
        Sending(gnomon, "gnomon-json", text),
        Sending(uvicorn, "uvicorn-json", text),
    ]


def found(samples: Samples) -> list[Figure]:
    """Return the figures."""

    def rps(name: str) -> list[float]:
        return list(samples.values(name, CONNECTIONS, lambda sample: sample.rps))

    def ratio(kind: str) -> list[float]:
        ours, theirs = (samples.of(f"{who}-{kind}", CONNECTIONS) for who in ("gnomon", "uvicorn"))
        return list(ratios(ours, theirs, lambda sample: sample.rps))

    dropped = samples.values(
        "gnomon-arrow", CONNECTIONS, lambda sample: float(sample.counts.get("log dropped", 0))
    )
    ours = [sample for sample in samples.all if sample.server.startswith("gnomon")]
    failed = [float(sample.failed) for sample in ours]
    pauses_ms = [sample.collector_ms for sample in ours if sample.collector_ms is not None]
    return [
        Figure("1,000 rows of Arrow, log on", "req/s", 600, rps("gnomon-arrow"), at_least=True),
        Figure(
            "1,000 rows of Arrow, log off",
            "req/s",
            1_500,
            rps("gnomon-arrow-unlogged"),
            at_least=True,
        ),
        Figure("1,000 rows of JSON, log on", "req/s", 200, rps("gnomon-json"), at_least=True),
        Figure("1,000 rows of Arrow: entries that the log dropped", "", 0, list(dropped)),
        Figure("requests that failed or were answered wrongly, gnomon", "", 0, failed),
        Figure("longest collector pause of a run, gnomon", "ms", 5, pauses_ms),
        Figure("1,000 rows of Arrow, gnomon / uvicorn", "x", None, ratio("arrow")),
        Figure("1,000 rows of JSON, gnomon / uvicorn", "x", None, ratio("json")),
    ]


def main() -> int:
    """Measure; return the exit code: the number of missed targets."""
    told = figures.parser("bodies", __doc__, cores="0", seconds=20).parse_args()
    machine, given = figures.machine(told), work.load()
    # The model's number is that of the first row
    given = work.of_row(given, payloads.rows(1))
    chosen, _ = ready(servers(given), machine)
    samples: list[Sample] = []
    failed: dict[str, str] = {}
    print(table.HEADER)
    for each in range(1, told.rounds + 1):
        plan = Plan(told.seconds, [CONNECTIONS])
        measured, reasons = one_round(each, chosen, given, machine, plan)
        samples += measured
        failed |= reasons
    families = {server.name: server.family for server in chosen}
    return figures.end(found(Samples(samples, families)), told.output, failed)


if __name__ == "__main__":
    sys.exit(figures.run(main))
