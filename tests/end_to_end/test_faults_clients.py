"""Clients that are slow, idle, greedy or many: the others are answered as ever."""

import contextlib
import json
import resource
import socket
import threading
from urllib.parse import urlsplit

import numpy as np
import psutil
import pyarrow
import pyarrow.ipc
import pytest
from onnx import helper, numpy_helper

from gnomon import samples
from tests import hostile_models
from tests.end_to_end.callers import Callers, first_output
from tests.end_to_end.truth import told_by_onnxruntime
from tests.waiting import until

MIB = 1_048_576


@pytest.fixture(scope="module")
def url(shared_server):
    client = shared_server.client()
    model = client.upload_model("champion", samples.champion_path())
    return client.build_pipeline("champion").add_model_step(model).deploy().url()


@pytest.fixture(scope="module")
def rows():
    return samples.held_out()[0][:8]


@pytest.fixture
def calling(shared_server, url, rows):
    """Callers who know what the champion says to each row."""
    truth = told_by_onnxruntime(samples.champion_path(), rows)

    def calling() -> Callers:
        return Callers(
            url,
            shared_server.token,
            [{"tensor": [row.astype(float).tolist()]} for row in rows],
            lambda index, answer: first_output(answer).tobytes() == truth[index].tobytes(),
            most=400,
        )

    return calling


def heard_by(callers: Callers):
    """Let callers ask all they want; return what they heard."""
    with callers as heard:
        until(lambda: not callers.calling, within_s=20.0)
    assert heard.failures == {}
    assert heard.wrong == []
    return heard


def front_rss(server) -> int:
    return psutil.Process(server.pids()["front"]).memory_info().rss


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=20)


def head(server, url: str, length: int) -> bytes:
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: Bearer {server.token}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_idle_connections_are_felt_by_nobody(shared_server, url, calling):
    # Given a thousand connections that have asked once and are silent since
    usual = heard_by(calling())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    health = head(shared_server, url, 0).replace(b"POST", b"GET", 1)
    health = health.replace(urlsplit(url).path.encode(), b"/v1/health", 1)
    before = front_rss(shared_server)
    with contextlib.ExitStack() as idle:
        clients = [idle.enter_context(connected(url)) for _ in range(1_000)]
        for client in clients:
            client.sendall(health)
        for client in clients:
            assert client.recv(4_096).startswith(b"HTTP/1.1 200 ")

        # Then others are answered as fast as before, and each connection costs little
        beside = heard_by(calling())
        assert beside.latency_ms(99) < 5 * usual.latency_ms(99) + 20
        assert front_rss(shared_server) - before < 20 * MIB


def test_clients_that_drip_or_never_read_are_felt_by_nobody(shared_server, url, rows, calling):
    usual = heard_by(calling())
    before = front_rss(shared_server)
    body = json.dumps({"tensor": np.repeat(rows, 10, axis=0).astype(float).tolist()}).encode()
    whole = head(shared_server, url, len(body)) + body
    with contextlib.ExitStack() as slow:
        # Given 100 connections that stop in a head, 100 that stop in a body, and 20 that ask
        # again and again for large answers and never read one
        for sent in (whole[:20], whole[:-20]):
            for _ in range(100):
                slow.enter_context(connected(url)).sendall(sent)
        for _ in range(20):
            client = slow.enter_context(connected(url))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(200):
                    client.sendall(whole)

        until(lambda: not shared_server.waiting("champion"))

        # Then others are answered as ever, and what is kept for them is bounded
        beside = heard_by(calling())
        assert beside.latency_ms(99) < 5 * usual.latency_ms(99) + 20
        assert front_rss(shared_server) - before < 100 * MIB


def test_single_rows_do_not_wait_long_behind_large_batches(shared_server, tmp_path, calling):
    # Given a model of 512 columns, and callers who send it 8,000 rows at a time
    width = 512
    weights = np.linspace(-1, 1, width, dtype=np.float32)[:, None]
    content = hostile_models.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [hostile_models.value("x", shape=("n", width))],
        [hostile_models.value("y", shape=("n", 1))],
        initializers=[numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "wide.onnx"
    path.write_bytes(content)
    client = shared_server.client()
    model = client.upload_model("wide", path)
    url = client.build_pipeline("wide").add_model_step(model).deploy().url()
    given = np.random.default_rng(5).standard_normal((8_000, width)).astype(np.float32)
    large = arrow(given)
    truth = told_by_onnxruntime(path, given[:4])
    single = Callers(
        url,
        shared_server.token,
        [{"x": [row.astype(float).tolist()]} for row in given[:4]],
        lambda index, answer: first_output(answer).tobytes() == truth[index].tobytes(),
        threads=2,
        most=80,
    )
    over = threading.Event()
    statuses = []

    def send_large() -> None:
        while not over.is_set():
            answer = shared_server.post(
                url, large, Content_Type="application/vnd.apache.arrow.file"
            )
            statuses.append(answer.status)

    thread = threading.Thread(target=send_large)

    # When others ask for single rows meanwhile
    thread.start()
    try:
        until(lambda: statuses)
        beside = heard_by(single)
    finally:
        over.set()
        thread.join()

    # Then none waits for long, and the large ones are answered too
    assert beside.latency_ms(99) < 1_000
    assert set(statuses) == {200}


def arrow(rows: np.ndarray) -> bytes:
    """Return rows as an Arrow file with the column x."""
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), rows.shape[1])
    table = pyarrow.table({"x": column})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
