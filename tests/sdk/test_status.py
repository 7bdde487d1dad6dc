"""What `status()` says of models and fronts, and how a notebook shows it."""

from __future__ import annotations

import json
import re

import pytest

from gnomon.core.stats import OUTCOMES
from gnomon.sdk import bars
from gnomon.sdk.status import Status
from tests.sdk.contract_shadow import counts
from tests.sdk.test_html import HOSTILE, Page


def models(status) -> dict[str, dict]:
    [engine] = status["engines"]
    return {model["label"]: model for model in engine["model_statuses"]["models"]}


@pytest.fixture
def counting(server, shadow):
    """A pipeline that was used."""
    server.counted = {
        "ccfraud-lstm": counts(ok=1_200, p50_ms=0.4, p99_ms=2.0),
        "ccfraud-xgb": counts(
            ok=1_000, error=3, timeout=1, dropped=2, schema=1, skipped=40, lost=1, pending=2,
            p50_ms=5.0, p99_ms=40.0, breaker="half_open",
        ),
    }  # fmt: skip
    return shadow.pipeline


def test_every_model_has_its_counts_times_breaker_and_host(counting):
    found = models(counting.status())
    xgb = found["ccfraud-xgb"]
    assert xgb["sampled"] == 1_050 == sum(xgb[outcome] for outcome in OUTCOMES)
    assert (xgb["p50_ms"], xgb["p99_ms"], xgb["breaker"]) == (5.0, 40.0, "half_open")
    assert (xgb["state"], xgb["sample"], xgb["on"]) == ("ready", 1.0, True)
    assert found["ccfraud-lstm"]["breaker"] is None
    assert (found["ccfraud-rf"]["sampled"], found["ccfraud-rf"]["p50_ms"]) == (0, None)


def test_the_keys_of_other_platforms_stay(counting):
    status = counting.status()
    assert list(status) == ["status", "details", "engines", "engine_lbs", "sidekicks"]
    [engine] = status["engines"]
    assert {"ip", "name", "status", "reason", "details", "pipeline_statuses", "model_statuses"} <= (
        set(engine)
    )
    for model in engine["model_statuses"]["models"]:
        assert {"name", "sha", "status", "version"} <= set(model)
    [balancer] = status["engine_lbs"]
    assert {"ip", "name", "status", "reason", "details"} <= set(balancer)
    assert isinstance(status, dict)
    assert json.loads(json.dumps(status)) == status


def test_a_front_that_is_down_is_said_and_the_rest_is_told(server, counting):
    server.fronts = {"front-0": True, "front-1": False}
    status = counting.status()
    assert status["status"] == "Running"
    assert status["details"] == ["front-1 does not answer: what it counted is missing here."]
    assert models(status)["ccfraud-xgb"]["sampled"] == 1_050
    assert [front["status"] for front in status["engine_lbs"]] == ["Running", "Error"]


def test_a_log_that_loses_something_is_said(server, counting):
    server.front_log = {"log": {"appended": 9_000, "dropped": 0}, "log_trouble": None}
    assert counting.status()["details"] == []
    server.front_log = {"log": {"dropped": 1_200}, "log_trouble": "disk full"}
    assert counting.status()["details"] == [
        "front-0: its log cannot be written now (disk full); its log has dropped 1,200 entries."
    ]


def test_without_any_front_nothing_is_known_and_nobody_is_answered(server, counting):
    server.fronts = {"front-0": False}
    status = counting.status()
    assert status["status"] == status["engines"][0]["status"] == "Error"
    assert status["details"][1].startswith("No front answers, so nobody is answered")
    assert {models(status)["ccfraud-xgb"][key] for key in (*OUTCOMES, "sampled", "p50_ms")} == {
        None
    }
    page = Page(status._repr_html_())
    assert "not known" in page.rows[1]


def test_what_is_not_deployed_is_not_asked_about(server, shadow):
    shadow.pipeline.undeploy()
    before = len(server.requests)
    status = shadow.pipeline.status()
    assert status["status"] == "Pipeline cc-shadow is not deployed"
    assert [seen.method for seen in server.requests[before:]] == ["GET"]
    assert Page(status._repr_html_()).tags == {"p", "strong"}


def test_while_it_stops_or_after_it_failed_nothing_is_said_of_fronts(server, counting):
    view = server.pipelines[0]["deployment"]
    view.update(desired="stopped", state="stopping")
    assert (counting.status()["status"], counting.status()["details"]) == ("Stopping", [])
    view.update(desired="running", state="failed", pipeline_version=None, reason="It is damaged.")
    assert (counting.status()["status"], counting.status()["details"]) == (
        "Error",
        ["It is damaged."],
    )


def test_a_notebook_sees_a_row_per_model(counting):
    counting.switch_off("ccfraud-rf")
    counting.change_shadow(mode="joined", sample={"ccfraud-xgb": 0.1}, shadow_wait_ms=20)
    text = counting.status()._repr_html_()
    page = Page(text)
    assert page.rows[0] == [
        "Model", "State", "Sees", "Requests", "How They Ended", "Time", "Breaker",
    ]  # fmt: skip
    champion, xgb, rf = page.rows[1:]
    assert champion[:4] == ["ccfraud-lstmchampion", "Running", "all", "1,200"]
    assert xgb[2:4] == ["10 %", "1,050"]
    assert xgb[4] == ("1,000 ok 3 error 1 timeout 2 dropped 1 schema 40 skipped 1 lost 2 pending")
    assert xgb[5:] == ["p50 5 ms, p99 40 ms", "half open"]
    assert rf[2:6] == ["off", "0", "none yet", "-"]
    assert "joined: answers wait up to 20 ms for challengers" in text
    # And a picture without script, without anything from elsewhere
    assert {"title", "style"} == page.attributes
    assert "url(" not in text
    assert "<script" not in text


def test_what_others_named_is_shown_and_not_obeyed(server, counting):
    server.pipelines[0]["deployment"]["models"][1].update(
        label=HOSTILE, state="crash_looping", reason=HOSTILE
    )
    page = Page(counting.status()._repr_html_())
    assert page.tags <= {"p", "strong", "table", "tr", "th", "td", "span", "br"}
    assert any(HOSTILE in cell for row in page.rows for cell in row)


def widths(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"width:([\d.]+)%", text)]


def test_the_parts_of_a_bar_are_as_wide_as_their_share():
    found = {**dict.fromkeys(OUTCOMES, 0), "ok": 75, "error": 25}
    assert widths(bars.outcomes(found)) == [75.0, 25.0]
    rare = widths(bars.outcomes({**found, "ok": 1_000_000, "error": 1}))
    assert rare[1] > 1.0, "one in a million can be seen"
    assert sum(rare) == pytest.approx(100, abs=0.05)
    assert widths(bars.outcomes(dict.fromkeys(OUTCOMES, 0))) == []
    assert set(bars.COLOURS) == set(OUTCOMES)


def test_the_time_of_models_is_on_one_scale():
    assert widths(bars.latency(10.0, 40.0, 40.0)) == [25.0, 75.0]
    assert widths(bars.latency(1.0, 2.0, 40.0)) == [2.5, 2.5]
    assert widths(bars.latency(0.0, 0.0, 0.0)) == [0.0, 0.0]
    assert bars.latency(None, None, 40.0) == ""
    assert [bars.ms_text(v) for v in (0.4212, 12.0, 1234.0, None)] == [
        "0.421 ms", "12 ms", "1.23 s", "-",
    ]  # fmt: skip


def test_a_status_is_a_dict_that_can_be_copied():
    assert Status(status="Running") == {"status": "Running"}
