"""The benches of overload, clients and soak: what the load counts, and what the figures say."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pytest

from bench.isolation.load import request
from bench.overload.load import Client, percentile_ms
from bench.overload.measuring import outputs
from bench.overload.models import busy
from bench.servers import work
from bench.soak.usage import Usage, slope
from gnomon import samples

ANSWER = json.dumps([{"outputs": [{"Float": {"data": [0.1]}}]}]).encode()


@pytest.fixture
def url():
    """Answer, refuse, fail and cut off in turn."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(1)
            if len(asked) % 4 == 0:
                self.close_connection = True
                return
            self.send_response({1: 200, 2: 429, 3: 500}[len(asked) % 4])
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, *parts):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_load_counts_what_was_answered_refused_failed_and_cut_off(url):
    with Client(url, request(url, b"{}", {}), connections=1) as client:
        seen = client.load(rate=80, seconds=0.5)

    each, over = divmod(seen.asked, 4)
    assert 0 < seen.asked <= 40  # what a busy machine did not send in time is not sent later
    assert seen.answers == {ANSWER: each + (over > 0)}
    assert len(seen.answered_s) == each + (over > 0)
    assert len(seen.refused_s) == each + (over > 1)
    assert all(b"\r\nRetry-After: 1" in head for head in seen.refusals)
    assert seen.failures["500"] == each + (over > 2)
    assert seen.failures.total() == seen.failures["500"] + each
    assert seen.goodput == seen.meanwhile / 0.5
    assert 0 < percentile_ms(seen.answered_s, 50) < 1_000


def test_a_closed_loop_uses_no_more_connections_than_it_is_told_to(url, monkeypatch):
    with Client(url, request(url, b"{}", {}), connections=1) as client:
        seen = client.load(rate=None, seconds=0.2, connections=1)
        again = client.load(rate=20, seconds=0.2)

    assert seen.asked == len(seen.answered_s) + len(seen.refused_s) + seen.failures.total()
    assert 0 < again.asked <= 4


def test_an_answer_is_compared_to_the_last_bit():
    assert outputs(ANSWER).tobytes() == np.float32([0.1]).tobytes()
    assert outputs(ANSWER).tobytes() != np.nextafter(np.float32([0.1]), np.float32(1)).tobytes()


def test_the_busy_champion_takes_one_row_and_its_time(tmp_path):
    row = samples.held_out()[0][:1]

    model = busy(row, 0.002, tmp_path)

    session = work.session(model)
    assert session.get_inputs()[0].shape == [1, 29]
    assert work.run(session, row).shape == (1,)


def test_the_slope_is_that_of_the_line_that_fits_best():
    assert slope([(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]) == pytest.approx(2.0)
    assert slope([(0.0, 5.0)]) == 0.0
    assert Usage.now().processes >= 0
