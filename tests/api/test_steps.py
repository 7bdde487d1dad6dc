"""Definitions of every kind of step over HTTP: what is taken, kept and given back; what is not."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from gnomon.core.model import Signature
from gnomon.core.tensors import TensorSpec
from tests.api.conftest import Api, ref
from tests.api.test_problems import check

DEPLOYMENT = "/v1/workspaces/1/pipelines/p/deployment"
HIGH = {"greater": [{"element": [{"column": "out.x"}], "at": 0}, {"value": 0.5}]}
# Takes what it gives, so that it can stand anywhere.
SAME = Signature(
    inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 1)),),
    outputs=(TensorSpec(name="x", dtype="float32", shape=(None, 1)),),
)


def add(api: Api, name: str, signature: Signature = SAME) -> dict[str, Any]:
    """Upload a model and return its reference."""
    content = f"the file of {name}".encode()
    api.backend.declares(sha256(content).hexdigest(), signature)
    return ref(api.upload(name, content))


@pytest.fixture
def models(api: Api) -> list[dict[str, Any]]:
    assert api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"}).status == 201
    return [add(api, name) for name in ("a", "b", "c")]


def put(api: Api, *steps: Any, **more: Any):
    return api.call("PUT", DEPLOYMENT, {"definition": {"steps": list(steps), **more}})


def alone(model: dict[str, Any]) -> dict[str, Any]:
    return {"ModelInference": {"model": model}}


def test_every_kind_of_step_is_deployed_and_given_back_as_it_was_sent(api, models):
    a, b, c = models
    shadow = {
        "champion": a,
        "challengers": [b],
        "mode": "joined",
        "shadow_wait_ms": 20,
        "sample": [0.5],
    }
    definition = {
        "steps": [
            {"ShadowDeploy": shadow},
            {"AuditResults": {"from": 1, "to": None}},
            {"Check": {"expressions": {"high": HIGH}}},
            {"MultiModel": {"models": [a, b, c]}},
            {"Nth": {"index": 2}},
            {
                "RandomSplit": {
                    "hash_key": "customer",
                    "weights": [{"model": a, "weight": 2.5}, {"model": b, "weight": 1.0}],
                }
            },
            {"MetaValueSplit": {"split_key": "region", "control": a, "routes": {"eu": c}}},
            alone(b),
        ]
    }
    answer = api.call("PUT", DEPLOYMENT, {"definition": definition})
    assert answer.status == 202, answer.body
    assert api.settled("p")["state"] == "running"
    assert api.call("GET", "/v1/workspaces/1/pipelines/p").json()["definition"] == definition
    steps = [model["step"] for model in api.settled("p")["models"]]
    assert steps == [0, 0, 3, 3, 3, 5, 5, 6, 6, 7]


def test_what_may_be_left_out_has_its_usual_value(api, models):
    a, b, c = models
    weights = [{"model": a, "weight": 1}, {"model": b, "weight": 1}]
    answer = put(
        api, alone(c), {"AuditResults": {"from": 0}}, {"RandomSplit": {"weights": weights}}
    )
    assert answer.status == 202, answer.body
    found = api.call("GET", "/v1/workspaces/1/pipelines/p").json()["definition"]["steps"]
    assert found[1] == {"AuditResults": {"from": 0, "to": None}}
    assert found[2]["RandomSplit"]["hash_key"] is None


def bad_steps(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    def split(**changes: Any) -> dict[str, Any]:
        weights = [{"model": a, "weight": 1}, {"model": b, "weight": 1}]
        return {"RandomSplit": {"weights": weights, **changes}}

    def weighted(weight: Any) -> dict[str, Any]:
        return split(weights=[{"model": a, "weight": weight}, {"model": b, "weight": 1}])

    def keyed(**changes: Any) -> dict[str, Any]:
        return {"MetaValueSplit": {"split_key": "k", "control": a, "routes": {"x": b}, **changes}}

    nested: Any = {"value": 1}
    for _ in range(150):
        nested = {"not": [nested]}
    return {
        "no object": ["ModelInference"],
        "null": None,
        "of no kind": {},
        "of a kind that is null": {"ModelInference": None},
        "of two kinds": {**alone(a), "Nth": {"index": 0}},
        "of an unknown kind": {"Average": {}},
        "of one kind and an unknown one": {**alone(a), "Average": {}},
        "a list of models that is none": {"MultiModel": {"models": a}},
        "no model": {"MultiModel": {"models": []}},
        "one model": {"MultiModel": {"models": [a]}},
        "a model twice": {"MultiModel": {"models": [a, a]}},
        "more models than a step may have": {"MultiModel": {"models": [a] * 65}},
        "a weight that is text": weighted("1"),
        "a weight below zero": weighted(-1),
        "a weight that is no number": weighted(None),
        "no weights": split(weights=[]),
        "weights without a sum": split(
            weights=[{"model": a, "weight": 0}, {"model": b, "weight": 0}]
        ),
        "a hash key that is no text": split(hash_key=1),
        "an empty hash key": split(hash_key=""),
        "a hash key without end": split(hash_key="x" * 257),
        "no split key": keyed(split_key=None),
        "no default": keyed(control=None),
        "routes that are a list": keyed(routes=[b]),
        "routes that lead nowhere": keyed(routes={}),
        "a route to no model": keyed(routes={"x": 1}),
        "a value without end": keyed(routes={"x" * 257: b}),
        "more values than can be told apart": keyed(routes={str(n): b for n in range(1_001)}),
        "no expressions": {"Check": {"expressions": {}}},
        "expressions that are text": {"Check": {"expressions": "out.x > 1"}},
        "an expression that is text": {"Check": {"expressions": {"high": "out.x > 1"}}},
        "an operation that there is not": {"Check": {"expressions": {"high": {"eval": [1]}}}},
        "an expression without end": {"Check": {"expressions": {"high": nested}}},
        "a validation named count": {"Check": {"expressions": {"count": HIGH}}},
        "a validation of what nobody gives": {
            "Check": {"expressions": {"high": {"is_null": [{"column": "out.y"}]}}}
        },
        "an index that is text": {"Nth": {"index": "0"}},
        "an index below zero": {"Nth": {"index": -1}},
        "a selection of nothing": {"Nth": {"index": 0}},
        "an audit that begins nowhere": {"AuditResults": {}},
        "an audit of text": {"AuditResults": {"from": "1"}},
    }


def test_what_is_no_step_is_refused_with_where_it_stands(api, models):
    a, b, _ = models
    for name, step in bad_steps(a, b).items():
        answer = put(api, alone(a), step)
        code = "invalid_name" if name == "a validation named count" else "invalid"
        assert check(answer, 422, code)["detail"], name
    assert api.call("GET", "/v1/workspaces/1/pipelines/p").json()["deployment"] is None


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (
            {"Average": {}},
            "body.definition.steps.1: Value error, a step must be one of ModelInference, "
            "ShadowDeploy, MultiModel, RandomSplit, MetaValueSplit, Check, Nth, AuditResults; got "
            "['Average']",
        ),
        (
            {"RandomSplit": {"weights": [{"weight": 1}]}},
            "body.definition.steps.1.RandomSplit.weights.0.model: Field required",
        ),
        (
            {"Nth": {"index": 0}},
            "A selection picks one of a step of several models, and step 1 has none before it.",
        ),
    ],
)
def test_the_message_says_what_and_where(api, models, step, says):
    assert check(put(api, alone(models[0]), step), 422, "invalid")["detail"] == says


def test_more_steps_than_there_may_be_are_refused(api, models):
    answer = put(api, *[alone(models[0])] * 21)
    assert "at most 20 items" in check(answer, 422, "invalid")["detail"]


def test_a_definition_nested_beyond_reason_is_refused(api, models):
    tree: Any = {"value": 1}
    for _ in range(400):
        tree = {"not": [tree]}
    raw = json.dumps(
        {"definition": {"steps": [alone(models[0]), {"Check": {"expressions": {"x": tree}}}]}}
    )
    answer = api.call(
        "PUT", DEPLOYMENT, raw=raw.encode(), headers={"Content-Type": "application/json"}
    )
    check(answer, 422, "invalid")


def test_steps_that_do_not_fit_are_refused_with_both_sides(api, models):
    wide = Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 9)),), outputs=SAME.outputs
    )
    body = check(put(api, alone(models[0]), alone(add(api, "wide", wide))), 422, "invalid")
    assert body["detail"] == (
        "Step 1 cannot follow step 0: wide@1 takes its input 'x' as float32 [?, 9], and a@1 gives "
        "the column 'x' as float32 [?, 1]."
    )
    assert body["details"] == {"step": 1, "model": "wide@1", "before": 0, "given_by": "a@1"}


def test_each_host_of_a_model_is_told(api, models):
    answer = put(api, alone(models[0]), deployment_config={"engine": {"replicas": 3}})
    assert answer.status == 202
    [model] = api.settled("p")["models"]
    assert [host["state"] for host in model["hosts"]] == ["ready"] * 3
    assert set(model["hosts"][0]) == {"name", "state", "reason", "restarts", "pid"}

    refused = put(api, alone(models[0]), deployment_config={"engine": {"replicas": 99}})
    assert "from 0 to 8" in check(refused, 422, "invalid")["detail"]
