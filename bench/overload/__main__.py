"""Offer a server half, twice and ten times what it can answer: python -m bench.overload [--help].

Two champions: a fast one, whose capacity is that of the front, and a busy one of a millisecond a
row that takes no batches, whose capacity is the model's and which can really be offered ten times.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.isolation.__main__ import CLIENT_CORE, SERVER_CORE, positive
from bench.isolation.load import request
from bench.isolation.serving import serving
from bench.overload.measuring import Pipeline, measure
from bench.overload.models import busy
from bench.report import Figure, show
from bench.servers import tree, work

OUTPUT = Path("bench-overload.json")
BUSY_S = 1e-3


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=positive, default=20.0, help="of each load (20)")
    parser.add_argument("--only", choices=["fast", "busy"], help="one of the champions")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=str(OUTPUT))
    return parser.parse_args(given)


def main() -> int:
    """Measure; the exit code is the number of missed targets, -1 (255) when nothing can be."""
    told = arguments()
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        print("two cores are needed: one for the server, one for the load", file=sys.stderr)
        return -1
    os.sched_setaffinity(0, {CLIENT_CORE})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    tree.adopt_orphans()
    given = work.load()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="gnomon-overload-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        row = np.array([given.row], dtype=np.float32)
        champions = {"fast": given.model, "busy": busy(row, BUSY_S, scratch)}
        body = json.dumps({"tensor": row.astype(np.float64).tolist()}).encode()
        with serving(scratch, given.model, {SERVER_CORE}) as server:
            for champion in [told.only] if told.only else champions:
                path = champions[champion]
                pipeline = Pipeline(server.client, champion, path, given.challengers)
                expected = work.run(work.session(path), row)[:1]
                headers = server.client.auth.auth_header()
                figures += measure(
                    pipeline,
                    lambda url, headers=headers: request(url, body, headers),
                    expected=expected.astype(np.float32),
                    seconds=told.seconds,
                )
    return show(figures, told.output)


if __name__ == "__main__":
    sys.exit(main())
