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


def test_a_second_step_is_refused_when_it_is_added_and_changes_nothing(client, shadow):
    pipeline = client.build_pipeline("second").add_model_step(shadow.champion)

    with pytest.raises(Invalid, match=r"2 steps; this version .* replace_with_model_step\(0, mod"):
        pipeline.add_model_step(shadow.rf)
    with pytest.raises(Invalid, match=r"2 steps; .*clear\(\) first"):
        pipeline.add_shadow_deploy(shadow.champion, [shadow.rf])

    assert labels(pipeline) == ["ccfraud-lstm"]
    assert labels(pipeline.clear().add_model_step(shadow.rf)) == ["ccfraud-rf"]


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


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("add_multi_model_step", "several models"),
        ("replace_with_multi_model_step", "several models"),
        ("add_random_split", "random split"),
        ("replace_with_random_split", "random split"),
        ("add_key_split", "key split"),
        ("replace_with_key_split", "key split"),
        ("add_validation", "validation"),
        ("add_validations", "validation"),
        ("replace_with_validations", "validation"),
        ("add_alert", "alert"),
        ("replace_with_alert", "alert"),
        ("add_select", "selection"),
        ("replace_with_select", "selection"),
        ("add_audit", "audit"),
        ("replace_with_audit", "audit"),
    ],
)
def test_a_kind_of_step_that_there_is_not_is_refused_at_the_call(shadow, method, kind):
    before = shadow.pipeline.steps()

    with pytest.raises(Invalid, match=rf"{kind}.*this version of gnomon has no such step"):
        getattr(shadow.pipeline, method)([(1, shadow.rf)], hash_key="x")

    assert shadow.pipeline.steps() == before
    assert method in dir(gnomon.Pipeline)


def test_a_cell_that_builds_and_deploys_can_run_again_after_the_deploy_failed(server, shadow):
    server.failing["ccfraud-rf"] = "It is broken."
    pipeline = shadow.client.build_pipeline("again")

    for _ in range(2):
        pipeline.add_model_step(shadow.rf)
        with pytest.raises(DeploymentError, match="It is broken"):
            pipeline.deploy()

    assert labels(pipeline) == ["ccfraud-rf"]
