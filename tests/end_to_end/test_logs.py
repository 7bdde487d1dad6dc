"""The inference log of a real server: what callers were answered, wherever it stands."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from gnomon import samples
from gnomon.core import limits
from gnomon.core.errors import GnomonError
from tests.end_to_end.conftest import running
from tests.waiting import until

LOST_S = limits.LOG_COMMIT_INTERVAL_S + 0.5  # and how late a thread may be on a busy machine
MOVED_S = limits.LOG_FLUSH_INTERVAL_S + 10.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("server") / "home", "--fronts", "2")


@pytest.fixture(scope="module")
def pipeline(server):
    client = server.client()
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [
        client.upload_model(name, path) for name, path in samples.challenger_paths().items()
    ]
    return client.build_pipeline("fraud").add_shadow_deploy(champion, challengers).deploy()


def rows(count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, 29)).astype(np.float32)


def segments(server):
    """How many segments all write-aheads hold."""
    count = 0
    for path in (server.home / "inference-log").glob("front-*.sqlite"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            count += connection.execute("SELECT count(*) FROM segments").fetchone()[0]
        connection.close()
    return count


def moved(pipeline):
    """How many rows the table has."""
    return pl.read_delta(pipeline.log_table()).height


def told(entries):
    """What entries say, but for what an entry may still learn."""
    return [
        (e.request_id, e.label, e.status, e.model_version, e.elapsed, e.raw["outputs"], e.input)
        for e in entries
    ]


def test_a_request_can_be_read_at_once_and_stays_the_same_when_it_moves(server, pipeline):
    answers = {}
    for number in range(12):
        [result] = pipeline.infer(
            {"tensor": rows(number + 1, number)}, request_id=f"request-{number}"
        )
        answers[result.request_id] = result
        # Then it is in the log, with what was answered
        [*_, entry] = pipeline.logs(request_id=result.request_id)
        assert np.array_equal(entry.output[0], result.data()[0])
    fresh = pipeline.logs()
    assert len(fresh) == 36

    until(lambda: moved(pipeline) == 78, within_s=MOVED_S)
    until(lambda: segments(server) == 0, within_s=MOVED_S)

    assert told(pipeline.logs()) == told(fresh)
    found = pl.read_delta(pipeline.log_table()).sort("time", "metadata.row")
    for request_id, result in answers.items():
        of = found.filter(pl.col("metadata.request_id") == request_id)
        assert of["metadata.row"].to_list() == list(range(of.height))
        expected = result.data()[0].ravel()
        assert np.allclose(of["out.dense_1"].list.first().to_numpy(), expected)
        for label, [output] in result.shadow_data().items():
            seen = of[f"out_{label}.variable"].list.first().to_numpy()
            assert np.allclose(seen, output.ravel())


def test_other_tools_read_the_table(pipeline):
    table = DeltaTable(pipeline.log_table())

    log = table.to_pyarrow_dataset()  # noqa: F841, found by its name
    found = duckdb.sql('SELECT count(*), count(DISTINCT "metadata.request_id") FROM log')

    frame = table.to_pandas()
    assert found.fetchall() == [(len(frame), frame["metadata.request_id"].nunique())]


def test_a_killed_flusher_comes_back_and_goes_on(server, pipeline):
    rows_before = moved(pipeline)
    for again in (1, 2):
        killed = server.pids()["flusher"]
        os.kill(killed, signal.SIGKILL)
        pipeline.infer({"tensor": rows(3)})
        until(lambda count=again: moved(pipeline) == rows_before + 3 * count, within_s=MOVED_S + 5)
        assert server.pids()["flusher"] != killed

    found = pl.read_delta(pipeline.log_table())
    assert found.select("metadata.log", "metadata.place", "metadata.row").is_unique().all()


def test_neither_fronts_nor_hosts_load_the_library_of_the_tables(server, pipeline):
    loaded = {
        name: "deltalake" in Path(f"/proc/{pid}/maps").read_text()
        for name, pid in server.pids().items()
        if pid is not None
    }

    assert loaded.pop("flusher")
    assert loaded.pop("control")
    assert not any(loaded.values()), loaded


def test_what_was_answered_is_in_the_log_whatever_is_killed(server, pipeline):
    # Given callers of two fronts
    choose = random.Random(11)
    row = rows(1)
    answered: dict[str, float] = {}
    kills: list[float] = []
    over = threading.Event()

    def call(caller: int) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            request_id = f"killed-{caller}-{number}"
            with contextlib.suppress(Exception):  # whoever is killed answers no more
                pipeline.infer({"tensor": row}, request_id=request_id, shadow_wait_ms=0)
                answered[request_id] = time.monotonic()

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()

    # When fronts, the flusher and the control plane are killed at moments of no meaning
    for victim in choose.sample(["front-0", "front-1", "flusher", "control", "front-0"], 5):
        before = len(answered)
        until(lambda count=before: len(answered) > count + choose.randrange(400, 600), within_s=30)
        pid = server.pids()[victim]
        kills.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
        until(lambda of=victim, was=pid: server.pids()[of] not in (None, was), within_s=30)
    over.set()
    for caller in callers:
        caller.join()

    # Then each answer is in the log once, but for what a front had in its last moments
    def log():
        with contextlib.suppress(GnomonError, UserWarning), warnings.catch_warnings():
            warnings.simplefilter("error")  # until the last one killed is back
            return pipeline.logs(limit=len(answered) * 2 + 1_000)

    entries = [entry for entry in until(log, within_s=20) if entry.request_id.startswith("killed")]
    found = Counter(entry.request_id for entry in entries)
    assert set(found.values()) == {3}  # an entry for each model
    missing = [when for request_id, when in answered.items() if request_id not in found]
    late = [when for when in missing if not any(abs(kill - when) < LOST_S for kill in kills)]
    assert late == [], (kills, len(answered))
    assert (
        len(found) > 0.5 * len(answered) > 50
    )  # three fronts were killed, at any rate of requests
