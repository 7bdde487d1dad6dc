"""`gnomon shadow` and `gnomon top`."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

import gnomon
from gnomon.core.stats import OUTCOMES
from tests.sdk.contract_shadow import counts
from tests.sdk.wire import Answer
from tests.waiting import until


def sent(server) -> list:
    return [seen.json() for seen in server.requests if seen.method == "PATCH"]


def test_how_challengers_watch_is_shown(run, server):
    shown = run("shadow", "cc-shadow")
    assert shown.code == 0
    assert shown.out == (
        "pipeline cc-shadow: async (as deployed)\n"
        "  challenger  sees   host\n"
        "  xgb         100 %  ready\n"
    )
    assert sent(server) == []


def test_how_challengers_watch_is_changed(run, server):
    shown = run("shadow", "cc-shadow", "--mode", "joined", "--wait-ms", 20, "--sample", 0.25)
    assert shown.code == 0
    assert "cc-shadow: joined, answers wait up to 20 ms (changed 20" in shown.out
    assert "xgb         25 %" in shown.out
    run("shadow", "cc-shadow", "--sample", "xgb=0.5", "--off", "xgb")
    document = run("shadow", "cc-shadow", "--json").json()
    assert document["shadow"]["mode"] == "joined"
    assert (document["models"][1]["sample"], document["models"][1]["on"]) == (0.5, False)
    run("shadow", "cc-shadow", "--on", "xgb")
    assert sent(server) == [
        {"mode": "joined", "shadow_wait_ms": 20, "sample": 0.25},
        {"sample": {"xgb": 0.5}, "on": {"xgb": False}},
        {"on": {"xgb": True}},
    ]


def test_a_change_that_is_not_in_force_is_said(run, server):
    server.fronts["front-0"] = False
    shown = run("shadow", "cc-shadow", "--off", "xgb")
    assert shown.code == 0
    assert "does not yet: a front does not answer" in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--sample", "much"], 2, "--sample takes a rate from 0 to 1, or LABEL=RATE"),
        (["--sample", "0.5", "--sample", "0.2"], 2, "--sample takes"),
        (["--sample", "xgb="], 2, "--sample takes"),
        (["--wait-ms", "-1"], 2, "wait-ms"),
        (["--mode", "sometimes"], 1, "'sometimes'"),
        (["--off", "nobody"], 1, "no challenger 'nobody'"),
    ],
)
def test_a_change_that_cannot_be_is_refused(run, server, arguments, code, says):
    shown = run("shadow", "cc-shadow", *arguments)
    assert (shown.code, shown.out) == (code, "")
    assert says in shown.err


def test_what_is_not_deployed_has_no_shadow(run, server):
    client = gnomon.Client(interactive=False)
    client.set_current_workspace(client.get_workspace("fraud"))
    client.build_pipeline("resting")
    for arguments in ([], ["--off", "x"]):
        shown = run("shadow", "resting", *arguments)
        assert (shown.code, shown.out) == (1, "")
        assert "not deployed" in shown.err


@pytest.fixture
def busy(server) -> Iterator:
    """The server counts 100 requests more each time that it is asked."""
    total = 0

    def counting(seen):
        nonlocal total
        total += 100
        server.counted = {
            "lstm": counts(ok=total, p50_ms=0.42, p99_ms=2.0),
            "xgb": counts(ok=total - 7, error=3, skipped=4, p50_ms=7.0, p99_ms=1500.0,
                          breaker="half_open"),
        }  # fmt: skip
        del server.answers["GET", "/v1/stats"]
        answer = server.answer(seen)
        server.answers["GET", "/v1/stats"] = counting
        return answer

    server.answers["GET", "/v1/stats"] = counting
    return server


def cells(text: str, label: str) -> dict[str, str]:
    """Return the cells of a model's line, by heading."""
    head, *rest = [re.split(r"  +", line.strip()) for line in text.splitlines() if "  " in line][1:]
    [line] = [row for row in rest if row[0].removeprefix("> ") == label]
    return dict(zip(head, [*line, ""], strict=False))


def test_one_look_shows_every_model(run, busy):
    shown = run("top", "--once", "--interval", 0.1)
    assert shown.code == 0
    assert re.match(r"gnomon 0\.1\.0  \d\d:\d\d:\d\d UTC  front-0 12 requests\n\n", shown.out)
    assert "pipeline cc-shadow: running (async)\n" in shown.out
    champion, rival = cells(shown.out, "lstm"), cells(shown.out, "xgb")
    assert (champion["sees"], champion["p50"], champion["breaker"]) == ("all", "0.42 ms", "-")
    assert 100 < float(champion["req/s"].replace(",", "")) <= 1000
    assert (rival["sampled"], rival["ended"]) == ("200", "193 ok, 3 error, 4 skipped")
    assert (rival["p99"], rival["breaker"], rival["sees"]) == ("1.5 s", "half open", "100 %")
    assert "\x1b" not in shown.out


def test_what_the_log_drops_is_shown(run, busy):
    busy.front_log = {"log": {"dropped": 3}, "log_trouble": None}
    shown = run("top", "--once", "--interval", 0.1).out
    assert "UTC  front-0 12 requests (its log has dropped 3 entries)\n" in shown


def test_json_is_one_document_in_which_the_sum_is_right(run, busy):
    document = run("top", "cc-shadow", "--json", "--interval", 0.1).json()
    [view] = document["deployments"]
    assert (view["pipeline"], view["state"], view["shadow"]["mode"]) == (
        "cc-shadow", "running", "async",
    )  # fmt: skip
    for model in view["models"]:
        assert model["sampled"] == 200 == sum(model[outcome] for outcome in OUTCOMES)
        assert 100 < model["requests_per_s"] <= 1000
    [front] = document["fronts"]
    assert front == {
        "front": "front-0", "answers": True, "requests": 12, "log": {}, "log_trouble": None
    }  # fmt: skip


def test_a_front_that_counts_anew_has_no_rate(run, busy):
    forwards = busy.answers["GET", "/v1/stats"]
    busy.answers["GET", "/v1/stats"] = lambda seen: (forwards(seen), forwards(seen))[1]
    run("top", "--once", "--interval", 0.1)

    def restarted(seen):
        del busy.answers["GET", "/v1/stats"]
        busy.counted = {"lstm": counts(ok=1)}
        return busy.answer(seen)

    def first(seen):
        answer = forwards(seen)
        busy.answers["GET", "/v1/stats"] = restarted
        return answer

    busy.answers["GET", "/v1/stats"] = first
    assert cells(run("top", "--once", "--interval", 0.1).out, "lstm")["req/s"] == "-"


def test_what_is_down_or_absent_is_said(run, server):
    server.fronts["front-0"] = False
    shown = run("top", "--once", "--interval", 0.1)
    assert "front-0 does not answer" in shown.out
    assert cells(shown.out, "xgb")["sampled"] == "-"
    shown = run("top", "nope", "--once", "--interval", 0.1)
    assert (shown.code, shown.out) == (1, "")
    assert "No pipeline 'nope' is deployed" in shown.err
    assert run("top", "--interval", 0).code == 2
    server.pipelines[0]["deployment"]["desired"] = "stopped"
    assert "No pipeline is deployed." in run("top", "--once", "--interval", 0.1).out


def test_what_others_named_is_not_obeyed(run, server):
    server.pipelines[0]["deployment"]["models"][1]["label"] = "\x1b[2Jgone"
    shown = run("top", "--once", "--interval", 0.1)
    assert "\x1b" not in shown.out
    assert "gone" in shown.out


def live(stdout: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "gnomon", "top", "--interval", "0.1"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_piped_it_is_plain_text_one_look_below_another(busy):
    with live(subprocess.PIPE) as process:
        blocks: list[str] = [""]
        while len(blocks) < 4:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            if line.startswith("gnomon "):
                blocks.append("")
            blocks[-1] += line
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert all("\x1b" not in block for block in blocks)
    assert float(cells(blocks[2], "lstm")["req/s"].replace(",", "")) > 100
    first, second = (int(cells(block, "lstm")["sampled"]) for block in blocks[1:3])
    assert second == first + 100


def test_on_a_terminal_it_is_drawn_in_place_and_leaves_it_as_it_was(busy):
    ours, theirs = pty.openpty()
    process = live(theirs)
    os.close(theirs)
    seen = ""

    def read() -> str:
        nonlocal seen
        with contextlib.suppress(OSError):  # the other side is closed
            seen += os.read(ours, 65_536).decode()
        return seen

    try:
        until(lambda: read().count("\x1b[H") >= 3)
        # While the control plane is away, it says so and goes on
        busy.answers["GET", "/v1/stats"] = lambda seen: Answer(0)
        until(lambda: "closed the connection" in read() or "does not answer" in read())
        process.send_signal(signal.SIGINT)
        until(lambda: "\x1b[?1049l" in read())
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stderr.close()
        os.close(ours)
    assert seen.startswith("\x1b[?1049h\x1b[?25l")
    assert "\x1b[?25h\x1b[?1049l" in seen
    assert "pipeline cc-shadow" in seen


def test_without_a_server_it_ends_at_once(run, tmp_path, monkeypatch):
    monkeypatch.delenv("GNOMON_URL", raising=False)
    for more in ([], ["--once"], ["--json"]):
        shown = run("top", *more, "--home", tmp_path)
        assert (shown.code, shown.out) == (3, "")
    assert json.loads(shown.err)["error_code"] == "server_unreachable"
