import json

import pytest

from gnomon.core.errors import Invalid, LimitReached
from gnomon.core.pipeline import Definition
from gnomon.core.plan import check_steps
from gnomon.core.steps import (
    Audit,
    KeySplit,
    ModelRef,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Validations,
    labels,
)


def ref(name: str, ordinal: int = 1, version_id: int | None = None) -> ModelRef:
    return ModelRef(
        version_id=version_id if version_id is not None else hash((name, ordinal)),
        name=name,
        ordinal=ordinal,
        uuid=f"{name}-{ordinal}",
        sha256="0" * 64,
    )


def test_a_challenger_is_known_by_its_models_name():
    assert labels(ref("lstm"), [ref("xgb"), ref("rf")]) == ("xgb", "rf")


def test_a_retrained_champion_gets_its_version_into_the_label():
    assert labels(ref("lstm", 1), [ref("lstm", 2), ref("rf")]) == ("lstm_v2", "rf")


def test_two_versions_of_one_challenger_can_be_told_apart():
    assert labels(ref("lstm"), [ref("rf", 1), ref("rf", 2)]) == ("rf_v1", "rf_v2")


def test_a_definition_survives_being_stored():
    definition = Definition(
        steps=(
            ModelStep(
                champion=ref("a"),
                challengers=(ref("b"),),
                mode="joined",
                shadow_wait_ms=7,
                sample=(0.25,),
            ),
        )
    )
    assert Definition.from_json(definition.to_json()) == definition
    chain = Definition(
        steps=(
            ModelStep(champion=ref("a")),
            MultiModelStep(members=(ref("b"), ref("c"))),
            Select(index=1),
            Audit(start=1),
            Audit(start=0, end=2),
            RandomSplit(weights=(2.0, 1.0), options=(ref("d"), ref("e")), hash_key="customer"),
            KeySplit(meta_key="region", default=ref("f"), routes={"eu": ref("g")}),
            Validations(expressions={"high": {"greater": [{"column": "out.y"}, {"value": 1}]}}),
        )
    )
    for stored in (Definition(steps=(ModelStep(champion=ref("a")),)), chain):
        assert Definition.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    assert Definition.from_json({}) == Definition()


def test_what_cannot_be_deployed_is_refused_with_what_to_do():
    with pytest.raises(Invalid, match="no steps"):
        check_steps([])
    check_steps([ModelStep(champion=ref("a")), ModelStep(champion=ref("b"))])
    with pytest.raises(LimitReached, match="21 steps; at most 20"):
        check_steps([ModelStep(champion=ref("a"))] * 21)
    with pytest.raises(Invalid, match=r"a@1 was given 2 times"):
        check_steps([ModelStep(champion=ref("a"), challengers=(ref("a"),))])
    with pytest.raises(LimitReached, match="9 challengers"):
        check_steps(
            [ModelStep(champion=ref("a"), challengers=tuple(ref(f"c{i}") for i in range(9)))]
        )
    check_steps([ModelStep(champion=ref("a", 1), challengers=(ref("a", 2),))])


def test_an_unknown_step_is_refused():
    with pytest.raises(Invalid, match=r"ModelInference, ShadowDeploy, .*, got \['Average'\]"):
        Definition.from_json({"steps": [{"Average": {}}]})


def test_every_challenger_sees_every_request_unless_a_sample_is_given():
    step = ModelStep(champion=ref("a"), challengers=(ref("b"), ref("c")))
    assert step.sample == (1.0, 1.0)
    stored = Definition(steps=(step,)).to_json()
    del stored["steps"][0]["ShadowDeploy"]["sample"]  # as it was before there were samples
    assert Definition.from_json(stored) == Definition(steps=(step,))


def test_a_sample_has_a_rate_for_each_challenger():
    step = ModelStep(champion=ref("a"), challengers=(ref("b"), ref("c")), sample=(0.5,))
    with pytest.raises(Invalid, match="sample has 1 rates for 2 challengers"):
        check_steps([step])
    with pytest.raises(Invalid, match=r"from 0 to 1, got 1\.5: 0\.1 is a tenth"):
        check_steps([ModelStep(champion=ref("a"), challengers=(ref("b"),), sample=(1.5,))])
