"""The bench of isolation: challengers that misbehave on one row, the load, the verdicts."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pytest

from bench.isolation import __main__ as command
from bench.isolation import load, models, table
from bench.servers import work
from gnomon import samples

ROW = np.linspace(-1, 1, 29, dtype=np.float32)[None]
OTHERS = np.random.default_rng(3).standard_normal((4, 29)).astype(np.float32)
ANSWER = {"outputs": [{"Float": {"data": [0.5]}}], "elapsed": 7, "time": 1, "request_id": "a"}


def loaded(model: bytes, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    return work.session(path)


@pytest.mark.parametrize(
    "make",
    [models.erring, models.crashing, models.hanging, models.eating],
    ids=lambda m: m.__name__,
)
def test_a_challenger_behaves_on_other_rows(make, tmp_path):
    session = loaded(make(ROW), tmp_path)

    for rows in (OTHERS, np.zeros_like(ROW)):
        assert work.run(session, rows).shape == (len(rows),)


@pytest.mark.parametrize("make", [models.erring, models.eating], ids=lambda m: m.__name__)
def test_a_challenger_misbehaves_on_the_row_wherever_it_is_in_a_batch(make, tmp_path):
    rows = np.concatenate([OTHERS, ROW])
    model = make(ROW).replace(
        np.int64(models._TOUCHED_FLOATS).tobytes(), np.int64(8).tobytes()
    )  # the test itself need not eat
    huge = np.int64(models._REFUSED_FLOATS).tobytes()
    session = loaded(model.replace(huge, np.int64(2**60).tobytes()), tmp_path)

    with pytest.raises(Exception, match=r"Gather|alloc|overflow|[Ss]ize"):
        work.run(session, rows)


def test_the_slow_challenger_takes_many_times_as_long(tmp_path):
    slow = tmp_path / "challenger.onnx"
    slow.write_bytes(models.slow(ROW, samples.champion_path(), tmp_path))

    # A busy machine spoils the calibration by much, not by this much
    assert models.run_s(slow, ROW) > models.SLOWER / 10 * models.run_s(samples.champion_path(), ROW)


@pytest.fixture
def serving():
    """Answer every second request, refuse or cut off the others in turn."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            if len(asked) % 4 == 3:
                self.close_connection = True
                return
            body = json.dumps([ANSWER]).encode()
            self.send_response(429 if len(asked) % 4 == 1 else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *parts):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


def test_a_load_counts_what_was_answered_refused_and_cut_off(serving, monkeypatch):
    # Given a server that serves one connection at a time
    url, asked = serving
    monkeypatch.setattr(load, "CONNECTIONS", 1)

    # When it is asked 40 times at a fixed rate
    message = load.request(url, b"{}", {"X-Name": "x"})
    seen = load.OpenLoop(url, message, rate=80, seconds=0.5).run()

    # Then nothing is missing, and every answer's latency is known
    assert seen.asked == len(asked) == 40
    assert len(seen.answers) == 20
    assert seen.failures == {"429": 10, "ConnectionResetError": 10}
    assert len(seen.latencies_s) == 30
    assert seen.latency_ms(50) > 0


def result(name: str, answers: list[dict], p99_s: float, asked: int = 2) -> table.Result:
    seen = load.Seen(asked=asked, answers=[json.dumps([each]).encode() for each in answers])
    seen.latencies_s = [p99_s] * asked
    return table.result(name, seen, table.of_champion(json.dumps([ANSWER]).encode()), {"ok": 1})


def test_answers_that_differ_in_times_and_ids_only_are_identical():
    later = {**ANSWER, "elapsed": 8, "time": 2, "request_id": "b", "shadow_data": {"other": []}}

    assert result("slow", [ANSWER, later], 0.001).missed(1.0) == []


def test_each_target_can_be_missed():
    other = {**ANSWER, "outputs": [{"Float": {"data": [0.25]}}]}
    alone = result(table.ALONE, [ANSWER, ANSWER], 0.001)
    bad = result("slow", [other], 0.0034)

    assert bad.missed(alone.p99_ms) == ["success", "identical", "p99"]
    assert table.missed([alone, bad, result(table.AGAIN, [other], 9.0)]) == 3
    assert "MISSED" in table.text([alone, bad])
    assert json.loads(table.document([alone, bad], {"rate": 1}))["results"][1]["runs"] == {"ok": 1}


def test_a_share_that_is_not_all_is_not_100_percent():
    assert table.share(999_999, 1_000_000) == "99.999 %"
    assert table.share(7, 7) == "100 %"


@pytest.mark.parametrize("given", [["--only", "sleepy"], ["--rate", "0"], ["--seconds", "nan"]])
def test_the_command_line_refuses_what_it_does_not_know(given, capsys):
    with pytest.raises(SystemExit):
        command.arguments(given)

    assert "is no" in capsys.readouterr().err
