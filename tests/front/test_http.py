"""The HTTP of the front, byte by byte, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import uuid

import pytest

from gnomon.core import limits
from gnomon.core.frames import Frame
from gnomon.front.calls import RequestIds
from tests.front.models import champion, route
from tests.front.stub_host import doubles
from tests.front.wire import BODY, PATH, Client, assert_error, head
from tests.waiting import until

# Requests that are taken


def test_a_connection_is_kept_alive(doubling, client):
    for _ in range(3):
        reply = client.ask(head(doubling.port) + BODY)
        assert reply.status == 200
        assert reply.doubled == [2.0, 4.0]
        assert "connection" not in reply.headers


def test_a_request_may_come_byte_by_byte(doubling, client):
    for byte in head(doubling.port) + BODY:
        client.send(bytes([byte]))
    assert client.read().doubled == [2.0, 4.0]


def test_pipelined_requests_are_answered_in_their_order(doubling, client):
    requests = b""
    for number in range(40):
        body = json.dumps({"tensor": [[number, 0]]}).encode()
        requests += head(doubling.port, length=len(body)) + body
    client.send(requests)
    for number in range(40):
        assert client.read().doubled == [2.0 * number, 0.0]


def test_an_answer_that_is_ready_waits_for_the_ones_before_it(server):
    # Given a champion that keeps its first request until it is told
    model, gate = champion(), threading.Event()

    def answer(question: Frame) -> Frame:
        if question.request == 1:
            gate.wait(10)
        return doubles(question)

    server.host(model, answer)
    server.route(route(model))
    server.wait_connected(model.host)
    client = Client(server.raw())
    # When an inference and a health check are pipelined
    client.send(head(server.port) + BODY)
    client.send(head(server.port, method="GET", path="/v1/health", length=None))
    until(lambda: server.hosts[model.host].questions)
    gate.set()
    # Then the inference is answered first
    assert client.read().doubled == [2.0, 4.0]
    assert client.read().json["status"] == "ok"


def test_many_pipelined_requests_wait_without_being_read(server):
    # Given a champion that answers nothing yet
    model, gate = champion(), threading.Event()

    def answer(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    host = server.host(model, answer)
    server.route(route(model))
    server.wait_connected(model.host)
    client = Client(server.raw())
    # When far more requests come than may wait
    count = 500
    sender = threading.Thread(
        target=client.send, args=((head(server.port) + BODY) * count,), daemon=True
    )
    sender.start()
    until(lambda: host.questions)
    pending = server.client.stats()["models"]["7"]["ccfraud"]["pending"]
    # Then only some of them are under way, and in the end all are answered
    assert pending <= limits.PIPELINED_REQUESTS_MAX + limits.HEAD_BYTES_MAX // len(BODY)
    gate.set()
    for _ in range(count):
        assert client.read().doubled == [2.0, 4.0]


def test_a_chunked_body_is_taken(doubling, client):
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    request = head(doubling.port, "Transfer-Encoding: chunked", length=None)
    assert client.ask(request + chunks).doubled == [2.0, 4.0]
    assert client.ask(head(doubling.port) + BODY).status == 200


def test_a_client_that_expects_100_continue_gets_it(doubling, client):
    client.send(head(doubling.port, "Expect: 100-continue"))
    assert client.read().status == 100
    assert client.ask(BODY).doubled == [2.0, 4.0]


def test_100_continue_waits_for_the_answers_before_it(doubling, client):
    client.send(head(doubling.port) + BODY + head(doubling.port, "Expect: 100-continue"))
    assert client.read().status == 200
    assert client.read().status == 100
    assert client.ask(BODY).status == 200


def test_a_refused_request_that_expects_100_continue_is_answered_at_once(doubling, client):
    reply = client.ask(head(doubling.port, "Expect: 100-continue", token=None))
    assert_error(reply, 401, "unauthenticated")
    assert client.is_closed()


def test_another_expectation_is_refused(doubling, client):
    reply = client.ask(head(doubling.port, "Expect: tea") + BODY)
    assert_error(reply, 417, "malformed_request")


def test_http_1_0_is_closed_unless_it_asks(doubling, client):
    reply = client.ask(head(doubling.port, "Connection: keep-alive", version="1.0") + BODY)
    assert reply.headers["connection"] == "keep-alive"
    reply = client.ask(head(doubling.port, version="1.0") + BODY)
    assert reply.headers["connection"] == "close"
    assert client.is_closed()


def test_connection_close_is_obeyed(doubling, client):
    reply = client.ask(head(doubling.port, "Connection: close") + BODY)
    assert reply.headers["connection"] == "close"
    assert client.is_closed()


def test_a_half_closed_client_gets_its_answers(doubling, client):
    # Given requests that are still under way when their client says it will send no more
    gate = threading.Event()

    def answer(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    doubling.hosts[champion().host].answer = answer
    client.send((head(doubling.port) + BODY) * 2)
    client.socket.shutdown(socket.SHUT_WR)
    connections = doubling.front._http._port.connections
    until(lambda: any(connection._client_done for connection in set(connections)))
    # When they are answered, then the last answer says that the connection closes
    gate.set()
    assert client.read().doubled == [2.0, 4.0]
    assert client.read().headers["connection"] == "close"
    assert client.is_closed()


def test_an_offer_to_upgrade_is_ignored(doubling, client):
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
    get = head(doubling.port, *upgrade, method="GET", path="/v1/health", length=None)
    assert client.ask(get).status == 200
    assert client.ask(get + get).status == 200
    assert client.read().status == 200
    assert client.ask(head(doubling.port, *upgrade) + BODY).doubled == [2.0, 4.0]
    chunked = head(doubling.port, *upgrade, "Transfer-Encoding: chunked", length=None)
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert Client(doubling.raw()).ask(chunked + chunks).doubled == [2.0, 4.0]


def test_health_answers_get_and_head_without_a_token(doubling, client):
    get = head(doubling.port, method="GET", path="/v1/health", length=None, token=None)
    assert client.ask(get).json == {"status": "ok", "version": "0.0.test"}
    client.send(head(doubling.port, method="HEAD", path="/v1/health", length=None, token=None))
    reply = client.read(method="HEAD")
    assert reply.status == 200
    assert int(reply.headers["content-length"]) > 0
    assert client.ask(get).status == 200


def test_a_target_with_scheme_and_host_or_a_query_is_understood(doubling, client):
    target = f"http://127.0.0.1:{doubling.port}{PATH}?dataset=all"
    assert client.ask(head(doubling.port, path=target) + BODY).status == 200


# Request ids


def test_the_callers_request_id_comes_back_in_answers_and_errors(doubling, client):
    given = "X-Gnomon-Request-Id: order-1.2_3"
    for request in (head(doubling.port, given), head(doubling.port, given, token=None)):
        assert client.ask(request + BODY).headers["x-gnomon-request-id"] == "order-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "ä", "a/b"])
def test_a_request_id_of_another_form_is_refused(doubling, client, given):
    request = head(doubling.port, f"X-Gnomon-Request-Id: {given}").decode().encode("latin-1")
    reply = client.ask(request + BODY)
    assert_error(reply, 400, "malformed_request")
    assert reply.json["request_id"] != given


def test_request_ids_that_are_made_are_unique_and_sort_by_time(doubling, client):
    ids = [
        client.ask(head(doubling.port) + BODY).headers["x-gnomon-request-id"] for _ in range(300)
    ]
    assert len(set(ids)) == 300
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)


def test_request_ids_are_uuids_that_sort_by_time_and_never_repeat():
    ids = RequestIds()
    made = [ids.next(time_ns) for time_ns in range(10**18, 10**18 + 5_000_000, 1_000)]
    assert len(set(made)) == len(made)
    assert made == sorted(made)
    assert {uuid.UUID(text).version for text in made} == {7}
    assert {uuid.UUID(text).variant for text in made} == {uuid.RFC_4122}
    assert RequestIds().next(10**18) != ids.next(10**18)
