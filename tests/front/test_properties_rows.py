"""Rows of many callers, in any formats, cut and interleaved in any way: each gets its own.

Through a real front, by HTTP, with hosts behind real sockets. A gate holds the champion's first
answer back until everything has been sent, so that what follows waits and goes together.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.core.frames import Frame, Kind
from gnomon.testing import ListLog
from tests.front.arrow import body_of
from tests.front.conftest import FrontServer
from tests.front.models import challenger, champion, route
from tests.front.stub_host import StubHost, doubles
from tests.front.twins import Server, Talk, post
from tests.front.wire import Reply
from tests.waiting import until

HELD = -1.0  # in a row that the host keeps until the gate opens
BAD = -2.0  # in a row on which the model fails
FORMATS = ("tensor", "records", "arrow")


def triples(question: Frame) -> Frame:
    """Answer with three times the first input."""
    return Frame(Kind.RESULT, question.request, 1_000, (question.tensors[0] * 3,))


@dataclass
class Gated:
    """A front whose champion doubles and whose challenger triples."""

    server: Server
    host: StubHost
    answer: Callable[[Frame], Frame | bytes | None] = doubles
    gate: threading.Event = field(default_factory=threading.Event)

    def respond(self, question: Frame) -> Frame | bytes | None:
        """Answer, a held request only when the gate is open."""
        if (question.tensors[0] == HELD).any():
            self.gate.wait(10)
            return doubles(question)
        return self.answer(question)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep the host busy; at the end let it go on."""
        self.host.questions.clear()
        self.gate.clear()
        with self.server.talk() as talk:
            talk.send(request(np.array([[HELD, 0.0]], np.float32), "tensor"))
            until(lambda: self.host.questions, every_s=0.001)
            try:
                yield
            finally:
                self.gate.set()
            assert talk.read().status == 200

    def batches(self) -> list[list[float]]:
        """Return the first value of each row of each run, the held one excepted."""
        held, *others = [question.tensors[0][:, 0].tolist() for question in self.host.questions]
        assert held == [HELD]
        return others


@pytest.fixture(scope="module")
def gated():
    with tempfile.TemporaryDirectory() as directory:
        server = FrontServer(Path(directory), ListLog())
        server.start()
        host = server.host(champion())
        server.host(challenger("rf"), triples)
        server.route(route(champion(), challenger("rf"), mode="joined", shadow_wait_ms=10_000))
        server.wait_connected(champion().host, challenger("rf").host)
        gated = Gated(Server("ours", server.port, server.loop), host)
        host.answer = gated.respond
        yield gated
        gated.gate.set()
        server.stop()


def request(rows: np.ndarray, form: str, *more: str) -> bytes:
    """Return a request for an inference of rows, in one of `FORMATS`."""
    if form == "tensor":
        body = json.dumps({"tensor": rows.tolist()}).encode()
    elif form == "records":
        body = json.dumps([{"x": row} for row in rows.tolist()]).encode()
    else:
        cells = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        body = body_of(pa.table({"x": cells}))
    return post(*more, host="localhost", length=len(body), body=body)


@contextmanager
def connections(server: Server, count: int) -> Iterator[list[Talk]]:
    """Open several connections."""
    with ExitStack() as stack:
        yield [stack.enter_context(server.talk()) for _ in range(count)]


def outputs(reply: Reply, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what the champion and the challenger made of the rows."""
    if form == "tensor":
        answer = reply.json[0]
        tensors = [answer["outputs"][0]["Float"], answer["shadow_data"]["rf"][0]["Float"]]
        first, second = (np.array(each["data"]).reshape(each["dim"]) for each in tensors)
    elif form == "records":
        first, second = (
            np.array([row[name]["y"] for row in reply.json]) for name in ("out", "out_rf")
        )
    else:
        table = pa.ipc.open_stream(reply.body).read_all()
        first, second = (np.array(table.column(name).to_pylist()) for name in ("out.y", "out_rf.y"))
    return first, second


@st.composite
def conversations(draw: st.DrawFn) -> list[list[tuple[int, str]]]:
    """Draw, for each connection, the rows and the format of each of its requests."""
    a_request = st.tuples(st.integers(1, 6), st.sampled_from(FORMATS))
    return draw(st.lists(st.lists(a_request, min_size=1, max_size=6), min_size=1, max_size=6))


def numbered(conversation: list[list[tuple[int, str]]]) -> list[list[tuple[np.ndarray, str]]]:
    """Give each row of each request values that no other has."""
    number, made = 0, []
    for requests in conversation:
        made.append([])
        for rows, form in requests:
            values = np.arange(number, number + 2 * rows, dtype=np.float32).reshape(rows, 2)
            number += 2 * rows
            made[-1].append((values, form))
    return made


@settings(max_examples=100, deadline=None)
@given(conversations(), st.randoms(use_true_random=False))
def test_each_caller_gets_its_own_rows(gated, conversation, chance):
    # Given requests on several connections, whose bytes come cut and interleaved
    wanted = numbered(conversation)
    streams = [b"".join(request(rows, form) for rows, form in asked) for asked in wanted]
    pieces = [cut(stream, chance) for stream in streams]
    order = [index for index, of_one in enumerate(pieces) for _ in of_one]
    chance.shuffle(order)
    with connections(gated.server, len(wanted)) as talks:
        with gated.holding():
            for index in order:
                talks[index].send_parts(pieces[index].pop(0))
        # When the host goes on, then each has twice its rows, and three times of the challenger
        for talk, requests in zip(talks, wanted, strict=True):
            for rows, form in requests:
                reply = talk.read()
                assert reply.status == 200, reply.body
                first, second = outputs(reply, form)
                np.testing.assert_array_equal(first, rows * 2)
                np.testing.assert_array_equal(second, rows * 3)
    # And no row was run twice, or left out
    ran = sorted(value for values in gated.batches() for value in values)
    assert ran == [rows[at, 0] for asked in wanted for rows, _ in asked for at in range(len(rows))]


def test_what_waits_goes_together(gated):
    """Without this the tests here would not try what they are for."""
    with connections(gated.server, 5) as talks:
        with gated.holding():
            for number, talk in enumerate(talks):
                talk.send_parts(request(np.array([[number, 0]], np.float32), "tensor"))
        assert [talk.read().status for talk in talks] == [200] * 5
    assert gated.batches() == [[0.0, 1.0, 2.0, 3.0, 4.0]]


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut bytes into up to four pieces."""
    edges = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(4)))
    return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True) if a < b]


# Failures


def fails_on_bad_rows(question: Frame) -> Frame:
    """Answer as a model that raises an error if one of its rows is bad."""
    if (question.tensors[0] == BAD).any():
        return Frame(Kind.FAILED, question.request, 2_000, text="model_failed: a bad row")
    return doubles(question)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.booleans(), min_size=1, max_size=4),  # which rows are bad
            st.sampled_from(FORMATS),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_only_requests_with_a_bad_row_fail(gated, drawn):
    gated.answer = fails_on_bad_rows
    with connections(gated.server, len(drawn)) as talks:
        sent = []
        with gated.holding():
            for number, (talk, (bad, form)) in enumerate(zip(talks, drawn, strict=True)):
                rows = np.full((len(bad), 2), float(number), np.float32)
                rows[bad, 0] = BAD
                talk.send_parts(request(rows, form))
                sent.append(rows)
        for talk, rows, (bad, form) in zip(talks, sent, drawn, strict=True):
            reply = talk.read()
            assert reply.status == (422 if any(bad) else 200), reply.body
            if any(bad):
                assert reply.json["error_code"] == "model_failed"
            else:
                np.testing.assert_array_equal(outputs(reply, form)[0], rows * 2)


def out_of_memory(question: Frame) -> Frame:
    return Frame(Kind.FAILED, question.request, 2_000, text="limit_reached: out of memory")


def stopped(question: Frame) -> Frame:
    return Frame(Kind.FAILED, question.request, 2_000, text="inference_timeout: it was stopped")


def nonsense(question: Frame) -> bytes:
    return b"no frame at all, and longer than the header of one"


FAULTS = {"out of memory": (out_of_memory, 422, "limit_reached"),
          "timeout": (stopped, 504, "inference_timeout"),
          "crash": (None, 503, "host_unavailable"),
          "nonsense": (nonsense, 503, "host_unavailable")}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=10, deadline=None)
@given(count=st.integers(1, 12), bad=st.integers(0, 11))
def test_rows_are_never_run_again_after_another_fault(gated, fault, count, bad):
    answer, status, code = FAULTS[fault]
    bad = float(bad % count)

    def respond(question: Frame) -> Frame | bytes | None:
        if bad not in question.tensors[0][:, 0]:
            return doubles(question)
        if answer is None:
            gated.host.hang_up()
            return None
        return answer(question)

    # Given requests that wait, one of which is the end of whatever runs it
    gated.answer = respond
    with connections(gated.server, count) as talks:
        with gated.holding():
            for number, talk in enumerate(talks):
                talk.send_parts(request(np.array([[number, 0]], np.float32), "tensor"))
        replies = [talk.read() for talk in talks]
    # Then those that ran with it fail as it did, and nothing is run a second time
    batches = gated.batches()
    [hit] = [values for values in batches if bad in values]
    for number, reply in enumerate(replies):
        if number in hit:
            assert (reply.status, reply.json["error_code"]) == (status, code)
        elif code != "host_unavailable":
            assert reply.status == 200
    ran = [value for values in batches for value in values]
    assert len(ran) == len(set(ran))
    # And the host serves on
    gated.answer = doubles
    with gated.server.talk() as talk:
        again = request(np.array([[5, 0]], np.float32), "tensor")
        until(lambda: talk.ask(again).status == 200)
