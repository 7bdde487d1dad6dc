"""Slow clients, idle clients, and many of both: they harm nobody else, and end in time."""

from __future__ import annotations

import json
import os
import resource
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

from gnomon.core import limits
from gnomon.front.http import HttpTimers
from gnomon.testing import ListLog
from tests.front.conftest import QUICK, FrontServer
from tests.front.models import champion, route
from tests.front.twins import chunked
from tests.front.wire import BODY, Client, head
from tests.waiting import until

IDLE_MAX = 2_000
CROWD = 100
PATIENT = HttpTimers(head_s=1.0, body_stall_s=1.0, keep_alive_s=4.0, linger_s=0.3, sweep_s=0.02)
DRIP_S = 0.02  # between two bytes of a slow client


def doubling(server: FrontServer) -> FrontServer:
    server.host(champion())
    server.route(route(champion()))
    server.wait_connected(champion().host)
    return server


@pytest.fixture
def patient(short_directory) -> Iterator[FrontServer]:
    """A front that waits for seconds."""
    server = FrontServer(short_directory, ListLog(), timers=PATIENT)
    server.start()
    yield doubling(server)
    server.stop()


def many(server: FrontServer, count: int, stack: ExitStack) -> list[socket.socket]:
    clients = []
    for _ in range(count):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        client.settimeout(10)
        clients.append(client)
    return clients


def drip(
    server: FrontServer, clients: list[socket.socket], data: bytes, *, at_once: int = 1
) -> list[float]:
    """Send the same bytes to all clients, some at a time, until each has an answer or has ended.

    Returns:
        When each was answered, seconds since the start; a client that is served normally is
        asked all the while.
    """
    quick_one = Client(server.raw())
    started, answered = time.monotonic(), dict.fromkeys(clients, 0.0)
    with selectors.DefaultSelector() as waiting:
        for client in clients:
            waiting.register(client, selectors.EVENT_READ)
        for start in range(0, len(data), at_once):
            for client in [key.fileobj for key, _ in waiting.select(DRIP_S)]:
                answered[client] = time.monotonic() - started
                waiting.unregister(client)
            if not waiting.get_map():
                break
            for key in list(waiting.get_map().values()):
                with suppress(ConnectionError):
                    key.fileobj.sendall(data[start : start + at_once])
            assert quick_one.ask(head(server.port) + BODY).doubled == [2.0, 4.0]
    return list(answered.values())


def test_thousands_of_idle_connections_are_kept_and_then_closed(patient):
    # Given as many connections as this process may have, each of which has been used
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_MAX, (files - len(os.listdir("/proc/self/fd")) - 200) // 2)
    assert count >= CROWD, f"only {files} open files are allowed"
    process = psutil.Process()
    before = process.memory_info().rss
    request = head(patient.port, method="GET", path="/v1/health", length=None)
    with ExitStack() as stack:
        clients = many(patient, count, stack)
        for client in clients:
            client.sendall(request)
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        # When they idle, then the champion answers, and little memory is taken
        busy = Client(patient.raw())
        for _ in range(200):
            assert busy.ask(head(patient.port) + BODY).doubled == [2.0, 4.0]
        assert process.memory_info().rss - before < count * 20 * limits.KIB
        assert ready(clients) == []
        # And each is closed without a word when its time is over
        until(lambda: len(ready(clients)) == count)
        assert {client.recv(1) for client in clients} == {b""}
    assert Client(patient.raw()).ask(head(patient.port) + BODY).status == 200


def ready(clients: list[socket.socket]) -> list[socket.socket]:
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(0)]


def test_heads_that_come_too_slowly_are_408(quick):
    with ExitStack() as stack:
        clients = many(quick, CROWD, stack)
        times = drip(quick, clients, head(quick.port, "X-Long: " + "a" * 2_000))
        assert min(times) > QUICK.head_s / 2
        assert max(times) < 20 * QUICK.head_s
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_heads_that_come_too_slowly_after_a_quick_one_are_408(quick):
    with ExitStack() as stack:
        clients = many(quick, 10, stack)
        for client in clients:
            client.sendall(head(quick.port) + BODY)
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        drip(quick, clients, head(quick.port, "X-Long: " + "a" * 2_000))
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing", ["Content-Length: 2000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("expecting", [(), ("Expect: 100-continue",)])
def test_bodies_that_drip_are_408(quick, framing, expecting):
    body = b"1;extension=\r\n \r\n" * 100 if "chunked" in framing else b" " * 1_000
    with ExitStack() as stack:
        clients = many(quick, CROWD // 2, stack)
        for client in clients:
            client.sendall(head(quick.port, framing, *expecting, length=None))
            if expecting:
                assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        times = drip(quick, clients, body)
        assert min(times) > QUICK.body_stall_s / 2
        assert max(times) < 20 * QUICK.body_stall_s
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_trailers_that_drip_are_408(quick):
    with ExitStack() as stack:
        clients = many(quick, CROWD // 4, stack)
        for client in clients:
            client.sendall(head(quick.port, "Transfer-Encoding: chunked", length=None))
            client.sendall(chunked(BODY, end=b"0\r\n"))
        drip(quick, clients, b"A: b\r\n" * 100)
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_large_bodies_that_come_slowly_but_come_are_answered(patient):
    # Given a body that takes longer than it may stall, in pieces that are large enough
    piece = limits.BODY_STALL_BYTES // 4
    body = BODY + b" " * (80 * piece - len(BODY))
    with ExitStack() as stack:
        clients = many(patient, 5, stack)
        for client in clients:
            client.sendall(head(patient.port, length=len(body)))
        times = drip(patient, clients, body + b"\r\n" * piece, at_once=piece)
        assert min(times) > PATIENT.body_stall_s
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [BODY[:5], b""])
def test_bodies_that_stall_are_408_and_others_are_answered(quick, sent):
    with ExitStack() as stack:
        clients = many(quick, CROWD, stack)
        for client in clients:
            client.sendall(head(quick.port) + sent)
        started = time.monotonic()
        while len(ready(clients)) < CROWD:
            assert quick.infer({"tensor": [[1, 2]]}).status == 200
            assert time.monotonic() - started < 10
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_clients_that_never_read_are_cut_off_and_take_little_memory(quick):
    # Given clients that ask for megabytes and read nothing
    body = json.dumps({"tensor": [[0.123456789, 0.5]] * 20_000}).encode()
    request = head(quick.port, length=len(body)) + body
    process = psutil.Process()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(5)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", quick.port))
            client.setblocking(False)
        before = process.memory_info().rss
        cut, most = set(), 0
        started = time.monotonic()
        while len(cut) < len(clients):
            for client in clients:
                with suppress(BlockingIOError):
                    try:
                        client.send(request)
                    except ConnectionError:
                        cut.add(client)
            # When others ask meanwhile, then they are answered
            assert quick.infer({"tensor": [[1, 2]]}).status == 200
            most = max(most, process.memory_info().rss - before)
            assert time.monotonic() - started < 20
    # Then the slow ones are cut off, and what waited for them was bounded
    assert most < 5 * 16 * limits.MIB


def test_a_client_that_reads_slowly_gets_all_of_its_answer(quick):
    # Given an answer that is larger than all buffers on its way
    body = json.dumps({"tensor": [[0.123456789, 0.5]] * 100_000}).encode()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        slow.connect(("127.0.0.1", quick.port))
        slow.settimeout(10)
        slow.sendall(head(quick.port, "Connection: close", length=len(body)) + body)
        # When it is read in parts, each well within the time that a client may stall
        received = bytearray()
        started = time.monotonic()
        with selectors.DefaultSelector() as never, suppress(ConnectionResetError):
            while part := slow.recv(limits.KIB * 48):
                received += part
                never.select(DRIP_S)
        # Then it is whole
        assert time.monotonic() - started > 2 * QUICK.body_stall_s
        given, answer = bytes(received).split(b"\r\n\r\n", 1)
        assert b"Content-Length: %d\r\n" % len(answer) in given
