"""Connections: kept, shared by threads but not by processes, and what is sent a second time."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from gnomon.core import limits
from gnomon.sdk import connections
from gnomon.sdk.connections import (
    BrokenOff,
    Cancel,
    Cancelled,
    Connections,
    NotConnected,
    Request,
    Unanswered,
)
from tests.sdk.scripted_server import OK, ScriptedServer, answers, hangs_up
from tests.waiting import until


def request(url: str, *, repeatable: bool = True, body: bytes | None = b"1", timeout_s: float = 10):
    return Request(
        method="POST",
        url=url,
        body=body,
        headers={},
        timeout_s=timeout_s,
        repeatable=repeatable,
    )


def sent(server: ScriptedServer) -> list[int]:
    """How many requests each connection brought."""
    return [len(requests) for requests in server.requests]


def test_a_connection_is_used_again():
    with ScriptedServer(answers(), answers(), answers()) as server:
        connections = Connections()
        for _ in range(3):
            assert connections.ask(request(server.url)).body == b"ok"
        assert sent(server) == [3]


def test_a_connection_that_the_server_will_close_is_not_kept():
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with ScriptedServer(hangs_up(closing), answers()) as server:
        connections = Connections()
        for _ in range(2):
            assert connections.ask(request(server.url, repeatable=False)).status == 200
        assert sent(server) == [1, 1]


def test_one_that_was_closed_while_it_was_idle_is_noticed_before_anything_is_sent():
    with ScriptedServer(hangs_up(OK), answers()) as server:
        connections = Connections()
        connections.ask(request(server.url, repeatable=False))
        [kept] = connections._idle.values()
        until(lambda: kept[0].sock.recv(1, socket.MSG_PEEK) == b"")

        assert connections.ask(request(server.url, repeatable=False)).body == b"ok"
        assert sent(server) == [1, 1]


def test_what_ended_before_a_byte_of_the_answer_is_sent_once_more_on_a_new_connection():
    with ScriptedServer(answers(), hangs_up(), answers()) as server:
        connections = Connections()
        connections.ask(request(server.url))

        assert connections.ask(request(server.url)).body == b"ok"
        assert sent(server) == [2, 1]


def test_it_is_sent_once_more_and_no_further():
    with ScriptedServer(hangs_up(), hangs_up(), answers()) as server:
        with pytest.raises(Unanswered):
            Connections().ask(request(server.url))
        assert sent(server) == [1, 1]


def test_what_may_have_been_done_is_not_sent_again():
    with ScriptedServer(hangs_up(), answers()) as server:
        with pytest.raises(Unanswered):
            Connections().ask(request(server.url, repeatable=False))
        assert sent(server) == [1]


@pytest.mark.parametrize(
    "begun",
    [
        b"H",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
    ids=["a byte", "half a head", "half a body", "no last chunk", "another protocol"],
)
def test_nothing_is_sent_again_after_a_byte_of_an_answer(begun):
    with ScriptedServer(hangs_up(begun), answers()) as server:
        with pytest.raises(BrokenOff):
            Connections().ask(request(server.url))
        assert sent(server) == [1]


def test_a_silent_server_is_waited_for_so_long_and_not_asked_again():
    silent = threading.Event()
    with ScriptedServer(lambda _: silent.wait(10)) as server:
        with pytest.raises(TimeoutError):
            Connections().ask(request(server.url, timeout_s=0.05))
        assert sent(server) == [1]
        silent.set()


def test_each_second_of_waiting_is_told(monkeypatch):
    monkeypatch.setattr(connections, "_SECOND", 0.01)
    told = threading.Semaphore(0)
    thrice = [told.acquire] * 3

    def answer_after_three(connection: socket.socket) -> bool:
        assert all(wait(timeout=10) for wait in thrice)
        return answers()(connection)

    with ScriptedServer(answer_after_three, lambda _: True) as server:
        asked = replace(request(server.url), on_second=told.release)
        assert Connections().ask(asked).body == b"ok"
        with pytest.raises(TimeoutError):
            Connections().ask(replace(asked, timeout_s=0.05))


def test_nobody_there_is_no_connection():
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NotConnected, match="Connection refused"):
        Connections().ask(request(url))
    with pytest.raises(NotConnected):
        Connections().ask(request("http://nobody.invalid"))


def test_a_refusal_before_all_of_the_body_was_sent_is_the_answer():
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(refusal)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answer = Connections().ask(request(url, body=bytes(8 * limits.MIB)))
        thread.join()
    assert answer.status == 413


def test_another_thread_ends_a_request_that_waits():
    silent = threading.Event()
    with ScriptedServer(lambda _: silent.wait(10)) as server:
        cancel = Cancel()
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(Connections().ask, request(server.url), cancel)
            until(lambda: sent(server) == [1])
            cancel.now()
            with pytest.raises(Cancelled):
                waiting.result(timeout=10)
        assert sent(server) == [1]
        silent.set()

    with pytest.raises(Cancelled):
        Connections().ask(request(server.url), cancel)


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what was sent, and over which connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps([body.decode(), self.client_address[1]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def asked(connections: Connections, url: str, text: str) -> int:
    """Ask, check that the answer is one's own, and return the connection's port."""
    said, port = json.loads(connections.ask(request(url, body=text.encode())).body)
    assert said == text
    return port


def test_threads_share_connections_and_each_gets_its_own_answers(echo):
    connections = Connections()
    with ThreadPoolExecutor(8) as threads:
        ports = list(threads.map(lambda i: asked(connections, echo, f"text {i}"), range(400)))
    assert len(set(ports)) <= 8


def test_only_so_many_are_kept(echo, monkeypatch):
    monkeypatch.setattr(limits, "CLIENT_CONNECTIONS_MAX", 2)
    connections = Connections()
    together = threading.Barrier(6, timeout=10)

    def ask(index: int) -> None:
        together.wait()
        asked(connections, echo, f"text {index}")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(6)))
    [kept] = connections._idle.values()
    assert len(kept) <= 2


def test_a_forked_child_uses_no_connection_of_its_parent(echo):
    connections = Connections()
    port = asked(connections, echo, "before")
    readable, writable = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            ports = [asked(connections, echo, f"child {i}") for i in range(50)]
            os.write(writable, json.dumps(ports).encode())
        finally:
            os._exit(0)
    ports = [asked(connections, echo, f"parent {i}") for i in range(50)]
    os.waitpid(child, 0)

    assert set(ports) == {port}
    of_child = set(json.loads(os.read(readable, 65536)))
    assert len(of_child) == 1
    assert port not in of_child
    os.close(readable)
    os.close(writable)


def test_https_is_spoken_and_the_certificate_is_checked(tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made with openssl, which is not on PATH")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key),
         "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"https://localhost:{server.server_address[1]}"
        with pytest.raises(NotConnected, match="certificate"):
            asked(Connections(), url, "stranger")

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        connections = Connections()
        assert asked(connections, url, "one") == asked(connections, url, "two")
        server.shutdown()
