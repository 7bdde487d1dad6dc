"""The front as a whole: changes of routing, orders, start and end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gnomon.core.access import token_hash
from gnomon.core.errors import ServerError, ServerUnreachable
from gnomon.core.frames import Frame, Kind
from gnomon.core.routing import RoutingTable
from gnomon.front.client import FrontClient
from tests.front.conftest import FrontServer
from tests.front.models import TOKEN, challenger, champion, route
from tests.front.stub_host import doubles
from tests.front.wire import BODY, Client, head
from tests.waiting import until

TENSOR = {"tensor": [[1, 2]]}


def triples(question: Frame) -> Frame:
    return Frame(Kind.RESULT, question.request, 1_000, (question.tensors[0] * 3,))


def first(answer) -> float:
    return answer.json[0]["outputs"][0]["Float"]["data"][0]


# Routing


def test_new_requests_use_the_table_when_the_order_is_answered(server: FrontServer):
    old, new = champion(), champion(ordinal=2)
    server.host(old)
    server.host(new, triples)
    server.route(route(old))
    assert first(server.infer(TENSOR)) == 2.0
    server.route(route(new, version="pipeline-version-2"))
    answer = server.infer(TENSOR)
    assert first(answer) == 3.0
    assert answer.json[0]["model_version"] == new.uuid
    _, entry = until(lambda: len(server.log.entries) == 2 and server.log.inferences())
    assert entry.route.pipeline_version == "pipeline-version-2"


def test_redeploying_under_load_fails_no_request(server: FrontServer):
    # Given callers that go on all the time
    versions = [champion(ordinal=number) for number in (1, 2)]
    for model, answer in zip(versions, (doubles, triples), strict=True):
        server.host(model, answer)
    server.route(route(versions[0]))
    stop, seen = threading.Event(), []

    def call_on() -> None:
        client = Client(server.raw())
        while not stop.is_set():
            reply = client.ask(head(server.port) + BODY)
            seen.append((reply.status, reply.json[0]["model_version"], reply.doubled[0]))

    callers = [threading.Thread(target=call_on) for _ in range(4)]
    for caller in callers:
        caller.start()
    # When the champion is changed again and again
    for number in range(20):
        before = len(seen)
        server.route(route(versions[number % 2], version=f"v{number}"))
        until(lambda before=before: len(seen) > before + 20)
    stop.set()
    for caller in callers:
        caller.join()
    # Then every answer is one of the version that it names
    assert {status for status, _, _ in seen} == {200}
    assert {(uuid, value) for _, uuid, value in seen} == {
        (versions[0].uuid, 2.0),
        (versions[1].uuid, 3.0),
    }


def test_what_is_under_way_on_a_retired_host_finishes_and_then_its_connection_closes(
    server: FrontServer,
):
    # Given a request that the old champion is working on
    old, new, gate = champion(), champion(ordinal=2), threading.Event()

    def slow(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    host = server.host(old, slow)
    server.host(new, triples)
    server.route(route(old))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.infer, TENSOR)
        until(lambda: host.questions)
        # When a new champion takes over
        server.route(route(new))
        assert first(server.infer(TENSOR)) == 3.0
        # Then the old one still answers its request, and only then is let go
        [connection] = host.connections
        gate.set()
        assert first(waiting.result()) == 2.0
    until(lambda: connection.fileno() == -1)
    assert old.host not in server.client.stats()["connected"]


def test_a_channel_that_is_still_used_keeps_its_connection(server: FrontServer):
    model = champion()
    host = server.host(model)
    server.route(route(model))
    server.route(route(model), route(model, pipeline="other", deployment_id=9))
    server.route(route(model, challenger("rf")))
    assert server.infer(TENSOR).status == 200
    assert len(host.connections) == 1


def test_an_older_table_changes_nothing(doubling: FrontServer):
    table = RoutingTable(version=0, token_hashes={})
    doubling.client.route(table)
    assert doubling.infer(TENSOR).status == 200


def test_a_table_without_the_route_undeploys_it(doubling: FrontServer):
    doubling.route()
    answer = doubling.infer(TENSOR)
    assert (answer.status, answer.json["error_code"]) == (404, "not_deployed")
    assert doubling.client.stats()["models"] == {}


def test_a_challenger_without_a_host_holds_up_neither_the_route_nor_the_answer(
    server: FrontServer,
):
    server.host(champion())
    ordered = time.monotonic()
    server.route(route(champion(), challenger("rf")))
    assert time.monotonic() - ordered < 1
    answer = server.infer(TENSOR, x_gnomon_shadow_wait_ms="5000")
    assert answer.status == 200
    assert answer.json[0]["challengers"]["rf"]["status"] == "error"
    assert "is not running" in answer.json[0]["challengers"]["rf"]["error"]


def test_counts_go_on_through_a_change_of_routing(doubling: FrontServer):
    doubling.infer(TENSOR)
    doubling.route(route(champion(), challenger("rf")))
    doubling.infer(TENSOR)
    stats = doubling.client.stats()
    assert stats["requests"] == 2
    assert stats["models"]["7"]["ccfraud"]["ok"] == 2
    assert stats["models"]["7"]["rf"]["error"] == 1


# Orders


def test_stats_say_who_is_connected_and_what_is_logged(doubling: FrontServer):
    doubling.infer(TENSOR)
    until(lambda: doubling.log.entries)
    stats = doubling.client.stats()
    assert stats["connected"] == {champion().host: True}
    assert stats["log"] == {"appended": 1, "dropped": 0, "uncommitted": 0}
    doubling.hosts[champion().host].kill()
    until(lambda: doubling.client.stats()["connected"] == {champion().host: False})


def test_commit_commits_the_log(doubling: FrontServer):
    doubling.client.commit()
    assert doubling.log.commits == 1


def test_a_log_that_is_not_committed_in_time_is_an_error(doubling: FrontServer, monkeypatch):
    monkeypatch.setattr(doubling.log, "commit", lambda timeout_s: False)
    with pytest.raises(ServerError, match="'commit'"):
        doubling.client.commit()


@pytest.mark.parametrize(
    "line",
    [b"{}", b"nonsense", b"[]", b'{"op": "fly"}', b'{"op": "route"}', b'{"op":"route","table":{}}'],
)
def test_a_bad_order_is_refused_and_the_next_one_carried_out(doubling: FrontServer, line):
    with socket.socket(socket.AF_UNIX) as orders:
        orders.connect(str(doubling.directory / "front-0.sock"))
        stream = orders.makefile("rb")
        orders.sendall(line + b"\n")
        assert json.loads(stream.readline())["ok"] is False
        orders.sendall(b'{"op": "stats"}\n')
        assert json.loads(stream.readline())["ok"] is True
    assert doubling.infer(TENSOR).status == 200


def test_the_order_socket_is_its_owners_alone(doubling: FrontServer):
    assert (doubling.directory / "front-0.sock").stat().st_mode & 0o777 == 0o600


def test_without_a_front_its_client_says_so(tmp_path: Path):
    with pytest.raises(ServerUnreachable):
        FrontClient(tmp_path / "front-0.sock").stats()


# A process of its own

FRONT = """
import asyncio, sys, socket
from pathlib import Path
sys.modules["pandas"] = None
import uvloop
from gnomon.front.app import run
from gnomon.http_access import allowed_hosts
from gnomon.testing import ListLog

home, listener = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
asyncio.run(run(
    0, tcp_socket=listener, order_socket_path=home / "front-0.sock", hosts_directory=home,
    routing_file=home / "routing.json", log=ListLog(), version="1",
    allowed_hosts=allowed_hosts([listener.getsockname()[1]]),
    on_ready=lambda: print("ready", flush=True),
))
print("modules", *sorted({name.partition(".")[0] for name in sys.modules}), flush=True)
"""


class Process(FrontServer):
    """A front in a process of its own, started from a routing file."""

    def start(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.client = FrontClient(self.directory / "front-0.sock")
        self.process = subprocess.Popen(
            [sys.executable, "-c", FRONT, str(self.directory), str(self.listener.fileno())],
            pass_fds=[self.listener.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.listener.close()
        for host in self.hosts.values():
            host.kill()


@pytest.fixture
def process(short_directory: Path):
    model = champion()
    table = RoutingTable(version=3, routes=(route(model),), token_hashes={token_hash(TOKEN): 1})
    (short_directory / "routing.json").write_text(json.dumps(table.to_json()))
    process = Process(short_directory, log=None)
    process.host(model)
    process.start()
    yield process
    process.stop()


def test_a_front_that_starts_again_serves_what_the_routing_file_says(process: Process):
    assert process.infer(TENSOR).status == 200
    process.process.send_signal(signal.SIGKILL)
    process.process.wait()
    process.process.stdout.close()
    died = time.monotonic()
    process.listener.close()
    process.start()
    assert process.infer(TENSOR).status == 200
    assert time.monotonic() - died < 3


def test_sigterm_answers_what_was_received_and_ends(process: Process):
    # Given a request under way and a connection that idles
    gate, host = threading.Event(), process.hosts[champion().host]

    def slow(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    host.answer = slow
    busy, idle = Client(process.raw()), Client(process.raw())
    host.questions.clear()
    busy.send(head(process.port) + BODY)
    until(lambda: host.questions)
    # When the front is told to stop
    process.process.terminate()
    # Then the idle connection closes, the busy one gets its answer first, and the process ends
    assert idle.is_closed()
    gate.set()
    reply = busy.read()
    assert reply.doubled == [2.0, 4.0]
    assert reply.headers["connection"] == "close"
    assert process.process.wait(10) == 0


def test_a_second_sigterm_ends_the_draining(process: Process):
    host = process.hosts[champion().host]
    host.answer = lambda _: None
    busy = Client(process.raw())
    busy.send(head(process.port) + BODY)
    until(lambda: host.questions)
    process.process.terminate()
    until(lambda: _refuses(process.port))
    process.process.terminate()
    assert process.process.wait(2) == 0


def _refuses(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(0.05)
        try:
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /v1/health HTTP/1.1\r\n\r\n")
            return not client.recv(1)
        except (TimeoutError, ConnectionError):
            return True


def test_the_front_imports_neither_pandas_nor_a_model_runtime(process: Process):
    for body in (TENSOR, [{"tensor": [1, 2], "note": None}]):
        assert process.infer(body).status == 200
    process.process.terminate()
    modules = process.process.stdout.read().split()
    assert process.process.wait(10) == 0
    assert modules[0] == "modules"
    assert not {"onnxruntime", "sqlalchemy", "fastapi", "typer"} & set(modules)


def test_a_routing_file_that_cannot_be_read_does_not_keep_the_front_from_starting(
    short_directory: Path,
):
    (short_directory / "routing.json").write_text("{")
    process = Process(short_directory, log=None)
    process.start()
    try:
        assert process.ask("GET", "/v1/health").status == 200
        assert process.infer(TENSOR).status == 503
    finally:
        process.stop()
