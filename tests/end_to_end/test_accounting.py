"""Every request that a challenger was sampled for ends in exactly one count, whatever happens.

Which requests those are is known beforehand, from their ids. What is counted is compared with
that, with the log, and with what Prometheus is told.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.isolation import models
from gnomon import samples
from gnomon.core.sampling import is_sampled
from gnomon.core.stats import OUTCOMES
from tests.end_to_end.conftest import running
from tests.waiting import until

REQUESTS = 60
CONTENTS = {
    "fine": lambda row: samples.challenger_paths()[samples.BOOSTED].read_bytes(),
    "erring": models.erring,
    "crashing": models.crashing,
    "hanging": models.hanging,
}


@pytest.fixture(scope="module")
def rows():
    return samples.held_out()[0][:6]


@pytest.fixture(scope="module")
def champion(shared_server):
    return shared_server.client().upload_model("champion", samples.champion_path())


@pytest.fixture(scope="module")
def steady(shared_server):
    path = samples.challenger_paths()[samples.FOREST]
    return shared_server.client().upload_model("steady", path)


@pytest.fixture
def two_fronts(tmp_path):
    yield from running(tmp_path / "home", "--fronts", "2")


@pytest.fixture
def shadowed(shared_server, champion, steady, rows, tmp_path):
    """Deploy the champion beside `steady` and a challenger that fails on one row of six."""
    deployed = []

    def deploy(name: str, fault: str, rate: float):
        path = tmp_path / "model.onnx"
        path.write_bytes(CONTENTS[fault](rows[:1]))
        client = shared_server.client()
        pipeline = client.build_pipeline(name)
        faulty = client.upload_model(name, path)
        pipeline.add_shadow_deploy(champion, [steady, faulty], sample={faulty: rate})
        deployed.append(pipeline.deploy())
        return pipeline

    yield deploy
    for pipeline in deployed:
        pipeline.undeploy()


def ask(server, pipeline, rows, ids) -> None:
    url = urlsplit(pipeline.url())
    with ExitStack() as closing:
        # All of them are there before the first one asks, so that every front has its share
        connections = [HTTPConnection(url.hostname, url.port, timeout=20) for _ in range(16)]
        for connection in connections:
            closing.callback(connection.close)
            connection.connect()
        for number, request_id in enumerate(ids):
            connection = connections[number % len(connections)]
            headers = {
                "Authorization": f"Bearer {server.token}",
                "Content-Type": "application/json",
                "X-Gnomon-Request-Id": request_id,
                "X-Gnomon-Timeout-Ms": "1000",  # a challenger then has five seconds
            }
            body = json.dumps({"tensor": [rows[number % len(rows)].tolist()]})
            connection.request("POST", url.path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, said


def told(pipeline) -> dict[str, dict]:
    """Return what `status()` says of each model."""
    [engine] = pipeline.status()["engines"]
    return {model["label"]: model for model in engine["model_statuses"]["models"]}


def is_over(pipeline) -> bool:
    """Return whether nothing is pending; and see that at every moment the sum is right."""
    models = told(pipeline)
    for model in models.values():
        assert model["sampled"] == sum(model[outcome] for outcome in OUTCOMES)
    return not any(model["pending"] for model in models.values())


def logged(pipeline, label: str) -> dict[str, str]:
    """Return the status of each request that the log has of a model."""
    entries = [entry for entry in pipeline.logs(limit=1_000) if entry.label == label]
    found = {entry.request_id: entry.status for entry in entries}
    assert len(found) == len(entries), "each request once"
    return found


def scraped(server, pipeline, label: str) -> tuple[int, dict[str, int]]:
    """Return what Prometheus is told: a model's requests, and how many ended how."""
    sampled, ended = 0, {}
    for family in text_string_to_metric_families(server.get("/v1/metrics").data.decode()):
        for name, labels, value, *_ in family.samples:
            if (labels.get("pipeline"), labels.get("label")) != (pipeline.name(), label):
                continue
            if name == "gnomon_sampled_total":
                sampled += int(value)
            elif name == "gnomon_outcomes_total":
                ended[labels["outcome"]] = ended.get(labels["outcome"], 0) + int(value)
            elif name == "gnomon_pending":
                ended["pending"] = ended.get("pending", 0) + int(value)
    return sampled, ended


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("fault", CONTENTS)
def test_the_sum_is_right_beside_a_challenger_that_is(shared_server, shadowed, rows, fault, rate):
    label = f"{fault}-{rate * 100:.0f}"
    pipeline = shadowed(label, fault, rate)
    ids = [f"{label}.{number}" for number in range(REQUESTS)]
    seen = {request_id for request_id in ids if is_sampled(request_id, label, rate)}
    assert rate == 1.0 or 10 < len(seen) < 50

    ask(shared_server, pipeline, rows, ids)
    until(lambda: is_over(pipeline), within_s=20.0)

    # Each model was sampled for the requests that its label says, and for no other
    found = told(pipeline)
    assert found[label]["sampled"] == len(seen)
    assert found["champion"]["ok"] == found["steady"]["ok"] == REQUESTS
    # the log has these very requests, with the outcomes that were counted
    statuses = until(lambda: (s := logged(pipeline, label)) and len(s) == len(seen) and s)
    assert set(statuses) == seen
    counts = {outcome: found[label][outcome] for outcome in OUTCOMES}
    assert Counter(statuses.values()) == Counter(counts)
    # Prometheus is told the same
    assert scraped(shared_server, pipeline, label) == (len(seen), counts)
    # and the fault was one
    assert (fault == "fine") == (counts["ok"] == len(seen))
    if fault == "hanging":
        assert counts["timeout"] > 0
    assert found[label]["breaker"] in ("closed", "half_open", "open")
    assert not counts["ok"] or found[label]["p50_ms"] <= found[label]["p99_ms"]


def test_what_is_switched_off_is_sampled_for_nothing_and_goes_on_from_there(
    shared_server, shadowed, rows
):
    label = "switched"
    pipeline = shadowed(label, "fine", 0.5)

    def sampled_of(name: str, rate: float) -> set[str]:
        ids = [f"{name}.{number}" for number in range(20)]
        ask(shared_server, pipeline, rows, ids)
        return {request_id for request_id in ids if is_sampled(request_id, label, rate)}

    before = sampled_of("before", 0.5)
    pipeline.switch_off(label)
    sampled_of("off", 0.0)
    until(lambda: is_over(pipeline))
    assert told(pipeline)[label]["sampled"] == len(before)
    pipeline.switch_on(label)
    after = sampled_of("after", 0.5)
    pipeline.change_shadow(sample=1.0)
    every = sampled_of("every", 1.0)
    until(lambda: is_over(pipeline))

    assert told(pipeline)[label]["ok"] == len(before | after | every)
    assert told(pipeline)["steady"]["ok"] == told(pipeline)["champion"]["ok"] == 80
    statuses = until(
        lambda: (s := logged(pipeline, label)) and len(s) == len(before | after | every) and s
    )
    assert set(statuses) == before | after | every
    answer = shared_server.post(
        pipeline.url(),
        {"tensor": [rows[0].tolist()]},
        X_Gnomon_Shadow_Wait_Ms="5000",
    )
    assert set(json.loads(answer.data)[0]["challengers"]) == {"steady", label}
    pipeline.switch_off(label)
    answer = shared_server.post(
        pipeline.url(),
        {"tensor": [rows[0].tolist()]},
        X_Gnomon_Shadow_Wait_Ms="5000",
    )
    assert set(json.loads(answer.data)[0]["challengers"]) == {"steady"}


def test_what_two_fronts_count_is_added_up_and_one_that_is_gone_is_said(two_fronts, rows):
    client = two_fronts.client()
    champion = client.upload_model("champion", samples.champion_path())
    rival = client.upload_model("rival", samples.challenger_paths()[samples.BOOSTED])
    pipeline = client.build_pipeline("two").add_shadow_deploy(champion, [rival], sample=0.5)
    pipeline.deploy()
    ids = [f"two.{number}" for number in range(REQUESTS)]
    seen = {request_id for request_id in ids if is_sampled(request_id, "rival", 0.5)}

    ask(two_fronts, pipeline, rows, ids)  # a connection each, so both fronts have some
    until(lambda: is_over(pipeline))

    counts = [front["requests"] for front in pipeline.status()["engine_lbs"]]
    assert (len(counts), sum(counts)) == (2, REQUESTS)
    assert min(counts) > 0
    assert told(pipeline)["rival"]["ok"] == len(seen)
    assert scraped(two_fronts, pipeline, "rival")[0] == len(seen)

    # When one front hangs, then it is named, and what the other one counted is told
    stopped = two_fronts.pids()["front-1"]
    os.kill(stopped, signal.SIGSTOP)
    try:
        status = pipeline.status()
        assert [front["status"] for front in status["engine_lbs"]] == ["Running", "Error"]
        assert "front-1 does not answer: what it counted is missing here." in status["details"]
        assert told(pipeline)["champion"]["sampled"] == counts[0]
        metrics = two_fronts.get("/v1/metrics").data.decode()
        assert 'gnomon_front_up{front="front-1"} 0' in metrics
        assert 'gnomon_front_up{front="front-0"} 1' in metrics
    finally:
        os.kill(stopped, signal.SIGCONT)
    until(lambda: told(pipeline)["champion"]["sampled"] == REQUESTS)


def test_what_a_front_died_with_is_lost_and_is_counted_so(two_fronts, rows, tmp_path):
    client = two_fronts.client()
    path = tmp_path / "model.onnx"
    path.write_bytes(models.hanging(rows[:1]))
    champion = client.upload_model("champion", samples.champion_path())
    hanging = client.upload_model("hanging", path)
    pipeline = client.build_pipeline("lost").add_shadow_deploy(champion, [hanging]).deploy()
    ids = [f"lost.{number}" for number in range(12)]
    ask(two_fronts, pipeline, rows, ids)
    until(lambda: len(logged(pipeline, "champion")) == len(ids))
    before = until(lambda: (t := told(pipeline)["hanging"])["pending"] and t)

    fronts = [two_fronts.pids()[name] for name in ("front-0", "front-1")]
    for pid in fronts:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not set(fronts) & set(two_fronts.pids().values()))

    until(lambda: told(pipeline)["hanging"]["sampled"] == len(ids))  # both are back
    assert is_over(pipeline)
    found = told(pipeline)["hanging"]
    assert found["lost"] >= before["pending"] > 0
    counts = {outcome: found[outcome] for outcome in OUTCOMES}
    statuses = until(lambda: (s := logged(pipeline, "hanging")) and len(s) == len(ids) and s)
    assert Counter(statuses.values()) == Counter(counts)
    assert scraped(two_fronts, pipeline, "hanging") == (len(ids), counts)
