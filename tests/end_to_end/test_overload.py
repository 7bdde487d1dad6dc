"""More requests than can be answered: what is refused, how fast, and what is still answered."""

import contextlib
import json
import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pyarrow
import pyarrow.ipc
import pytest

from bench.isolation.load import request
from bench.overload.load import Client, percentile_ms
from bench.overload.measuring import outputs
from bench.overload.models import busy
from gnomon import samples
from gnomon.core import limits
from tests import hostile_models
from tests.end_to_end.truth import told_by_onnxruntime
from tests.waiting import until

PROCESS_REQUESTS = 4_096
CONNECTIONS = limits.CHAMPION_QUEUE_REQUESTS_MAX + 400


@pytest.fixture(scope="module")
def row():
    return samples.held_out()[0][:1]


@pytest.fixture(scope="module")
def champion(row, tmp_path_factory):
    """A model that takes a millisecond for its row, and so has a capacity of its own."""
    return busy(row, 0.001, tmp_path_factory.mktemp("busy"))


def message(server, url: str, body: object) -> bytes:
    return request(url, json.dumps(body).encode(), {"Authorization": f"Bearer {server.token}"})


def test_offered_more_than_it_can_do_a_server_does_what_it_can(shared_server, champion, row):
    # Given what the server can do, and what ONNX Runtime says
    client = shared_server.client()
    model = client.upload_model("busy", champion)
    url = client.build_pipeline("busy").add_model_step(model).deploy().url()
    [truth] = told_by_onnxruntime(champion, row)
    sent = message(shared_server, url, {"tensor": row.astype(float).tolist()})

    with Client(url, sent, connections=CONNECTIONS) as callers:
        capacity = callers.load(rate=None, seconds=1.0, connections=16).goodput
        usual_ms = percentile_ms(callers.load(rate=capacity / 2, seconds=0.5).answered_s, 99)

        # When it is offered more than three times that
        seen = callers.load(rate=3 * capacity + 1_000, seconds=2.0)

        # Then it goes on doing what it can, and refuses the rest at once, with a status that says
        # so and when to come again (deadlines far above the figures: the machine may be busy)
        assert seen.goodput > 0.25 * capacity
        assert len(seen.refused_s) > 0
        assert percentile_ms(seen.refused_s, 50) < 200
        assert all(head.startswith(b"HTTP/1.1 429 ") for head in seen.refusals)
        assert all(b"\r\nRetry-After: 1" in head for head in seen.refusals)
        assert seen.failures == {}
        assert all(outputs(body).tobytes() == truth.tobytes() for body in seen.answers)

        # and within ten seconds it is as if nothing had been
        def is_as_before() -> bool:
            after = callers.load(rate=capacity / 2, seconds=0.3)
            return (
                len(after.answered_s) == after.asked
                and percentile_ms(after.answered_s, 99) < 2 * usual_ms + 20
            )

        until(is_as_before, within_s=10.0)
    assert all(stats["log"]["dropped"] == 0 for stats in shared_server.front_stats())


def test_a_crowd_that_asks_again_at_once_does_not_keep_the_server_from_answering(
    shared_server, row
):
    # Given a champion that takes microseconds, so that to refuse costs as much as to answer
    client = shared_server.client()
    model = client.upload_model("quick", samples.champion_path())
    url = client.build_pipeline("quick").add_model_step(model).deploy().url()
    sent = message(shared_server, url, {"tensor": row.astype(float).tolist()})

    with Client(url, sent, connections=2 * CONNECTIONS) as callers:
        capacity = callers.load(rate=None, seconds=1.0, connections=32).goodput

        # When more ask than may wait, each again as soon as it is refused
        seen = callers.load(rate=None, seconds=2.0)

        # Then a good part of what the server does is still to answer
        assert len(seen.refused_s) > 0
        assert seen.goodput > 0.2 * capacity
        assert seen.failures == {}


def test_at_half_of_that_everything_is_answered_and_logged_for_each_model(shared_server, row):
    # Given a champion with two challengers
    client = shared_server.client()
    champion = client.upload_model("champion", samples.champion_path())
    challengers = [
        client.upload_model(name, path) for name, path in samples.challenger_paths().items()
    ]
    pipeline = client.build_pipeline("half").add_shadow_deploy(champion, challengers).deploy()
    [truth] = told_by_onnxruntime(samples.champion_path(), row)
    sent = message(shared_server, pipeline.url(), {"tensor": row.astype(float).tolist()})

    # When 300 requests come within a second and a half
    with Client(pipeline.url(), sent, connections=32) as callers:
        seen = callers.load(rate=200, seconds=1.5)

    # Then all are answered, and each model has an entry for each
    assert seen.asked == len(seen.answered_s) == 300
    assert all(outputs(body).tobytes() == truth.tobytes() for body in seen.answers)
    labels = ["champion", *samples.challenger_paths()]
    until(lambda: not any(map(shared_server.waiting, labels)))
    logged = Counter((entry.model_name, entry.status) for entry in pipeline.logs(limit=1_000))
    assert logged == {(label, "ok"): 300 for label in labels}


def test_what_waits_for_one_pipeline_is_bounded_in_bytes(shared_server, tmp_path):
    # Given a pipeline whose model hangs, and bodies of 12 MB
    url = hanging(shared_server, tmp_path, "large", rows="n")
    column = np.zeros((1_500_000, 2), dtype=np.float32)
    column[0, 0] = 1_000
    rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(column.ravel()), 2)
    table = pyarrow.table({"x": rows})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    headers = {
        "Content_Type": "application/vnd.apache.arrow.file",
        "X_Gnomon_Timeout_Ms": "1500",
    }

    # When more of them come than 64 MiB
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shared_server.post(url, body, **headers), range(8)))

    # Then those within it wait until their deadline, and the others are refused
    fitting = limits.CHAMPION_QUEUE_BYTES_MAX // column.nbytes
    assert Counter(answer.status for answer in answers) == {504: fitting, 429: 8 - fitting}
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status == 429)


def hanging(server, tmp_path, name: str, rows: object = 1) -> str:
    """Deploy a champion that hangs where x is above 100; return its URL."""
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(hostile_models.endless_loop(on_input=True, rows=rows))
    client = server.client()
    model = client.upload_model(name, path)
    return client.build_pipeline(name).add_model_step(model).deploy().url()


def test_what_waits_in_the_whole_process_is_bounded(shared_server, tmp_path):
    # Given four pipelines whose models hang, and as many requests waiting as may wait in all
    names = [f"hanging-{number}" for number in range(4)]
    urls = [hanging(shared_server, tmp_path, name) for name in names]
    bystander = hanging(shared_server, tmp_path, "bystander")
    hangs, ends = {"x": [[1000.0, 0.0]]}, {"x": [[1.0, 0.0]]}
    pipelined = limits.PIPELINED_REQUESTS_MAX
    head = {"Authorization": f"Bearer {shared_server.token}", "X-Gnomon-Timeout-Ms": "60000"}
    with contextlib.ExitStack() as crowd:
        for url in urls:
            sent = request(url, json.dumps(hangs).encode(), head) * pipelined
            for _ in range(limits.CHAMPION_QUEUE_REQUESTS_MAX // pipelined):
                crowd.enter_context(connected(url)).sendall(sent)
        until(lambda: sum(map(shared_server.waiting, names)) == PROCESS_REQUESTS)

        # When one more comes, for a pipeline for which nobody waits
        answer = shared_server.post(bystander, ends)

        # Then it is refused
        assert (answer.status, answer.json()["error_code"]) == (429, "overloaded")
        assert answer.headers["Retry-After"] == "1"

        # and answered once there is room again
        pids = shared_server.pids()
        for name in names:
            os.kill(pids[name], signal.SIGKILL)
        until(lambda: shared_server.post(bystander, ends).status == 200)


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=20)
