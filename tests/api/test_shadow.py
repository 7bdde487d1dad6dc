"""Changing challengers over HTTP."""

from __future__ import annotations

import pytest

from tests.api.conftest import shadow
from tests.api.test_problems import check

PATH = "/v1/workspaces/1/pipelines/p/deployment/shadow"


@pytest.fixture
def pipe(api):
    api.deploy("p", shadow(*(api.upload(name) for name in ("champ", "one", "two"))))
    api.settled("p")
    return api


def test_challengers_are_changed_and_the_deployment_says_so(pipe):
    answer = pipe.call("PATCH", PATH, {"sample": {"one": 0.25}, "on": {"two": False}})
    assert answer.status == 200
    view = answer.json()
    assert [(m["label"], m["sample"], m["on"]) for m in view["models"]] == [
        ("champ", 1.0, True),
        ("one", 0.25, True),
        ("two", 1.0, False),
    ]
    assert view["shadow"]["in_force"]
    assert view["shadow"]["changed_by"] == 1
    assert view == pipe.call("GET", "/v1/workspaces/1/pipelines/p/deployment").json()
    assert pipe.backend.table.routes[0].sampling == (0.25, 0.0)


def test_one_rate_is_for_all_challengers(pipe):
    assert pipe.call("PATCH", PATH, {"sample": 1}).status == 200
    assert pipe.call("PATCH", PATH, {"sample": 0.5}).status == 200
    assert pipe.backend.table.routes[0].sampling == (0.5, 0.5)


def test_changes_are_listed_newest_first(pipe):
    pipe.call("PATCH", PATH, {"mode": "joined", "shadow_wait_ms": 50})
    last = pipe.call("PATCH", PATH, {"on": {"two": False}}).json()
    newest, oldest = pipe.call("GET", f"{PATH}/changes").json()["changes"]
    assert newest == {
        "pipeline_version": last["pipeline_version"],
        "mode": "joined",
        "shadow_wait_ms": 50,
        "sample": {"one": 1.0, "two": 1.0},
        "off": ["two"],
        "changed_at": last["shadow"]["changed_at"],
        "changed_by": 1,
    }
    assert oldest["off"] == []
    assert len(pipe.call("GET", f"{PATH}/changes?limit=1").json()["changes"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mode": "sometimes"},
        {"mode": None},
        {"shadow_wait_ms": -1},
        {"shadow_wait_ms": 60_001},
        {"shadow_wait_ms": "5"},
        {"sample": 1.5},
        {"sample": -0.1},
        {"sample": True},
        {"sample": "0.5"},
        {"sample": [0.5]},
        {"sample": {"one": 2}},
        {"sample": {"nobody": 0.5}},
        {"on": {"champ": False}},
        {"on": {"one": 0}},
        {"on": ["one"]},
        {"samples": 0.5},
        [],
    ],
)
def test_a_change_that_cannot_be_is_invalid(pipe, body):
    check(pipe.call("PATCH", PATH, body), 422, "invalid")
    assert pipe.backend.table.routes[0].sampling == (1.0, 1.0)


def test_what_does_not_run_cannot_be_changed(pipe):
    pipe.call("POST", "/v1/workspaces/1/pipelines", {"name": "resting"})
    resting = PATH.replace("/p/", "/resting/")
    check(pipe.call("PATCH", resting, {"mode": "joined"}), 404, "not_deployed")
    assert pipe.call("GET", f"{resting}/changes").json() == {"changes": []}
    check(pipe.call("PATCH", PATH.replace("/p/", "/x/"), {"mode": "joined"}), 404, "not_found")


def test_a_definition_has_a_rate_for_each_challenger(api):
    versions = [api.upload(name) for name in ("champ", "one", "two")]
    definition = shadow(*versions)
    definition["steps"][0]["ShadowDeploy"]["sample"] = [0.5, 0]
    api.deploy("p", definition)
    assert [m["sample"] for m in api.settled("p")["models"]] == [1.0, 0.5, 0.0]
    assert api.backend.table.routes[0].sampling == (0.5, 0.0)

    path = "/v1/workspaces/1/pipelines/p/deployment"
    for sample in ([0.5], [0.5, 2], [0.5, True], {"one": 0.5}, 0.5):
        definition["steps"][0]["ShadowDeploy"]["sample"] = sample
        check(api.call("PUT", path, {"definition": definition}), 422, "invalid")
