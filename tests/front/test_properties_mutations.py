"""Bodies and requests that something has gnawed at: a front, as a process, outlives them all.

Whatever is sent, it answers with what the model gives or says what is wrong with the request:
never 500, never nothing while the client still waits, and its memory does not grow.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.core import limits
from gnomon.core.access import token_hash
from gnomon.core.routing import RoutingTable
from tests.front.arrow import FILE, STREAM, body_of
from tests.front.models import TOKEN, champion, route
from tests.front.rules.framing import IN_CHUNKS, TWO
from tests.front.test_app import Process
from tests.front.twins import chunked, get, post
from tests.front.wire import BODY, Client

REFUSALS = {400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 421, 422, 431, 501, 505}
MEMORY_MAX = 128 * limits.MIB

TABLE = pa.table(
    {
        "x": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype="float32")), 2),
        "lists": [[1.5], [2.5], [3.5]],
        "texts": pa.array([["a"], ["b"], None], pa.large_list(pa.large_string())),
        "flags": [True, None, False],
        "words": pa.array(["x", "y", "x"]).dictionary_encode(),
        "times": pa.array([1, 2, 3], pa.timestamp("us", "UTC")),
    }
)
SMALL = TABLE.select(["x"])
ARROW = [
    body_of(TABLE, STREAM),
    body_of(TABLE, FILE),
    body_of(TABLE, STREAM, chunk=1),
    body_of(SMALL, STREAM),
    body_of(SMALL, FILE),
]
JSON = [
    BODY,
    json.dumps({"tensor": [[1, 2.5], [-3e10, 0]]}).encode(),
    json.dumps([{"x": [1.5, 2], "further": {"a": [None, "é", True]}}] * 2).encode(),
]
REQUESTS = [
    post(host="localhost"),
    post(IN_CHUNKS, host="localhost", length=None, body=TWO),
    post(IN_CHUNKS, host="localhost", length=None,
         body=chunked(BODY, end=b"0;a=b\r\nX-Sum: 1\r\n\r\n")),
    get("Connection: Upgrade", "Upgrade: h2c", host="localhost"),
    post("Expect: 100-continue", "X-Gnomon-Request-Id: order-1", host="localhost"),
]  # fmt: skip
WORDS = [b"\r\n", b"\n", b"\0", b":", b" ", b"\xff\xff\xff\x7f", b"\xff" * 8, b"0", b"9", b"-",
         b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"[", b"{", b'"', b"1e999",
         b"ARROW1", b"\xff\xff\xff\xff\0\0\0\0"]  # fmt: skip

A_PLACE = st.integers(0, 2**16)
A_CHANGE = (
    st.tuples(st.just("set"), A_PLACE, st.binary(min_size=1, max_size=1))
    | st.tuples(st.just("set"), A_PLACE, st.sampled_from(WORDS))
    | st.tuples(st.just("insert"), A_PLACE, st.sampled_from(WORDS) | st.binary(max_size=8))
    | st.tuples(st.just("cut"), A_PLACE, st.binary(max_size=40))
    | st.tuples(st.just("end"), A_PLACE, st.just(b""))
)
CHANGES = st.lists(A_CHANGE, min_size=1, max_size=8)


def mutated(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    changed = bytearray(data)
    for how, place, what in changes:
        at = place % (len(changed) + 1)
        if how == "set":
            changed[at : at + len(what)] = what
        elif how == "insert":
            changed[at:at] = what
        elif how == "cut":
            del changed[at : at + len(what)]
        elif place % 4 == 0:  # not too often: little is left
            del changed[at:]
    return bytes(changed)


def memory_of(process: Process) -> int:
    return psutil.Process(process.process.pid).memory_info().rss


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    """A front in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        directory, model = Path(name), champion()
        table = RoutingTable(version=3, routes=(route(model),), token_hashes={token_hash(TOKEN): 1})
        (directory / "routing.json").write_text(json.dumps(table.to_json()))
        process = Process(directory, log=None)
        process.host(model)
        process.start()
        assert process.infer({"tensor": [[1, 2]]}).status == 200
        process.memory_at_start = memory_of(process)
        yield process
        process.stop()


def assert_bodies_are_answered(process: Process, drawn: list[bytes]) -> None:
    client = Client(process.raw())
    with client.socket:
        for body in drawn:
            reply = client.ask(post(host="localhost", length=len(body), body=body))
            assert reply is not None, "the connection ended"
            if reply.status != 200:
                assert reply.status in (400, 413, 422), reply.body
                assert reply.json["code"] == reply.status


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(mutated, st.sampled_from(ARROW), CHANGES), min_size=1, max_size=4))
def test_mutated_arrow_bodies_are_answered_or_refused(process, bodies):
    assert_bodies_are_answered(process, bodies)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(mutated, st.sampled_from(JSON), CHANGES), min_size=1, max_size=4))
def test_mutated_json_bodies_are_answered_or_refused(process, bodies):
    assert_bodies_are_answered(process, bodies)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4).map(b"".join), CHANGES)
def test_mutated_requests_are_answered_or_refused(process, stream, changes):
    client = Client(process.raw())
    with client.socket:
        with suppress(ConnectionError):
            client.send(mutated(stream, changes))
            client.socket.shutdown(socket.SHUT_WR)
        statuses = []
        with suppress(ConnectionResetError):
            while (reply := client.read()) is not None:
                statuses.append(reply.status)
    assert set(statuses) <= {100, 200} | REFUSALS


def test_after_all_of_them_it_serves_and_has_not_grown(process):
    assert process.process.poll() is None
    assert process.infer({"tensor": [[1, 2]]}).status == 200
    assert memory_of(process) - process.memory_at_start < MEMORY_MAX
