"""Challengers changed while they run, on a real server, through restarts of everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from gnomon import samples
from gnomon.core.stats import OUTCOMES
from tests.waiting import until

SMOKE = samples.smoke_test_path()


@pytest.fixture
def pipeline(server):
    client = server.client()
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [
        client.upload_model(name, path) for name, path in samples.challenger_paths().items()
    ]
    built = client.build_pipeline("fraud")
    return built.add_shadow_deploy(champion, challengers, sample=0.5).deploy()


def hosts(server) -> dict[str, int | None]:
    labels = (samples.CHAMPION, *samples.challenger_paths())
    return {label: pid for label, pid in server.pids().items() if label in labels}


def published(server) -> dict:
    [route] = json.loads((server.home / "run" / "routing.json").read_text())["routes"]
    return {name: route[name] for name in ("mode", "shadow_wait_ms", "sampling")}


def asked(server, pipeline) -> dict:
    """Return the answer to a request that says nothing of challengers."""
    answer = server.post(pipeline.url(), SMOKE.read_bytes())
    assert answer.status == 200, answer.data
    return answer.json()[0]


def test_a_change_restarts_no_host_and_is_what_fronts_do_at_once(server, pipeline):
    before = hosts(server)
    version = pipeline.status()["engines"][0]["pipeline_statuses"]["pipelines"][0]["version"]
    assert published(server)["sampling"] == [0.5, 0.5]

    pipeline.change_shadow(mode="joined", sample=1.0, shadow_wait_ms=5_000)

    statuses = {
        label: told["status"] for label, told in asked(server, pipeline)["challengers"].items()
    }
    assert statuses == dict.fromkeys(samples.challenger_paths(), "ok"), "it waits for them now"
    pipeline.change_shadow(mode="async")
    pipeline.switch_off(samples.FOREST)
    assert published(server) == {
        "mode": "async",
        "shadow_wait_ms": 5_000,
        "sampling": [
            0.0 if label == samples.FOREST else 1.0 for label in samples.challenger_paths()
        ],
    }
    assert hosts(server) == before
    status = pipeline.status()
    assert status["status"] == "Running"
    assert status["engines"][0]["pipeline_statuses"]["pipelines"][0]["version"] == version


def test_a_change_survives_kills_and_a_restart_of_everything(server, pipeline):
    pipeline.change_shadow(mode="joined", sample={samples.BOOSTED: 0.25}, shadow_wait_ms=77)
    pipeline.switch_off(samples.FOREST)
    wanted = published(server)
    before = hosts(server)

    for process in ("front", "control"):
        pid = server.pids()[process]
        os.kill(pid, signal.SIGKILL)
        until(lambda name=process, old=pid: server.pids()[name] not in (None, old))
    until(lambda: server.client().get_pipeline("fraud").status()["status"] == "Running")
    assert (published(server), hosts(server)) == (wanted, before)

    server.kill()
    server.start()
    again = server.client().get_pipeline("fraud")
    until(lambda: again.status()["status"] == "Running")
    assert published(server) == wanted
    shadow = again.status()["engines"][0]["shadow"]
    assert (shadow["mode"], shadow["shadow_wait_ms"], shadow["in_force"]) == ("joined", 77, True)
    assert len(again.shadow_changes()) == 2

    # A redeploy begins with what its own steps say
    again.deploy()
    assert published(server) == {"mode": "async", "shadow_wait_ms": 1_000, "sampling": [0.5, 0.5]}


def test_a_change_made_while_the_front_is_stopped_is_kept_and_comes_later(server, pipeline):
    front = server.pids()["front"]
    os.kill(front, signal.SIGSTOP)
    try:
        with pytest.warns(UserWarning, match="will do so, but does not yet"):
            pipeline.switch_off(samples.FOREST)
        status = pipeline.status()
        assert status["status"] == "Error"
        assert "front does not answer: what it counted" in status["details"][0]
    finally:
        os.kill(front, signal.SIGCONT)
    until(lambda: pipeline.status()["engines"][0]["shadow"]["in_force"])
    assert pipeline.status()["status"] == "Running"


def test_the_command_line_shows_and_changes_it_and_what_is_counted(server, pipeline):
    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gnomon", *arguments, "--home", str(server.home)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = command("shadow", "fraud", "--sample", "1", "--mode", "joined", "--wait-ms", "5000")
    assert "joined, answers wait up to 5000 ms" in shown
    for _ in range(3):
        asked(server, pipeline)
    document = json.loads(command("top", "fraud", "--json", "--interval", "0.1"))
    for model in document["deployments"][0]["models"]:
        assert model["sampled"] == model["ok"] == 3
        assert model["sampled"] == sum(model[outcome] for outcome in OUTCOMES)

    metrics = server.get("/v1/metrics").data.decode()
    champion = next(
        line for line in metrics.splitlines() if line.startswith("gnomon_sampled_total")
    )
    assert 'pipeline="fraud"' in champion
    assert champion.endswith(" 3")
