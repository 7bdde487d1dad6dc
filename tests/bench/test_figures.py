"""Figures against targets, and what the servers are sent in the commands beside the big table."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from bench.report import Figure, show
from bench.servers import bodies, figures, floors, goals, measuring, payloads, work
from bench.servers.goals import Samples
from bench.servers.sending import Sending
from bench.servers.server import Machine, Unavailable
from gnomon.front import codecs
from tests.bench.test_servers_report import sample


@pytest.mark.parametrize(
    ("figure", "met", "said"),
    [
        (Figure("a", "ms", 2, [1, 2, 9]), True, "met"),
        (Figure("a", "ms", 1, [1, 2, 9]), False, "MISSED"),
        (Figure("a", "x", 2, [1, 2, 9], at_least=True), True, ">= 2"),
        (Figure("a", "x", 3, [1, 2, 9], at_least=True), False, "MISSED"),
        (Figure("a", "x", None, [1, 2, 9]), None, "no target"),
        (Figure("a", "x", 3, missing="not measured: no core"), None, "not measured: no core"),
    ],
)
def test_a_figure_says_whether_its_target_is_met(figure, met, said):
    assert figure.met is met
    assert said in figure.line()


def test_only_missed_targets_count_and_the_file_is_json(tmp_path, capsys):
    shown = [Figure("a", "ms", 2, [1]), Figure("b", "ms", 2, [3]), Figure("c", "x", 1)]

    assert show(shown, tmp_path / "figures.json") == 1

    written = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert [each["met"] for each in written] == [True, False, None]
    assert "load" in capsys.readouterr().out


def test_rows_are_sent_as_arrow_and_json_that_the_front_reads():
    rows = payloads.rows(1_000)
    for body, kind in (
        (payloads.arrow("tensor", rows), payloads.ARROW["Content-Type"].encode()),
        (payloads.json_tensor(rows), b"application/json"),
    ):
        document = codecs.read(body, kind)
        np.testing.assert_array_equal(np.asarray(document.columns["tensor"], "float32"), rows)


def test_an_image_is_one_row_and_its_model_takes_it(tmp_path):
    model = tmp_path / "means.onnx"
    model.write_bytes(payloads.image_model())
    image = np.ones((1, *payloads.IMAGE), dtype=np.float32)

    assert codecs.read(payloads.arrow("image", image), None).rows == 1
    answer = np.frombuffer(payloads.answers(model, image), dtype=np.float32)
    np.testing.assert_allclose(answer, [1, 1, 1])


def test_a_server_that_is_sent_arrow_is_checked_by_the_bytes_of_the_answer(tmp_path):
    given, rows = work.load(), payloads.rows(10)
    right = payloads.answers(given.model, rows)
    machine = Machine(min(figures.os.sched_getaffinity(0)), 0, tmp_path)
    for answer, is_right in ((right, True), (b"something else", False)):
        sending = Sending(
            floors.BareUvicorn(app="arrow_app"),
            "uvicorn-arrow",
            payloads.arrow("tensor", rows),
            payloads.ARROW,
            answer=answer,
        )
        scratch = tmp_path / str(is_right)
        scratch.mkdir()
        with sending.running(given, machine, scratch) as running:
            first = measuring.wait_for_answer(running, scratch / "server.log")
            if is_right:
                assert measuring.learnt(running.address, first, given).text == right
            else:
                with pytest.raises(Unavailable, match="wrong"):
                    measuring.learnt(running.address, first, given)


def test_the_figures_of_bodies_are_those_of_its_servers():
    given = work.load()
    names = [server.name for server in bodies.servers(given)]
    samples = [sample(name, 700, connections=bodies.CONNECTIONS) for name in names]

    found = bodies.found(Samples(samples, {name: name for name in names}))

    verdicts = {figure.name: figure.met for figure in found}
    assert verdicts["1,000 rows of Arrow, log on"] is True
    assert verdicts["1,000 rows of Arrow, log off"] is False  # 700 where 1,500 are wanted
    assert verdicts["1,000 rows of Arrow, gnomon / uvicorn"] is None


def test_the_longest_collector_pause_of_a_run_counts():
    samples = [
        sample("gnomon", collector_ms=2.0),
        sample("gnomon-async", collector_ms=6.0),
        sample("uvicorn"),
    ]
    families = {each.server: each.server for each in samples}

    [pause] = [each for each in goals.goals(Samples(samples, families)) if "pause" in each.name]

    assert (pause.value, pause.met) == (6.0, False)


def test_the_client_gets_a_core_that_the_server_does_not_have(monkeypatch, capsys):
    monkeypatch.setattr(figures.os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(figures.os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(figures.tree, "adopt_orphans", lambda: None)
    monkeypatch.setattr(figures.signal, "signal", lambda *_: None)
    monkeypatch.setattr(figures.load, "find_wrk", lambda: sys.executable)

    def machine(*given: str) -> Machine:
        return figures.machine(figures.parser("half", "", cores="0,1", seconds=1).parse_args(given))

    assert machine().client_core == 2
    assert capsys.readouterr().out == ""
    shared = machine("--server-cores", "0,1,2")
    assert (shared.server_cores, shared.client_core) == ((0, 1, 2), 2)
    assert "shares core 2" in capsys.readouterr().out
