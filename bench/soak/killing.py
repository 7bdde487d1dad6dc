"""Processes of a server with two fronts killed under load, and its metadata locked."""

from __future__ import annotations

import contextlib
import io
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from bench.report import Figure
from gnomon.core import limits
from gnomon.core.errors import GnomonError
from tests.end_to_end import killing
from tests.end_to_end.conftest import Server
from tests.end_to_end.killing import History
from tests.waiting import until

VICTIMS = ("front-0", "front-1", "control", "flusher")
# Who is killed more often than 5 times a minute is started again after ever longer pauses.
PAUSE_S = 3.0
CALLERS = 4
CALLERS_PAUSE_S = 0.005
MOVED_WITHIN_S = 2 * limits.LOG_OPEN_MAX_S
# What is answered and not committed, with the commit itself, on a machine with little to spare
AT_RISK_MS = limits.LOG_COMMIT_INTERVAL_S * 1_000 + 100
LONGEST_GAP_S = 1.0


def measure(scratch: Path, kills: int, locked_s: float, seed: int) -> list[Figure]:
    """Kill and lock; return what was lost, doubled and torn."""
    figures: list[Figure] = []
    with _server(scratch / "killed") as server, contextlib.redirect_stdout(io.StringIO()):
        pipelines = killing.deploy(server, scratch)
        if kills:
            figures += _killed(server, pipelines, kills, random.Random(seed))
        if locked_s:
            figures += _locked(server, pipelines, locked_s)
    return figures


@contextlib.contextmanager
def _server(home: Path) -> Iterator[Server]:
    home.mkdir(mode=0o700)
    server = Server(home, ("--fronts", "2"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _killed(
    server: Server, pipelines: dict[str, Any], kills: int, choose: random.Random
) -> list[Figure]:
    start = time.monotonic()
    with killing.asked(server, pipelines, callers=CALLERS, pause_s=CALLERS_PAUSE_S) as history:
        victims = choose.choices(VICTIMS, k=kills)
        killing.kill(server, history, victims, choose, pause_s=PAUSE_S)
    name = f"{kills} kills"
    took_s = time.monotonic() - start
    _say(f"{name} in {took_s:.0f} s, {history.count():,} answers, {dict(history.failures)}")
    figures = [Figure(f"{name}: wrong answers", "", 0, [len(history.wrong)])]
    figures += _compared(name, history, pipelines)
    until(lambda: not _waiting(server), within_s=MOVED_WITHIN_S, every_s=1.0)
    figures += _compared(f"{name}, moved", history, pipelines)
    for level, pipeline in pipelines.items():
        table = pl.read_delta(pipeline.log_table())
        rows = table.select("metadata.log", "metadata.place", "metadata.row")
        doubled = rows.height - rows.unique().height
        figures.append(Figure(f"{name}: doubled rows of the table, {level}", "", 0, [doubled]))
    return figures


def _compared(name: str, history: History, pipelines: dict[str, Any]) -> list[Figure]:
    """Compare what callers heard with what the log of each pipeline holds."""
    figures = []
    for level, pipeline in pipelines.items():
        found = killing.check(history, level, pipeline)
        _say(f"{name}: {found.requests:,} requests logged, {len(found.lost)} lost, {level}")
        if level == "durable" or not history.kills:
            lost = Figure(f"{name}: lost, {level}", "", 0, [len(found.lost)])
        else:
            before_ms = found.lost_before_s * 1_000
            lost = Figure(f"{name}: lost before a kill, {level}", "ms", AT_RISK_MS, [before_ms])
        figures += [
            lost,
            Figure(f"{name}: doubled, {level}", "", 0, [len(found.doubled)]),
            Figure(f"{name}: torn or unknown, {level}", "", 0, [len(found.torn + found.unknown)]),
        ]
    return figures


def _waiting(server: Server) -> int:
    """Return how many segments have not moved to the tables."""
    count = 0
    for path in (server.home / "inference-log").glob("front-*.sqlite"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            count += connection.execute("SELECT count(*) FROM segments").fetchone()[0]
    return count


def _locked(server: Server, pipelines: dict[str, Any], seconds: float) -> list[Figure]:
    with killing.asked(server, pipelines, callers=CALLERS, pause_s=CALLERS_PAUSE_S) as history:
        with killing.database_locked(server):
            start = time.monotonic()
            busy = 0
            while time.monotonic() - start < seconds:
                try:
                    server.client().create_workspace("never")
                except GnomonError as error:
                    busy += getattr(error, "code", "") == "busy"
            gap_s = history.longest_gap_s(start, time.monotonic())
        end = time.monotonic()
        until(lambda: server.client().create_workspace("at-once"))
        back_s = time.monotonic() - end
    name = f"metadata locked for {seconds:g} s"
    _say(f"{name}: {history.count():,} answers, {busy} writes were told that it is busy")
    return [
        Figure(f"{name}: failed requests", "", 0, [history.failures.total()]),
        Figure(f"{name}: longest time without an answer", "s", LONGEST_GAP_S, [gap_s]),
        Figure(f"{name}: until it could be written again", "s", 5.0, [back_s]),
        *_compared(name, history, pipelines),
    ]


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
