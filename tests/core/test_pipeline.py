import pytest

from gnomon.core.errors import Invalid, LimitReached
from gnomon.core.pipeline import Definition, ModelRef, Step, check_steps, labels


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
        steps=(Step(champion=ref("a"), challengers=(ref("b"),), mode="joined", shadow_wait_ms=7),)
    )
    assert Definition.from_json(definition.to_json()) == definition
    alone = Definition(steps=(Step(champion=ref("a")),))
    assert Definition.from_json(alone.to_json()) == alone
    assert Definition.from_json({}) == Definition()


def test_what_cannot_be_deployed_is_refused_with_what_to_do():
    with pytest.raises(Invalid, match="no steps"):
        check_steps([])
    with pytest.raises(Invalid, match="2 steps"):
        check_steps([Step(champion=ref("a")), Step(champion=ref("b"))])
    with pytest.raises(Invalid, match=r"a@1 was given 2 times"):
        check_steps([Step(champion=ref("a"), challengers=(ref("a"),))])
    with pytest.raises(LimitReached, match="9 challengers"):
        check_steps([Step(champion=ref("a"), challengers=tuple(ref(f"c{i}") for i in range(9)))])
    check_steps([Step(champion=ref("a", 1), challengers=(ref("a", 2),))])


def test_an_unknown_step_is_refused():
    with pytest.raises(Invalid, match="ModelInference or ShadowDeploy"):
        Step.from_json({"Nth": {}})
