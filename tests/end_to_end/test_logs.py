"""The inference log of a real server: what callers were answered, wherever it stands."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from deltalake import DeltaTable
from onnx import helper, numpy_helper

from gnomon import samples
from gnomon.core import limits
from tests import hostile_models
from tests.end_to_end.conftest import running
from tests.waiting import until

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


def upload(server, directory, name, content):
    path = directory / f"{name}.onnx"
    path.write_bytes(content)
    return server.client().upload_model(name, path)


def times(factor, *, output="y", width=2):
    """y = factor * x, float32 [n, width]."""
    by = numpy_helper.from_array(np.array(factor, np.float32), "factor")
    shape = ("n", width)
    return hostile_models.model(
        [helper.make_node("Mul", ["x", "factor"], [output])],
        [hostile_models.value("x", shape=shape)],
        [hostile_models.value(output, shape=shape)],
        initializers=[by],
    )


def settled(server):
    until(lambda: segments(server) == 0, within_s=MOVED_S)


def test_a_large_tensor_is_kept_once_beside_the_table(server, tmp_path):
    # Given a model of 70,000 floats in and out, that was asked twice about the same
    model = upload(server, tmp_path, "wide", times(2.0, width=70_000))
    pipeline = server.client().build_pipeline("wide").add_model_step(model).deploy()
    sent = np.random.default_rng(1).normal(size=(1, 70_000)).astype(np.float32)
    for _ in range(2):
        pipeline.infer({"x": sent})
    fresh = pipeline.logs()

    settled(server)

    # Then each tensor is there once, by its content, and is read as before
    place = Path(pipeline.log_table())
    assert len(list((place.parent / "blobs").glob("*/*"))) == 2
    frame = pl.read_delta(str(place))
    [name] = frame["metadata.out.y.sha256"].unique().to_list()
    assert np.array_equal(np.load(place.parent / "blobs" / name[:2] / name), 2 * sent[0])
    assert told(pipeline.logs()) == told(fresh)
    assert np.array_equal(pipeline.logs()[0].output[0], 2.0 * sent)
    for entry in (*pipeline.logs(), *fresh):
        assert np.array_equal(np.float32(entry.input), sent)


def test_options_of_a_split_and_validations_are_logged_as_they_were_answered(server, tmp_path):
    # Given a split of models with other outputs, and a validation
    small = upload(server, tmp_path, "small", times(1.0, output="small"))
    large = upload(server, tmp_path, "large", times(10.0, output="large"))
    pipeline = server.client().build_pipeline("split")
    pipeline.add_key_split(small, "size", {"large": large})
    pipeline.add_validations(high='"in.x"[1] > 1.5').deploy()
    sizes = ["small", "large", "large", "small"]
    answers = {}
    for number, size in enumerate(sizes):
        frame = pd.DataFrame({"x": [[float(number), 0.5], [0.0, 0.5]], "size": [size] * 2})
        answers[f"{number}"] = pipeline.infer(frame, request_id=f"split-{number}")
    fresh = [pipeline.logs(valid=valid) for valid in (None, False, True)]

    settled(server)

    # Then each request has the outputs of its option, fresh and in the table
    moved = [pipeline.logs(valid=valid) for valid in (None, False, True)]
    for everything, bad, good in (fresh, moved):
        of = {entry.request_id: entry for entry in everything}
        for number, size in enumerate(sizes):
            factor, entry = 10 if size == "large" else 1, of[f"split-{number}"]
            assert entry.output[0].tolist() == [[factor * number, factor * 0.5], [0, factor * 0.5]]
            assert json.loads(entry.output[1][0, 0]) == json.loads(
                answers[f"{number}"]["out._model_split"][0][0]
            )
            assert entry.validation_failures == (["high"] if number > 1 else [])
        frame = everything.to_pandas()
        assert frame["anomaly.high"].tolist() == [False, True, False, True, *[False] * 4]
        assert frame["anomaly.count"].tolist() == [0, 1, 0, 1, 0, 0, 0, 0]
        assert [x is None for x in frame["out.large"]] == [
            s == "small" for s in sizes[::-1] for _ in "12"
        ]
        assert [cell[0] for cell in bad.to_pandas()["in.x"]] == [3.0, 2.0]
        assert [cell[0] for cell in good.to_pandas()["in.x"]] == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    table = pl.read_delta(pipeline.log_table()).sort("time", "metadata.row")
    assert table["anomaly.high"].sum() == table["anomaly.count"].sum() == 2
