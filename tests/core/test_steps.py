"""Steps as JSON, and steps with other references."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.core.errors import Invalid
from gnomon.core.pipeline import Definition
from gnomon.core.steps import ModelRef, ModelStep, Step, step_from_json, with_refs
from tests.core.step_strategies import STEPS
from tests.core.test_pipeline import ref

EXAMPLES = settings(max_examples=200, deadline=None)


@EXAMPLES
@given(steps=st.lists(STEPS, max_size=4))
def test_any_steps_come_back_from_json_as_they_were(steps: list[Step]):
    definition = Definition(steps=tuple(steps))
    assert Definition.from_json(json.loads(json.dumps(definition.to_json()))) == definition


@EXAMPLES
@given(step=STEPS)
def test_every_reference_of_any_step_can_be_another_and_nothing_else_changes(step: Step):
    def another(model: ModelRef) -> ModelRef:
        return replace(model, sha256="f" * 64)

    changed = with_refs(step, another)
    assert changed.models() == tuple(map(another, step.models()))
    back = {model.version_id: model for model in step.models()}
    assert with_refs(changed, lambda model: back[model.version_id]) == step


def test_definitions_of_before_there_were_other_steps_are_read_as_they_were_meant():
    one, other = (
        {
            "version_id": number,
            "name": name,
            "ordinal": 1,
            "version": f"{name}-1",
            "sha": "0" * 64,
        }
        for number, name in ((1, "champ"), (2, "rival"))
    )
    shadow = {"champion": one, "challengers": [other], "mode": "joined", "shadow_wait_ms": 5}
    stored = {
        "steps": [
            {"ModelInference": {"model": {**one, "batch_config": "single"}}},
            {"ShadowDeploy": shadow},
        ]
    }

    alone, shadowed = Definition.from_json(stored).steps

    champ = ref("champ", version_id=1)
    assert alone == ModelStep(champion=replace(champ, single=True))
    assert shadowed == ModelStep(
        champion=champ,
        challengers=(ref("rival", version_id=2),),
        mode="joined",
        shadow_wait_ms=5,
        sample=(1.0,),
    )


def test_an_unknown_step_is_refused_with_those_that_are_known():
    with pytest.raises(Invalid, match=r"ModelInference, ShadowDeploy, .*AuditResults, got \['X'\]"):
        step_from_json({"X": {}})
