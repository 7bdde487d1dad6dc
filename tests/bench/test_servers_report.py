"""Medians, targets, chart and the command line of bench.servers."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from bench.servers import __main__ as program
from bench.servers import chart, goals, table
from bench.servers.goals import Goal, Samples
from bench.servers.measuring import Sample, difference

FAMILIES = {server.name: server.family for server in program.SERVERS}


def sample(server, rps=100.0, *, connections=64, round=1, **more):
    figures = {
        "requests": 200,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "max_ms": 3.0,
        "cpu_us": 10.0,
        "rss_mb": 50.0,
        "pss_mb": 40.0,
        "foreign_percent": 0.0,
    }
    return Sample(server, round, connections, rps=rps, **{**figures, **more})


def goal(samples, name):
    [found] = [each for each in goals.goals(Samples(samples, FAMILIES)) if name in each.name]
    return found


def test_a_ratio_is_taken_within_each_round_and_the_median_quoted():
    # Given a machine that was slow in the second round
    samples = [
        *(sample("gnomon", 200, round=1), sample("uvicorn", 100, round=1)),
        *(sample("gnomon", 20, round=2), sample("uvicorn", 10, round=2)),
        *(sample("gnomon", 100, round=3), sample("uvicorn", 100, round=3)),
    ]

    ratio = goal(samples, "/ uvicorn, 64")

    assert ratio.values == (2.0, 2.0, 1.0)
    assert (ratio.value, ratio.met, ratio.verdict) == (2.0, True, "met")


def test_a_peer_counts_in_its_best_setting():
    samples = [sample("gnomon", 100), sample("mosec", 50), sample("mosec-single", 200)]

    assert goal(samples, "/ mosec").value == 0.5


def test_what_was_not_measured_is_neither_met_nor_missed():
    found = goal([sample("gnomon")], "/ bentoml")

    assert (found.met, found.verdict) == (None, "not measured")
    assert " - " in found.line()


@pytest.mark.parametrize(
    ("value", "verdict"), [(21.0, "MISSED"), (20.0, "met"), (16.0, "met, stretch too")]
)
def test_a_verdict_knows_the_stretch(value, verdict):
    assert Goal("CPU", 20, False, (value,), 16).verdict == verdict


def test_any_failed_request_at_256_connections_misses():
    samples = [sample("gnomon", connections=256, errors={"bad_status": 1})]

    assert goal(samples, "failed, gnomon,").met is False


def test_what_the_log_dropped_misses_and_is_noted():
    samples = [sample("gnomon", counts={"champion ok": 200, "log dropped": 2})]

    assert goal(samples, "log dropped").met is False
    assert table.rows(samples)[0].notes == "log dropped 2"


def test_a_row_has_the_medians_and_all_the_errors():
    [row] = table.rows(
        [
            sample("gnomon", 100, round=1, errors={"timeout": 1}),
            sample("gnomon", 300, round=2, errors={"timeout": 2}),
            sample("gnomon", 200, round=3, max_ms=9.0),
        ]
    )

    assert (row.rps, row.failed, row.max_ms, row.rounds) == (200, 3, 9.0, 3)
    assert "timeout 3" in row.line()


def test_counts_are_differences_without_zeros():
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": 5, "c": 1}) == {"b": 3, "c": 1}


def test_the_chart_is_xml_with_a_bar_for_each_row():
    rows = table.rows(
        [sample("gnomon", 300), sample("mosec", 100), sample("gnomon", connections=1)]
    )

    root = ElementTree.fromstring(chart.svg(rows, "a <title> & more"))

    svg = "{http://www.w3.org/2000/svg}"
    bars = [float(each.get("width")) for each in root.iter(f"{svg}rect") if each.get("x")]
    assert len(bars) == 3
    assert max(bars) == pytest.approx(3 * min(bars), rel=0.01)


def test_the_json_holds_rows_goals_and_samples():
    samples = [sample("gnomon"), sample("uvicorn")]
    reached = goals.goals(Samples(samples, FAMILIES))

    content = json.loads(
        table.document(table.machine(), samples, reached, {"mosec": "no pip"}, {"seconds": 2})
    )

    assert {"machine", "rows", "goals", "samples", "not_measured", "settings"} <= content.keys()
    assert content["goals"][0]["verdict"] == "MISSED"
    assert content["not_measured"] == {"mosec": "no pip"}


def test_only_takes_names_of_servers():
    assert program.names("mosec-single,session") == ["mosec-single", "session"]
    with pytest.raises(program.argparse.ArgumentTypeError, match="'nobody' is none of"):
        program.names("nobody")


def test_every_peer_pins_what_it_wants():
    for server in program.peers.SERVERS:
        folder = program.peers.FOLDER / server.family
        wanted, pinned = ((folder / name).read_text().splitlines() for name in program.peers.PINS)
        assert all("==" in line for line in pinned)
        assert {line.replace("[serve]", "") for line in wanted} <= set(pinned), server.name
        assert (folder / "app.py").exists()
