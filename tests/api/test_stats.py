"""What the fronts count, as JSON and as Prometheus reads it."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gnomon.core.stats import OUTCOMES, FrontStats, ModelStats
from tests.api.conftest import Api, shadow
from tests.api.test_problems import check

CHAMPION = ModelStats(sampled=9, ok=8, error=1, p50_ms=0.5, p99_ms=2.0, connected=True)
RIVAL = ModelStats(
    sampled=8, ok=1, error=1, timeout=1, dropped=1, schema=1, skipped=1, lost=1, pending=1,
    p50_ms=5.0, p99_ms=50.0, breaker="open", connected=True,
)  # fmt: skip


@pytest.fixture
def pipe(api: Api) -> Api:
    """Two fronts, of which one answers, and a deployment with a challenger."""
    api.deploy("p", shadow(api.upload("champ"), api.upload("rival")))
    deployment = api.settled("p")["id"]
    counted = {deployment: {"champ": CHAMPION, "rival": RIVAL}, 99: {"champ": CHAMPION}}
    log = {"appended": 17, "dropped": 2, "uncommitted": 3, "undurable": 4}
    trouble = "disk full"
    api.backend.stats = [
        FrontStats(
            front="front-0",
            answers=True,
            requests=9,
            log=log,
            log_trouble=trouble,
            models=counted,
        ),
        FrontStats(front="front-1", answers=False),
    ]
    return api


def test_the_stats_of_a_deployment_are_summed_over_the_fronts(pipe):
    [front] = pipe.backend.stats[:1]
    pipe.backend.stats.append(front)
    stats = pipe.call("GET", "/v1/workspaces/1/pipelines/p/deployment/stats").json()
    assert [(f["front"], f["answers"], f["requests"]) for f in stats["fronts"]] == [
        ("front-0", True, 9),
        ("front-1", False, 0),
        ("front-0", True, 9),
    ]
    [deployment] = stats["deployments"]
    rival = deployment["models"]["rival"]
    assert rival == {
        **dict.fromkeys(OUTCOMES, 2),
        "sampled": 16,
        "p50_ms": 5.0,
        "p99_ms": 50.0,
        "breaker": "open",
        "connected": True,
    }
    assert rival["sampled"] == sum(rival[outcome] for outcome in OUTCOMES)
    assert deployment["models"]["champ"]["breaker"] is None


def test_the_stats_of_all_deployments_are_those_of_each(pipe):
    pipe.deploy("other", shadow(pipe.upload("m")))
    one = pipe.call("GET", "/v1/workspaces/1/pipelines/p/deployment/stats").json()
    every = pipe.call("GET", "/v1/stats").json()
    assert every["fronts"] == one["fronts"]
    assert every["deployments"][0] == one["deployments"][0]
    assert every["deployments"][1]["models"] == {}, "no front has counted anything of it"


def test_stats_of_what_was_never_deployed_are_not_found(api):
    api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    check(api.call("GET", "/v1/workspaces/1/pipelines/p/deployment/stats"), 404, "not_found")
    assert api.call("GET", "/v1/stats").json()["deployments"] == []


def scraped(api: Api) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the samples of /v1/metrics as Prometheus' own reader finds them."""
    answer = api.call("GET", "/v1/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in series, "each series once"
            series[labels] = sample.value
    return found


def one(found, name: str, **labels: str) -> float:
    [value] = [value for known, value in found[name].items() if set(labels.items()) <= set(known)]
    return value


def test_prometheus_reads_every_counter_and_gauge(pipe):
    found = scraped(pipe)
    rival = {"pipeline": "p", "label": "rival", "role": "challenger", "front": "front-0"}
    assert one(found, "gnomon_sampled_total", **rival) == 8
    for outcome in OUTCOMES[:-1]:
        assert one(found, "gnomon_outcomes_total", **rival, outcome=outcome) == 1
    assert one(found, "gnomon_pending", **rival) == 1
    assert one(found, "gnomon_latency_seconds", **rival, quantile="0.99") == 0.05
    assert one(found, "gnomon_breaker_state", **rival, state="open") == 1
    assert one(found, "gnomon_breaker_state", **rival, state="closed") == 0
    assert one(found, "gnomon_host_connected", **rival) == 1
    assert one(found, "gnomon_sampled_total", label="champ", workspace="1") == 9
    assert one(found, "gnomon_host_ready", label="rival") == 1
    assert one(found, "gnomon_host_restarts_total", label="rival") == 0
    assert one(found, "gnomon_sample_ratio", label="rival") == 1
    assert one(found, "gnomon_deployment_running", pipeline="p") == 1
    assert one(found, "gnomon_front_up", front="front-0") == 1
    assert one(found, "gnomon_front_up", front="front-1") == 0
    assert found["gnomon_log_entries_total"] == {(("front", "front-0"),): 17}
    assert one(found, "gnomon_log_dropped_total", front="front-0") == 2
    assert one(found, "gnomon_log_uncommitted", front="front-0") == 3
    assert one(found, "gnomon_log_undurable_total", front="front-0") == 4
    assert found["gnomon_log_trouble"] == {(("front", "front-0"),): 1}
    assert one(found, "gnomon_process_up", process="front-0") == 0
    assert one(found, "gnomon_build_info", version="1.2.3") == 1
    assert not any("99" in dict(labels).values() for labels in found["gnomon_sampled_total"])


def test_a_challenger_that_is_off_has_a_sample_of_nothing(pipe):
    pipe.call("PATCH", "/v1/workspaces/1/pipelines/p/deployment/shadow", {"on": {"rival": False}})
    assert one(scraped(pipe), "gnomon_sample_ratio", label="rival") == 0


def test_what_is_undeployed_is_not_told_any_more(pipe):
    pipe.call("DELETE", "/v1/workspaces/1/pipelines/p/deployment")
    pipe.settled("p")
    pipe.backend.stats = []
    found = scraped(pipe)
    assert one(found, "gnomon_deployment_running", pipeline="p") == 0
    assert "gnomon_host_ready" not in found
    assert "gnomon_sampled_total" not in found


def test_metrics_need_a_token(pipe):
    check(pipe.call("GET", "/v1/metrics", headers={"Authorization": None}), 401, "unauthenticated")
