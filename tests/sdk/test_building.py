"""The steps of a pipeline: adding, replacing and removing them, and what is refused."""

from __future__ import annotations

import json

import pytest

import gnomon
from gnomon.core.errors import DeploymentError, Invalid, LimitReached


def labels(pipeline: gnomon.Pipeline) -> list[str]:
    [step] = pipeline.steps()
    return [step.champion.name, *step.labels()]


def test_replacing_a_shadow_step_replaces_all_of_it(shadow):
    pipeline = shadow.pipeline

    assert pipeline.replace_with_model_step(0, shadow.rf) is pipeline
    assert labels(pipeline) == ["ccfraud-rf"]
    assert "ccfraud-xgb" not in pipeline.definition()
    assert [config["model_name"] for config in pipeline.model_configs()] == ["ccfraud-rf"]

    pipeline.replace_with_shadow_deploy(0, shadow.xgb, shadow.rf, "joined", 0.25, 70)
    assert labels(pipeline) == ["ccfraud-xgb", "ccfraud-rf"]
    [step] = pipeline.steps()
    assert (step.mode, step.sample, step.shadow_wait_ms) == ("joined", (0.25,), 70)


def test_removing_a_shadow_step_removes_all_of_it(shadow):
    pipeline = shadow.pipeline.remove_step(0)

    assert pipeline.steps() == []
    assert pipeline.model_configs() == []
    assert json.loads(pipeline.definition()) == []
    with pytest.raises(Invalid, match="no steps"):
        pipeline.deploy()
    assert labels(pipeline.add_model_step(shadow.rf)) == ["ccfraud-rf"]


@pytest.mark.parametrize("index", [1, 2, -1, True, "0", None])
def test_a_step_that_is_not_there_is_an_index_error(shadow, index):
    pipeline, before = shadow.pipeline, shadow.pipeline.steps()

    for change in (
        lambda: pipeline.replace_with_model_step(index, shadow.rf),
        lambda: pipeline.replace_with_shadow_deploy(index, shadow.rf, [shadow.xgb]),
        lambda: pipeline.remove_step(index),
    ):
        with pytest.raises(IndexError, match=r"no step .*: step 0 is the last\. A champion with"):
            change()
    assert pipeline.steps() == before
    with pytest.raises(IndexError, match="no step 0: it has no steps"):
        pipeline.clear().remove_step(0)


def test_steps_are_added_one_after_the_other(client, shadow):
    pipeline = client.build_pipeline("all").add_model_step(shadow.champion)

    pipeline.add_shadow_deploy(shadow.champion, [shadow.rf]).add_multi_model_step(
        [shadow.xgb, shadow.rf]
    ).add_select(1).add_audit("1:").add_random_split(
        [(2, shadow.xgb), (1, shadow.rf)], hash_key="customer"
    ).add_key_split(shadow.champion, "region", {"eu": shadow.rf, 7: shadow.xgb}).add_validations(
        high="out.dense_1[1] > 0.9", self="in.tensor[1] > 1"
    ).add_validation("low", "out.dense_1[1] < 0.1")

    kinds = [next(iter(step)) for step in json.loads(pipeline.definition())]
    assert kinds == [
        *("ModelInference", "ShadowDeploy", "MultiModel", "Nth", "AuditResults", "RandomSplit"),
        *("MetaValueSplit", "Check", "Check"),
    ]
    split, key_split, check, _ = pipeline.steps()[5:]
    assert (split.weights, split.hash_key) == ((2.0, 1.0), "customer")
    assert (key_split.meta_key, list(key_split.routes)) == ("region", ["eu", "7"])
    assert list(check.expressions) == ["high", "self"]
    assert len(pipeline.model_configs()) == 10
    assert labels_of_models(pipeline) == labels_of_models(pipeline.deploy())


def labels_of_models(pipeline: gnomon.Pipeline) -> list[str]:
    return [str(ref) for step in pipeline.steps() for ref in step.models()]


def test_after_removing_a_step_exactly_its_models_are_gone(client, shadow):
    pipeline = client.build_pipeline("removed").add_shadow_deploy(shadow.champion, [shadow.rf])
    pipeline.add_audit("1:").add_random_split([(1, shadow.xgb), (1, shadow.rf)])
    pipeline.add_model_step(shadow.xgb)

    def configured() -> list[str]:
        return [config["model_name"] for config in pipeline.model_configs()]

    assert configured() == [
        *("ccfraud-lstm", "ccfraud-rf"), *("ccfraud-xgb", "ccfraud-rf"), "ccfraud-xgb"
    ]  # fmt: skip
    pipeline.remove_step(3)
    assert configured() == ["ccfraud-lstm", "ccfraud-rf", "ccfraud-xgb", "ccfraud-rf"]
    pipeline.remove_step(0)
    assert configured() == ["ccfraud-xgb", "ccfraud-rf"]


def test_a_step_with_nothing_before_it_to_work_on_is_refused_when_it_is_added(client, shadow):
    pipeline = client.build_pipeline("lonely")

    for add in (
        lambda: pipeline.add_validations(high="out.dense_1[1] > 0.9"),
        lambda: pipeline.add_audit("1:"),
        lambda: pipeline.add_select(0),
    ):
        with pytest.raises(Invalid, match="no step with a model"):
            add()
    pipeline.add_model_step(shadow.rf)
    with pytest.raises(Invalid, match="picks one of a step of several models"):
        pipeline.add_select(0)
    pipeline.add_multi_model_step([shadow.rf, shadow.xgb])
    with pytest.raises(Invalid, match="selects model 2; step 1 has the models 0 to 1"):
        pipeline.add_select(2)
    pipeline.add_validations(high="out.dense_1[1] > 0.9")
    with pytest.raises(Invalid, match="2 validations named 'high'"):
        pipeline.add_validation("high", "out.dense_1[1] > 0.8")

    assert len(pipeline.steps()) == 3


def test_steps_are_replaced_and_removed_in_any_order(client, shadow):
    """What is left in between is judged by deploy, and may be what cannot be deployed."""
    pipeline = client.build_pipeline("order").add_multi_model_step(
        [shadow.champion, shadow.rf, shadow.xgb]
    )
    pipeline.add_select(2).add_validations(high="out.dense_1[1] > 0.9")

    pipeline.replace_with_multi_model_step(0, [shadow.rf, shadow.xgb])
    with pytest.raises(Invalid, match="selects model 2; step 0 has the models 0 to 1"):
        pipeline.deploy()
    pipeline.replace_with_select(1, 1).deploy()

    pipeline.remove_step(0)
    with pytest.raises(Invalid, match=r"none before it|no step with a model"):
        pipeline.deploy()
    pipeline.replace_with_model_step(0, shadow.rf).deploy()

    pipeline.remove_step(0).add_model_step(shadow.xgb)
    with pytest.raises(Invalid, match="none before it"):
        pipeline.deploy()
    pipeline.remove_step(0).deploy()
    assert labels(pipeline) == ["ccfraud-xgb"]


def test_every_kind_of_step_replaces_another(client, shadow):
    pipeline = client.build_pipeline("replaced").add_model_step(shadow.champion)
    pipeline.add_model_step(shadow.rf)

    pipeline.replace_with_random_split(1, [(1, shadow.rf), (3, shadow.xgb)], hash_key="id")
    assert pipeline.steps()[1].hash_key == "id"
    pipeline.replace_with_key_split(1, shadow.rf, "region", {"eu": shadow.xgb})
    assert pipeline.steps()[1].meta_key == "region"
    pipeline.replace_with_validations(1, index="out.dense_1[1] > 0.9")
    assert list(pipeline.steps()[1].expressions) == ["index"]
    pipeline.replace_with_validation(1, "low", "out.dense_1[1] < 0.1")
    assert list(pipeline.steps()[1].expressions) == ["low"]
    pipeline.replace_with_audit(1, "1:2")
    assert (pipeline.steps()[1].start, pipeline.steps()[1].end) == (1, 2)
    pipeline.replace_with_select(1, 1)
    assert pipeline.steps()[1].index == 1
    assert len(pipeline.steps()) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda p, m: p.add_multi_model_step([m]), "1 models were given; such a step has two"),
        (lambda p, m: p.add_multi_model_step(m), r"models must be a list of models, as \[model\]"),
        (lambda p, m: p.add_random_split([(1, m)]), "1 models were given"),
        (lambda p, m: p.add_random_split([(m, 1), (m, 2)]), r"pairs .* got \(Model, int\)"),
        (lambda p, m: p.add_random_split([(1, m, 2)]), r"pairs .* got \(int, Model, int\)"),
        (lambda p, m: p.add_random_split(m), "pairs .* got Model"),
        (lambda p, m: p.add_random_split([(1, m), (1, m)]), "was given 2 times"),
        (lambda p, m: p.add_random_split([(1, m), (1, m)], hash_key=7), "a column, got '7'"),
        (lambda p, m: p.add_key_split(m, "", {"a": m}), "meta_key must be the name of a column"),
        (lambda p, m: p.add_key_split(m, "k", {}), "mapping of values to models"),
        (lambda p, m: p.add_key_split(m, "k", [m]), r"mapping of values .* got \(Model\)"),
        (lambda p, m: p.add_key_split(m, "k", {None: m}), "text, a number or a bool, got NoneType"),
        (lambda p, m: p.add_validations(), "No validation was given"),
        (lambda p, m: p.add_validations(count="out.y > 1"), "'count'"),
        (lambda p, m: p.add_validation("a b", "out.y > 1"), "'a b'"),
        (lambda p, m: p.add_validations(high=lambda row: row), "got function"),
        (lambda p, m: p.add_select(-1), "index of a model, from 0, got '-1'"),
        (lambda p, m: p.add_select(True), "got 'True'"),
        (lambda p, m: p.add_audit("1"), 'takes "start:end".* got \'1\''),
        (lambda p, m: p.add_audit("2:1"), "got '2:1'"),
        (lambda p, m: p.add_audit(None), "got 'None'"),
    ],
)  # fmt: skip
def test_a_step_that_is_wrong_in_itself_is_refused_with_what_to_give(shadow, wrong, message):
    before = shadow.pipeline.steps()

    with pytest.raises(Invalid, match=message):
        wrong(shadow.pipeline, shadow.rf)

    assert shadow.pipeline.steps() == before


@pytest.mark.parametrize("weights", [(-1, 1), (0, 0), (float("nan"), 1), (float("inf"), 1)])
def test_weights_that_are_no_shares_are_refused(shadow, weights):
    weighted = list(zip(weights, (shadow.rf, shadow.xgb), strict=True))

    with pytest.raises(Invalid, match="weight must be"):
        shadow.pipeline.add_random_split(weighted)
    with pytest.raises(Invalid, match="weight must be"):
        shadow.pipeline.replace_with_random_split(0, weighted)


def test_a_cell_that_adds_validations_to_what_runs_can_run_again(shadow):
    for _ in range(2):
        shadow.pipeline.add_validations(high="out.dense_1[1] > 0.9").add_audit("1:").deploy()
        assert len(shadow.pipeline.steps()) == 3
    fetched = shadow.client.get_pipeline("cc-shadow").add_validations(high="out.dense_1[1] > 0.9")
    assert len(fetched.steps()) == 3
    with pytest.raises(Invalid, match="2 validations named 'high'"):
        fetched.add_validations(high="out.dense_1[1] > 0.8")

    # What is added behind what was added here is added to it
    fetched.add_validations(low="out.dense_1[1] < 0.1").add_model_step(shadow.rf)
    assert len(fetched.steps()) == 5


def test_a_step_is_added_to_a_fetched_pipeline_that_keeps_its_steps(shadow):
    fetched = shadow.client.get_pipeline("cc-shadow")

    assert len(fetched.keep_steps().add_model_step(shadow.rf).deploy().steps()) == 2
    assert len(shadow.client.get_pipeline("cc-shadow").add_model_step(shadow.rf).steps()) == 1


def test_a_step_that_cannot_be_deployed_is_refused_when_it_is_put_and_changes_nothing(shadow):
    pipeline, before = shadow.pipeline, shadow.pipeline.steps()
    many = [shadow.model("ccfraud-rf", float(factor)) for factor in range(9)]

    with pytest.raises(LimitReached, match="9 challengers were given"):
        pipeline.replace_with_shadow_deploy(0, shadow.champion, many)
    with pytest.raises(Invalid, match="ccfraud-xgb@1 was given 2 times"):
        pipeline.replace_with_shadow_deploy(0, shadow.xgb, [shadow.xgb])
    with pytest.raises(TypeError, match="got NoneType"):
        pipeline.replace_with_model_step(0, None)
    with pytest.raises(LimitReached, match="9 challengers were given"):
        pipeline.add_shadow_deploy(shadow.champion, many)

    assert pipeline.steps() == before


@pytest.mark.parametrize("method", ["add_alert", "replace_with_alert"])
def test_alerts_are_refused_at_the_call(shadow, method):
    before = shadow.pipeline.steps()

    with pytest.raises(Invalid, match="An alert: this version of gnomon has no such step"):
        getattr(shadow.pipeline, method)(0, "alert", shadow.rf)

    assert shadow.pipeline.steps() == before


def test_a_cell_that_builds_and_deploys_can_run_again_after_the_deploy_failed(server, shadow):
    server.failing["ccfraud-rf"] = "It is broken."
    pipeline = shadow.client.build_pipeline("again")

    for _ in range(2):
        pipeline.add_model_step(shadow.rf)
        with pytest.raises(DeploymentError, match="It is broken"):
            pipeline.deploy()

    assert labels(pipeline) == ["ccfraud-rf"]
