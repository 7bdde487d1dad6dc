"""What wrk is told, and what it says."""

from __future__ import annotations

import http.server
import itertools
import os
import threading
from collections import Counter

import pytest

from bench.servers import load
from bench.servers.answers import Expected
from bench.servers.server import Address

CONNECTIONS = 2
OUTPUT = """Running 2s test @ http://127.0.0.1:1/
RESULT requests=100 duration_us=2000000 p50_us=1500 p99_us=9000 max_us=12000 checked=101 \
bad_status=2 bad_answers=1 connect=0 read=0 write=0 timeout=3
EXAMPLE 429 {"error": "busy"}
"""


def test_a_result_has_rates_latencies_and_errors_by_kind():
    seen = load.parse(OUTPUT)

    assert (seen.requests, seen.duration_s) == (100, 2.0)
    assert (seen.p50_ms, seen.p99_ms, seen.max_ms) == (1.5, 9.0, 12.0)
    assert seen.errors == {"bad_status": 2, "bad_answers": 1, "timeout": 3}
    assert seen.example == '429 {"error": "busy"}'


def test_answers_that_went_by_unchecked_are_no_result():
    with pytest.raises(RuntimeError, match="only 99 checked"):
        load.parse(OUTPUT.replace("checked=101", "checked=99"))


def test_no_result_is_an_error_that_says_what_wrk_said():
    with pytest.raises(RuntimeError, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1")


def test_any_bytes_survive_as_a_lua_string():
    assert load.quoted(b'a"\n\xff') == r'"\097\034\010\255"'


ANSWERS = [
    (200, b'{"x":0.125}', None),
    (200, b'{"x":0.1250001}', None),  # near enough
    (200, b'{"x":0.126}', "bad_answers"),
    (200, b'{"x":0.1257}', "bad_answers"),  # begins like it
    (200, b'{"y":0.125}', "bad_answers"),
    (429, b'{"x":0.125}', "bad_status"),
]


@pytest.fixture
def serving():
    """Give all the answers in turn; count how often each kind was given."""
    given: Counter[str | None] = Counter()
    turns, lock = itertools.cycle(ANSWERS), threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                status, body, kind = next(turns)
                given[kind] += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *parts):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", given
        server.shutdown()


@pytest.mark.skipif(load.find_wrk() is None, reason=load.MISSING)
def test_wrk_checks_every_answer(serving, tmp_path):
    # Given a server whose answers are right, nearly right, wrong and refused in turn
    url, given = serving
    address = Address(url=url, body=b"{}", number=lambda answer: answer["x"])
    script = tmp_path / "load.lua"
    script.write_text(load.script(address, Expected(0.125, b'{"x":', b"0.125", b"}")))

    # When wrk loads it
    core = min(os.sched_getaffinity(0))
    seen = load.run(url, script, connections=CONNECTIONS, seconds=1, core=core)

    # Then it has counted each kind, but for what was under way at the end
    assert seen.requests >= len(ANSWERS)
    assert seen.errors.keys() == {"bad_answers", "bad_status"}
    for kind, counted in seen.errors.items():
        assert given[kind] - CONNECTIONS <= counted <= given[kind]
    assert seen.example
