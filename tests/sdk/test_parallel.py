"""Many requests at a time: in order, in bounds, with failures told and an end when asked for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

import gnomon
from gnomon.core import limits
from gnomon.core.errors import (
    HostUnavailable,
    InputMismatch,
    Invalid,
    MalformedRequest,
    NotDeployed,
)
from gnomon.sdk import parallel
from tests.sdk.wire import FRONT, TOKEN, Answer, refusal
from tests.waiting import until

ROWS = 25
VALUES = np.arange(3 * ROWS, dtype="float32").reshape(ROWS, 3)
OUTPUTS = (2 * VALUES.sum(axis=1)).tolist()


@pytest.fixture
def table() -> pa.Table:
    return pa.table({"tensor": list(VALUES), "index": range(ROWS)})


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(limits, "CLIENT_RETRY_PAUSE_S", 0.001)
    monkeypatch.setattr(limits, "RETRY_AFTER_S", 0.001)


def asked(server):
    return [seen for seen in server.requests if seen.path.startswith(FRONT)]


def indices(seen) -> list[int]:
    return pa.ipc.open_stream(seen.body).read_all().column("index").to_pylist()


def run(pipeline, tensor, **how):
    return asyncio.run(pipeline.parallel_infer(tensor, **how))


def outputs(frame: pd.DataFrame) -> list[float]:
    return [cell[0] for cell in frame["out.dense_1"]]


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        (pd.DataFrame, lambda table: pd.DataFrame(table.to_pydict())),
        (polars.DataFrame, polars.from_arrow),
        (pa.Table, lambda table: table),
    ],
    ids=["pandas", "polars", "pyarrow"],
)
def test_batches_are_answered_by_one_frame_in_the_order_of_rows(shadow, server, table, kind, of):
    answer = run(shadow.pipeline, of(table), batch_size=4, num_parallel=3)

    assert isinstance(answer, kind)
    cells = answer["out.dense_1"].to_pylist() if kind is pa.Table else list(answer["out.dense_1"])
    assert [cell[0] for cell in cells] == OUTPUTS
    assert sorted(len(indices(seen)) for seen in asked(server)) == [1, *[4] * 6]
    names = answer.column_names if kind is pa.Table else list(answer.columns)
    assert names[-1] == "out_ccfraud-xgb.dense_1"


def test_the_answer_says_what_that_of_a_single_request_says(shadow, server, table):
    frame = run(shadow.pipeline, table.to_pandas(), batch_size=5, request_id="mine")

    assert frame.attrs["request_ids"] == [f"mine.{number}" for number in range(1, 6)]
    assert frame.attrs["request_id"] == "mine.1"
    assert frame.attrs["challengers"]["ccfraud-rf"].elapsed_ns == 5 * 226951
    assert frame.attrs["failures"] == []


def test_as_many_are_under_way_as_was_said_and_no_more(shadow, server, table):
    together, lock = threading.Barrier(3, timeout=10), threading.Lock()
    under_way, most = 0, 0

    def answer(seen):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait()
        with lock:
            under_way -= 1
        return server.infer(seen)

    server.answers["POST", FRONT] = answer
    run(shadow.pipeline, table.slice(0, 24), num_parallel=3)

    assert most == 3


def test_a_batch_that_fails_leaves_the_others_alone_and_says_which_rows(shadow, server, table):
    def answer(seen):
        if {6, 22} & set(indices(seen)):
            return refusal(422, "input_mismatch", "It is odd.")
        return server.infer(seen)

    server.answers["POST", FRONT] = answer
    with pytest.warns(UserWarning, match=r"8 of 25 rows have no answer. Rows 4 to 7: It is odd"):
        frame = run(shadow.pipeline, table.to_pandas(), batch_size=4)

    lost = {*range(4, 8), *range(20, 24)}
    assert [frame["error"][i] == "It is odd." for i in range(ROWS)] == [
        i in lost for i in range(ROWS)
    ]
    assert [cell and cell[0] for cell in frame["out.dense_1"]] == [
        None if i in lost else OUTPUTS[i] for i in range(ROWS)
    ]
    assert frame["in.index"].tolist() == list(range(ROWS))
    assert frame["in.tensor"].tolist() == VALUES.tolist()
    assert frame["anomaly.count"].isna().sum() == len(lost)
    assert frame.columns[-1] == "error"
    assert frame.attrs["failures"] == [
        {"start": 4, "stop": 8, "error": "It is odd.", "error_code": "input_mismatch"},
        {"start": 20, "stop": 24, "error": "It is odd.", "error_code": "input_mismatch"},
    ]


def test_if_all_fail_the_first_error_is_raised(shadow, server, table):
    server.answers["POST", FRONT] = lambda _: refusal(422, "input_mismatch", "It is odd.")

    with pytest.raises(InputMismatch, match="It is odd") as caught:
        run(shadow.pipeline, table, batch_size=10)

    assert caught.value.__notes__ == ["All of the 3 batches failed, the first with this."]


@pytest.mark.parametrize(("status", "code"), [(429, "overloaded"), (503, "host_unavailable")])
def test_what_may_work_another_time_is_asked_again(shadow, server, table, status, code):
    refused = set()

    def answer(seen):
        first = indices(seen)[0]
        if first in refused:
            return server.infer(seen)
        refused.add(first)
        return refusal(status, code, "Try again.")

    server.answers["POST", FRONT] = answer

    frame = run(shadow.pipeline, table.to_pandas(), batch_size=5, retries=1)

    assert outputs(frame) == OUTPUTS
    assert len(asked(server)) == 10


def test_it_is_asked_again_as_often_as_was_said(shadow, server, table):
    server.answers["POST", FRONT] = lambda _: refusal(503, "host_unavailable", "Starting.")

    for retries, times in ((0, 1), (3, 4), (None, 1 + limits.CLIENT_RETRIES)):
        server.requests.clear()
        with pytest.raises(HostUnavailable):
            asyncio.run(shadow.pipeline.async_infer(table, retries=retries))
        assert len(asked(server)) == times


def test_a_batch_whose_connection_breaks_is_sent_again(shadow, server, table):
    broken = iter([True] * 3)
    server.answers["POST", FRONT] = lambda seen: (
        Answer(0) if next(broken, False) else server.infer(seen)
    )

    frame = run(shadow.pipeline, table.to_pandas(), batch_size=5, num_parallel=1)

    assert outputs(frame) == OUTPUTS


def test_what_all_others_would_meet_ends_the_run(shadow, server, table):
    def answer(seen):
        if indices(seen)[0] >= 10:
            return refusal(404, "not_deployed", "Nothing is deployed here.")
        return server.infer(seen)

    server.answers["POST", FRONT] = answer
    with pytest.warns(UserWarning, match="15 of 25 rows have no answer"):
        frame = run(shadow.pipeline, table.to_pandas(), batch_size=5, num_parallel=1)

    assert len(asked(server)) == 3
    assert frame["error"][24] == "Pipeline 'cc-shadow' is not deployed: call deploy() first."
    shadow.pipeline.undeploy()
    with pytest.raises(NotDeployed):
        run(shadow.pipeline, table)


def test_what_cannot_be_run_is_refused_before_anything_is_sent(shadow, server, table):
    pipeline = shadow.pipeline
    for how, says in [
        ({"batch_size": 0}, "batch_size must be a whole number, 1 or more, got 0"),
        ({"batch_size": None}, "batch_size must be .*, got None"),
        ({"batch_size": True}, "got True"),
        ({"num_parallel": 65}, "num_parallel must be a whole number, 1 to 64, got 65"),
        ({"retries": -1}, "retries must be a whole number, 0 to 100, got -1"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"dataset": 1}, "dataset must be a list"),
    ]:
        with pytest.raises(Invalid, match=says):
            run(pipeline, table, **how)
    with pytest.raises(MalformedRequest):
        run(pipeline, table, request_id="not one")
    for tensor in ({"tensor": VALUES}, VALUES, None):
        with pytest.raises(TypeError, match="got "):
            run(pipeline, tensor)
    assert asked(server) == []


@pytest.mark.parametrize("tensor", [{"tensor": VALUES}, VALUES, {"tensor": VALUES.tolist()}])
def test_one_input_is_asked_about_while_others_are(shadow, tensor):
    async def several():
        asks = [shadow.pipeline.async_infer(tensor, None, 5.0) for _ in range(5)]
        return await asyncio.gather(*asks)

    for [result] in asyncio.run(several()):
        assert result.data()[0].ravel().tolist() == OUTPUTS


def test_an_http_client_is_taken_and_not_needed(shadow, table):
    class AsyncClient:
        """What other platforms' clients are given."""

    frame = asyncio.run(shadow.pipeline.async_infer(table.to_pandas(), AsyncClient(), retries=2))

    assert outputs(frame) == OUTPUTS


def test_cancelling_ends_what_is_under_way_and_sends_no_more(shadow, server, table):
    held, begun = threading.Event(), threading.Semaphore(0)

    def hold(_):
        begun.release()
        held.wait(10)
        return Answer(0)

    server.answers["POST", FRONT] = hold

    async def cancelled():
        task = asyncio.create_task(shadow.pipeline.parallel_infer(table, num_parallel=4))
        for _ in range(4):
            await asyncio.to_thread(begun.acquire, timeout=10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())

    all_free = threading.Barrier(limits.CLIENT_CONNECTIONS_MAX, timeout=10)
    threads = parallel._threads(os.getpid())
    list(threads.map(lambda _: all_free.wait(), range(limits.CLIENT_CONNECTIONS_MAX)))
    assert len(asked(server)) == 4
    held.set()


INTERRUPTED = """
import asyncio, sys
import pyarrow as pa
import gnomon

url, token = sys.argv[1:]
pipeline = gnomon.Client(url, token).get_pipeline("cc-shadow")
asyncio.run(pipeline.parallel_infer(pa.table({"tensor": [[1.0, 2.0, 3.0]] * 50})))
"""


def test_ctrl_c_ends_it(shadow, server):
    held = threading.Event()

    def hold(_):
        held.wait(30)
        return Answer(0)

    server.answers["POST", FRONT] = hold
    token = shadow.client.auth.auth_header()["Authorization"].split()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, server.url, token],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(asked(server)) == limits.CLIENT_PARALLEL)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=10)
    held.set()

    assert process.returncode == -signal.SIGINT
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert out == "Inferring 50 rows  ended at 0 of 50 rows\n"


def test_a_forked_child_has_threads_of_its_own(shadow, table):
    expected = asyncio.run(shadow.pipeline.async_infer(table.to_pandas()))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            found = asyncio.run(shadow.pipeline.async_infer(table.to_pandas()))
            status = 0 if outputs(found) == outputs(expected) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_rows_are_shown_as_they_are_done(server, shadow, table, capsys):
    client = gnomon.Client(server.url, TOKEN)

    run(client.get_pipeline("cc-shadow"), table, batch_size=5)
    asyncio.run(client.get_pipeline("cc-shadow").async_infer(table))

    assert capsys.readouterr().out == f"Inferring 25 rows {'.' * 50} ok\n"
