"""What the HTTP of the front refuses, and how long it waits."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from gnomon.core import limits
from gnomon.core.frames import Frame
from tests.front.models import champion, route
from tests.front.stub_host import doubles
from tests.front.wire import BODY, Client, assert_error, head
from tests.waiting import until

# Limits


def test_a_url_over_its_limit_is_414(doubling, client):
    reply = client.ask(head(doubling.port, path="/" + "a" * limits.URL_BYTES_MAX))
    assert_error(reply, 414, "malformed_request")
    assert client.is_closed()


def test_a_head_over_its_limit_is_431(doubling, client):
    long = "X-Long: " + "a" * limits.HEAD_BYTES_MAX
    assert_error(client.ask(head(doubling.port, long) + BODY), 431, "malformed_request")
    assert client.is_closed()


def test_a_header_that_never_ends_is_431(doubling, client):
    client.send(f"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1:{doubling.port}\r\nX: ".encode())
    client.send(b"a" * 4 * limits.HEAD_BYTES_MAX)
    assert_error(client.read(), 431, "malformed_request")


def test_too_many_headers_are_431(doubling, client):
    many = [f"X-{number}: a" for number in range(limits.HEADERS_MAX)]
    assert_error(client.ask(head(doubling.port, *many) + BODY), 431, "malformed_request")


def test_a_body_whose_length_is_over_the_limit_is_413_before_it_is_sent(doubling, client):
    reply = client.ask(head(doubling.port, length=limits.INFER_BODY_BYTES_MAX + 1))
    assert_error(reply, 413, "body_too_large")


def test_a_64_mib_body_gets_its_413_although_the_client_sends_all_of_it_first(doubling, client):
    size = 64 * limits.MIB
    client.send(head(doubling.port, length=size))
    piece = b" " * limits.MIB
    for _ in range(64):
        client.send(piece)
    assert_error(client.read(), 413, "body_too_large")


def test_a_chunked_body_is_413_as_soon_as_it_is_over_the_limit(doubling, client):
    client.send(head(doubling.port, "Transfer-Encoding: chunked", length=None))
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    for _ in range(17):
        client.send(piece)
    assert_error(client.read(), 413, "body_too_large")


def test_a_body_in_too_many_chunks_is_413(doubling, client):
    client.send(head(doubling.port, "Transfer-Encoding: chunked", length=None))
    client.send(b"1\r\n \r\n" * (limits.BODY_CHUNKS_MAX + 1))
    assert_error(client.read(), 413, "body_too_large")


def test_bodies_are_bounded_together(doubling, monkeypatch):
    monkeypatch.setattr(limits, "HELD_BYTES_MAX", 100_000)
    # Given clients that hold back the last byte of their bodies
    clients = [Client(doubling.raw()) for _ in range(3)]
    for client in clients[:2]:
        client.send(head(doubling.port, length=40_001) + b" " * 40_000)
    # When one more body would be too much for all
    assert_error(
        clients[2].ask(head(doubling.port, length=40_001) + b" " * 40_000), 429, "overloaded"
    )
    # Then it is refused, and what it took is given back
    clients[2] = Client(doubling.raw())
    assert_error(clients[0].ask(b" "), 400, "malformed_request")
    assert clients[2].ask(head(doubling.port) + BODY).status == 200
    clients[1].socket.shutdown(socket.SHUT_RDWR)
    body = BODY + b" " * (90_000 - len(BODY))
    reply = until(
        lambda: _ok(Client(doubling.raw()).ask(head(doubling.port, length=90_000) + body))
    )
    assert reply.status == 200


def _ok(reply):
    return reply if reply.status == 200 else None


def test_too_many_connections_are_refused(doubling, monkeypatch):
    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 1)
    first = Client(doubling.raw())
    assert first.ask(head(doubling.port) + BODY).status == 200
    second = Client(doubling.raw())
    assert_error(second.read(), 503, "malformed_request")
    assert second.is_closed()
    assert first.ask(head(doubling.port) + BODY).status == 200


# Requests that are refused


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"NONSENSE / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_malformed_requests_are_400_and_the_connection_closed(doubling, client, request_bytes):
    assert_error(client.ask(request_bytes), 400, "malformed_request")
    assert client.is_closed()
    assert Client(doubling.raw()).ask(head(doubling.port) + BODY).status == 200


def test_what_follows_a_malformed_request_is_not_read(doubling, client):
    client.send(b"NONSENSE\r\n\r\n" + head(doubling.port) + BODY)
    assert_error(client.read(), 400, "malformed_request")
    assert client.is_closed()
    assert doubling.client.stats()["requests"] == 0


def test_good_requests_before_a_malformed_one_are_answered_first(doubling, client):
    client.send(head(doubling.port) + BODY + b"NONSENSE\r\n\r\n")
    assert client.read().doubled == [2.0, 4.0]
    assert_error(client.read(), 400, "malformed_request")


def test_a_compressed_body_is_415(doubling, client):
    reply = client.ask(head(doubling.port, "Content-Encoding: gzip") + BODY)
    assert_error(reply, 415, "malformed_request")
    assert client.ask(head(doubling.port) + BODY).status == 200


def test_an_unknown_route_is_404_and_keeps_the_connection(doubling, client):
    for path in ("/", "/v1", "/v1/api", "/v1/healthy", "/%2e%2e/etc/passwd", "*"):
        assert_error(client.ask(head(doubling.port, path=path) + BODY), 404, "not_found")


def test_a_wrong_method_is_405_with_allow(doubling, client):
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
        reply = client.ask(head(doubling.port, method=method) + BODY)
        assert_error(reply, 405, "malformed_request")
        assert reply.headers["allow"] == "POST"
    reply = client.ask(head(doubling.port, path="/v1/health") + BODY)
    assert reply.headers["allow"] == "GET, HEAD"


def test_connect_is_refused(doubling, client):
    reply = client.ask(head(doubling.port, method="CONNECT", path="a.example:443", length=None))
    assert reply.status in (400, 404)


def test_an_unread_body_of_a_refused_request_passes_by(doubling, client):
    size = 3 * limits.MIB
    client.send(head(doubling.port, length=size, token=None) + b" " * size)
    assert_error(client.read(), 401, "unauthenticated")
    assert client.ask(head(doubling.port) + BODY).status == 200


# Time


def test_a_head_that_does_not_arrive_in_time_is_408(quick):
    client = Client(quick.raw())
    client.send(b"POST ")
    assert_error(client.read(), 408, "malformed_request")
    assert client.is_closed()


def test_a_body_that_stalls_is_408(quick):
    client = Client(quick.raw())
    client.send(head(quick.port) + BODY[:5])
    assert_error(client.read(), 408, "malformed_request")
    assert client.is_closed()


def test_an_idle_connection_is_closed_without_a_word(quick):
    client = Client(quick.raw())
    assert client.ask(head(quick.port) + BODY).status == 200
    assert client.is_closed()


def test_waiting_for_an_answer_is_not_idling(quick_server):
    model, gate = champion(), threading.Event()

    def answer(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    quick_server.host(model, answer)
    quick_server.route(route(model))
    quick_server.wait_connected(model.host)
    client = Client(quick_server.raw())
    client.send(head(quick_server.port) + BODY)
    client.send(head(quick_server.port)[:20])  # and the next head is on its way
    idle = Client(quick_server.raw())
    assert idle.is_closed()  # longer than every timer
    gate.set()
    assert client.read().doubled == [2.0, 4.0]


def test_a_client_that_does_not_take_its_answers_is_cut_off(quick_server):
    # Given a client with small buffers that reads nothing
    model = champion()
    quick_server.host(model)
    quick_server.route(route(model))
    quick_server.wait_connected(model.host)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", quick_server.port))
    raw.settimeout(20)
    # When it asks for megabytes
    body = json.dumps({"tensor": [[0.123456789, 0.5]] * 40_000}).encode()
    sent = 0
    with pytest.raises(ConnectionError), raw:  # noqa: PT012
        for _ in range(1_000):
            raw.sendall(head(quick_server.port, length=len(body)) + body)
            sent += 1
    # Then it is cut off after some of them, and the others are served
    assert sent < 1_000
    assert quick_server.infer({"tensor": [[1, 2]]}).status == 200


def test_a_client_that_goes_away_harms_nobody(server):
    model, gate = champion(), threading.Event()

    def answer(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    host = server.host(model, answer)
    server.route(route(model))
    server.wait_connected(model.host)
    client = Client(server.raw())
    client.send(head(server.port) + BODY)
    until(lambda: host.questions)
    client.socket.shutdown(socket.SHUT_RDWR)
    gate.set()
    until(lambda: server.client.stats()["models"]["7"]["ccfraud"]["ok"] == 1)
    assert server.infer({"tensor": [[1, 2]]}).status == 200
