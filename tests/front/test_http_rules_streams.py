"""Bytes come as they come: how a stream of requests is cut into reads changes no answer.

Many a server has a quick way for what it has seen before. So what is sent here is sent again and
again, whole and in parts, on one connection and on many; and what looks like something seen
before, but is not, must not be taken for it.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.core import limits
from tests.front import twins
from tests.front.models import TOKEN, champion, route
from tests.front.rules.framing import IN_CHUNKS, TWO
from tests.front.twins import HEALTH, Server, chunked, get, post
from tests.front.wire import BODY, PATH, Client, assert_error, head

CONTINUE = "Expect: 100-continue"


@pytest.fixture(scope="module", params=["ours", "uvicorn"])
def twin(request):
    with getattr(twins, {"ours": "ours", "uvicorn": "uvicorns"}[request.param])() as running:
        yield running


@pytest.fixture(scope="module")
def ours():
    with twins.ours() as running:
        yield running


# Requests by the method and the answer that they get
REQUESTS = [
    ("POST", "200", post()),
    ("POST", "200", post(IN_CHUNKS, length=None, body=TWO)),
    ("POST", "200", post("X-Gnomon-Request-Id: order-1")),
    ("POST", "200", post(IN_CHUNKS, length=None,
                         body=b"18;a=b\r\n" + BODY + b"\r\n0;c\r\nX-Sum: 1\r\n\r\n")),
    ("GET", "healthy", get()),
    ("GET", "healthy", get("Content-Length: 5", body=b"hello")),
    ("HEAD", "200", get(line=f"HEAD {HEALTH} HTTP/1.1")),
    ("POST", "200", b"\r\n" + post(line=f"POST http://$HOST{PATH} HTTP/1.1")),
    ("POST", "404", post(line="POST /v1/nowhere HTTP/1.1")),
    ("POST", "405", get(line=f"GET {PATH} HTTP/1.1")),
    ("POST", "400", post(length=5, body=b"never")),
    ("POST", "400", post(length=0, body=b"")),
]  # fmt: skip
STREAM = b"".join(data for _, _, data in REQUESTS)


def read_all(talk, requests) -> list[str]:
    return [talk.told(method=method) for method, _, _ in requests]


def answers(requests) -> list[str]:
    return [answer for _, answer, _ in requests]


def test_a_stream_may_be_cut_in_two_anywhere(twin):
    """RFC 9112, section 2.2: a message is a sequence of bytes, however they arrive."""
    with twin.talk() as talk:
        stream = talk.filled(STREAM)
        for at in range(0, len(stream), 1 if twin.name == "ours" else 7):
            talk.send_parts(stream[:at], stream[at:])
            assert read_all(talk, REQUESTS) == answers(REQUESTS), at


def test_a_request_may_be_cut_anywhere_and_be_followed_by_a_whole_one(ours):
    requests = [REQUESTS[0], REQUESTS[0], REQUESTS[0]]
    with ours.talk() as talk:
        stream = talk.filled(post() * 3)
        for at in range(len(stream)):
            talk.send_parts(stream[:at], stream[at:])
            assert read_all(talk, requests) == answers(requests), at


def test_a_stream_may_come_byte_by_byte(twin):
    with twin.talk() as talk:
        for _ in range(2):
            stream = talk.filled(STREAM)
            talk.send_parts(*(stream[at : at + 1] for at in range(len(stream))))
            assert read_all(talk, REQUESTS) == answers(REQUESTS)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8), st.data())
def test_a_stream_may_be_cut_in_any_way(twin, requests, data):
    with twin.talk() as talk:
        stream = talk.filled(b"".join(sent for _, _, sent in requests))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6), label="cuts"))
        edges = [0, *cuts, len(stream)]
        parts = [stream[a:b] for a, b in pairwise(edges)]
        talk.send_parts(*parts)
        assert read_all(talk, requests) == answers(requests)


# Pipelining: RFC 9112, section 9.3.2


def test_pipelined_answers_come_in_the_order_of_their_requests(twin):
    count = 200
    rows = [json.dumps({"tensor": [[float(number), 0.5]]}).encode() for number in range(count)]
    with twin.talk() as talk:
        for _ in range(2):
            talk.send(b"".join(post(length=len(row), body=row) for row in rows))
            found = [talk.told() for _ in range(count)]
            assert found == [f"200 of {[2.0 * number, 1.0]}" for number in range(count)]


def test_an_expectation_among_pipelined_requests_is_met_in_its_turn(ours):
    with ours.talk() as talk:
        for _ in range(3):
            talk.send(post() + post(CONTINUE, body=b""))
            assert [talk.told(), talk.told()] == ["200", "100"]
            talk.send(BODY + post())
            assert [talk.told(), talk.told()] == ["200", "200"]


# Half-closed connections: RFC 9112, section 9.6


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_client_that_will_send_no_more_gets_its_answers(ours, count):
    """Not from uvicorn: it closes at once, and what it has not answered yet it never does."""
    with ours.talk() as talk:
        talk.send(post() * count)
        assert talk.rest().split() == ["200"] * count + ["end"]


@pytest.mark.parametrize(
    "cut", [b"", b"POST", post()[:60], post()[:-5], post(IN_CHUNKS, length=None, body=TWO[:-3])]
)
def test_a_request_that_will_never_be_whole_is_not_answered(twin, cut):
    with twin.talk() as talk:
        talk.send(post())
        assert talk.told() == "200"
        talk.send(cut)
        assert talk.rest() == "end"


# What looks like something seen before


def test_a_body_that_looks_like_a_request_is_a_body(twin):
    with twin.talk() as talk:
        inner = talk.filled(post())
        for _ in range(3):
            talk.send(inner)
            assert talk.told() == "200"
            talk.send_parts(post(length=len(inner), body=b""), inner)  # Given no JSON
            assert talk.told() == "400"
            talk.send_parts(post(length=2 * len(inner), body=b""), inner, inner)
            assert talk.told() == "400"
            talk.send_parts(
                post(IN_CHUNKS, length=None, body=b"%x\r\n" % len(inner)), inner, b"\r\n0\r\n\r\n"
            )
            assert talk.told() == "400"
        assert talk.outcome(post(), 1) == "200 open"


def test_a_trailer_that_looks_like_a_request_is_a_trailer(ours):
    for _ in range(2):
        with ours.talk() as talk:
            talk.send_parts(
                post(IN_CHUNKS, length=None, body=chunked(BODY, end=b"0\r\n")), talk.filled(post())
            )
            assert talk.rest() == "400 end"


@pytest.mark.parametrize("lines", [b"\r\n\r\n", b"\r\n" * 3])
def test_empty_lines_before_a_head_are_no_head(twin, lines):
    with twin.talk() as talk:
        for _ in range(3):
            for request, answer in ((post(), "200"), (get(), "healthy")):
                talk.send_parts(lines + request)
                assert talk.told() == answer
                talk.send_parts(lines)
                assert talk.outcome(request, 1) == "200 open"
        talk.send_parts(lines + BODY)
        assert talk.rest() == "400 end"


SUBSTITUTES = [b" ", b"\0", b"\r", b"\n", b":", b"x", b"9"]


@pytest.mark.parametrize("substitute", SUBSTITUTES, ids=repr)
def test_a_head_that_differs_in_one_byte_is_another_head(ours, substitute):
    """The answers are those that the same bytes get when they come in parts."""
    with ours.talk() as talk:
        known = talk.filled(post(CONTINUE.replace("Expect", "X-Other")))
        assert talk.outcome(known, 1) == "200 open"
    for at in range(known.index(b"\r\n\r\n") + 4):
        changed = known[:at] + substitute + known[at + 1 :]
        assert sent_whole(ours, changed) == sent_in_parts(ours, changed, at), changed


def sent_whole(server: Server, data: bytes) -> str:
    with server.talk() as talk:
        talk.send(data)
        return talk.rest()


def sent_in_parts(server: Server, data: bytes, at: int) -> str:
    with server.talk() as talk:
        talk.send_parts(data[:at], data[at : at + 1], data[at + 1 :])
        return talk.rest()


def test_the_same_head_may_have_another_body(ours):
    with ours.talk() as talk:
        for number in range(100):
            row = b'{"tensor": [[%3d, 2.5]]}' % number
            for part in ([post(length=24, body=row)], [post(length=24, body=b""), row]):
                talk.send_parts(*part)
                assert talk.told() == f"200 of {[2.0 * number, 5.0]}"


def test_an_expectation_is_met_each_time(twin):
    with twin.talk() as talk:
        for _ in range(3):
            talk.send(post(CONTINUE, body=b""))
            assert talk.told() == "100"
            talk.send(BODY)
            assert talk.told() == "200"


def test_the_answers_to_one_head_differ_in_id_and_time_only(ours):
    with ours.talk() as talk:
        replies = [talk.ask(post()) for _ in range(4)]
    ids = {reply.headers.pop("x-gnomon-request-id") for reply in replies}
    assert len(ids) == 4
    for reply in replies:
        assert reply.headers.pop("date")
        assert reply.json[0].pop("request_id") in ids
        assert reply.headers == replies[0].headers


def test_a_head_with_an_id_keeps_it_and_one_without_gets_its_own(ours):
    with ours.talk() as talk:
        for _ in range(3):
            for given in ("order-1", "order-2"):
                reply = talk.ask(post(f"X-Gnomon-Request-Id: {given}"))
                assert reply.headers["x-gnomon-request-id"] == given
            made = talk.ask(post()).headers["x-gnomon-request-id"]
            assert made not in ("order-1", "order-2")


def test_a_head_that_was_refused_is_refused_again(ours):
    with ours.talk() as talk:
        for _ in range(3):
            assert_error(talk.ask(post("X-Gnomon-Timeout-Ms: 0")), 400, "malformed_request")
            assert_error(talk.ask(post("Content-Encoding: br")), 415, "malformed_request")
            assert_error(talk.ask(post("Origin: http://evil.example")), 403, "forbidden")
            assert talk.ask(post()).doubled == [2.0, 4.0]


def test_a_head_is_judged_by_the_routing_of_its_time(doubling):
    request = head(doubling.port) + BODY
    client, other = Client(doubling.raw()), Client(doubling.raw())
    for _ in range(2):
        # Given a head that is well known
        for _ in range(3):
            assert client.ask(request).doubled == [2.0, 4.0]
        other.send(request[:-1])
        # When nothing is deployed any more, then it leads nowhere, also one that has arrived
        doubling.route()
        assert_error(client.ask(request), 404, "not_deployed")
        assert_error(other.ask(request[-1:]), 404, "not_deployed")
        # When it is deployed again, then it is answered again
        doubling.route(route(champion()))
        doubling.wait_connected(champion().host)
        assert client.ask(request).doubled == [2.0, 4.0]


def test_a_head_is_judged_by_the_tokens_of_its_time(doubling, monkeypatch):
    request = head(doubling.port, token=TOKEN) + BODY
    client = Client(doubling.raw())
    for _ in range(3):
        assert client.ask(request).doubled == [2.0, 4.0]
    # When its token is taken back
    monkeypatch.setattr("tests.front.conftest.TOKEN", "gno_another")
    doubling.route(route(champion()))
    # Then it is refused, until it is given again
    for _ in range(2):
        assert_error(client.ask(request), 401, "unauthenticated")
    monkeypatch.setattr("tests.front.conftest.TOKEN", TOKEN)
    doubling.route(route(champion()))
    assert client.ask(request).doubled == [2.0, 4.0]


@pytest.mark.parametrize("size", [limits.KIB, limits.HEAD_BYTES_MAX // 2])
def test_what_is_remembered_of_heads_is_bounded(ours, size):
    process = psutil.Process(os.getpid())
    count = 16 * limits.MIB // size
    padding = "p" * size
    with ours.talk() as talk:
        for number in range(count):
            assert talk.ask(get(f"X-Padding: {padding}{number}")).status == 200
            if number == count // 8:
                before = process.memory_info().rss
    assert process.memory_info().rss - before < 7 * limits.MIB  # of 14 that came
