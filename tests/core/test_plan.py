"""From steps to stages: what runs, how challengers are called, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.core.errors import Invalid, LimitReached
from gnomon.core.plan import Check, Split, check_steps, plan
from gnomon.core.steps import (
    Audit,
    KeySplit,
    Mode,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Step,
    Validations,
)
from tests.core.step_strategies import RUNNING, STEPS
from tests.core.test_pipeline import ref

HIGH = {"greater": [{"column": "out.y"}, {"value": 1}]}


def alone(name: str) -> ModelStep:
    return ModelStep(champion=ref(name))


def test_every_step_with_models_is_a_stage_and_the_others_are_about_one():
    shadow = ModelStep(champion=ref("a"), challengers=(ref("b"),), sample=(0.5,))
    steps = [
        *(shadow, Audit(start=1), Validations(expressions={"one": HIGH})),
        *(alone("c"), Validations(expressions={"two": HIGH})),
        Validations(expressions={"three": HIGH}),
    ]

    planned = plan(steps)

    assert [stage.step for stage in planned.stages] == [0, 3]
    assert planned.checks == (
        Check(stage=0, expressions={"one": HIGH}),
        Check(stage=1, expressions={"two": HIGH}),
        Check(stage=1, expressions={"three": HIGH}),
    )
    assert (planned.labels(), planned.sample()) == (("b",), {"b": 0.5})


def test_a_splits_weights_are_shares_and_its_values_name_models():
    by_chance = RandomSplit(weights=(3, 1), options=(ref("a"), ref("b")), hash_key="id")
    by_key = KeySplit(
        meta_key="region", default=ref("a"), routes={"eu": ref("b"), "us": ref("a"), "ch": ref("b")}
    )

    first, second = plan([by_chance, by_key]).stages

    assert first.split == Split(column="id", shares=(0.75, 0.25))
    assert second.champions == (ref("a"), ref("b"))
    assert second.split == Split(column="region", values={"eu": 1, "us": 0, "ch": 1})


def test_of_several_models_the_first_answers_or_the_one_that_is_selected():
    several = MultiModelStep(members=(ref("a"), ref("b"), ref("c")))

    [joined] = plan([several]).stages
    [selected] = plan([several, Audit(start=1), Select(index=1)]).stages

    assert (joined.champions, joined.labels, joined.mode) == ((ref("a"),), ("b", "c"), "joined")
    assert (selected.champions, selected.labels) == ((ref("b"),), ("a", "c"))
    assert selected.mode == "async"


def test_labels_are_unique_in_the_whole_pipeline():
    twice = ModelStep(champion=ref("a"), challengers=(ref("b"), ref("c")))
    again = ModelStep(champion=ref("d"), challengers=(ref("b"), ref("e", 2)))
    split = RandomSplit(weights=(1, 1), options=(ref("e", 1), ref("f")))

    labels = plan([twice, split, again]).labels()

    assert labels == ("b_v1_s0", "c", "b_v1_s2", "e_v2")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([Validations(expressions={"high": HIGH})], "no step with a model"),
        ([Audit(start=1), alone("a")], "step 0 has none before it"),
        ([Validations(expressions={"high": HIGH}), alone("a")], "step 0 has none before it"),
        ([alone("a"), Select(index=0)], "step of several models, and step 1 has none before"),
        ([MultiModelStep(members=(ref("a"), ref("b"))), Select(index=2)], "the models 0 to 1"),
        ([MultiModelStep(members=(ref("a"),))], "1 models were given"),
        ([RandomSplit(weights=(0, 0), options=(ref("a"), ref("b")))], "above 0"),
        ([RandomSplit(weights=(-1, 2), options=(ref("a"), ref("b")))], "from 0 on, got -1"),
        (
            [alone("a"), *[Validations(expressions={"high": HIGH})] * 2],
            "2 validations named 'high'",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_the_step(steps: list[Step], message: str):
    with pytest.raises(Invalid, match=message):
        check_steps(steps)


def test_there_are_not_more_models_and_validations_than_may_be():
    checks = {f"v{number}": HIGH for number in range(51)}
    with pytest.raises(LimitReached, match="51 validations; at most 50"):
        check_steps([alone("a"), Validations(expressions=checks)])
    several = [
        MultiModelStep(members=tuple(ref(f"m{step}-{number}") for number in range(5)))
        for step in range(16)
    ]
    with pytest.raises(LimitReached, match=r"64 models .*; at most 63"):
        check_steps(several)


def test_models_that_answer_have_labels_too_that_tell_their_versions_apart():
    split = RandomSplit(weights=(1, 1), options=(ref("a", 1), ref("a", 2)))
    later = ModelStep(champion=ref("b"), challengers=(ref("a", 2),))

    first, second = plan([split, later]).stages

    assert first.champion_labels == ("a_v1", "a_v2_s0")
    assert (second.champion_labels, second.labels) == (("b",), ("a_v2_s1",))
    assert plan([alone("a"), alone("a")]).stages[1].champion_labels == ("a_v1_s1",)
    retrained = ModelStep(champion=ref("a", 1), challengers=(ref("a", 2),))
    [stage] = plan([retrained]).stages
    assert (stage.champion_labels, stage.labels) == (("a",), ("a_v2",))


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(RUNNING, min_size=1, max_size=5))
def test_whatever_the_steps_a_label_names_one_model_only(steps: list[Step]):
    planned = plan(steps)
    champions = [label for stage in planned.stages for label in stage.champion_labels]
    everyone = [*champions, *planned.labels()]
    assert len(set(everyone)) == len(everyone) == sum(len(step.models()) for step in steps)
    for stage in planned.stages:
        for label, model in zip(stage.labels, stage.challengers, strict=True):
            assert label.partition("_")[0] == model.name
    assert list(planned.sample()) == list(planned.labels())


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEPS, max_size=5))
def test_any_list_of_steps_is_planned_or_refused(steps: list[Step]):
    try:
        planned = plan(steps)
    except Invalid:
        return
    for stage in planned.stages:
        assert len(stage.champions) == 1 or stage.split is not None
        if stage.split is not None and stage.split.shares:
            assert sum(stage.split.shares) == pytest.approx(1)
    for check in planned.checks:
        assert 0 <= check.stage < len(planned.stages)


SEVERAL = MultiModelStep(members=(ref("a"), ref("b")))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([alone("a"), Validations(expressions={})], "Step 1 has no validations"),
        ([alone("a"), Validations(expressions={"count": HIGH})], "cannot be named 'count'"),
        ([alone("a"), Validations(expressions={"Count": HIGH})], "cannot be named 'Count'"),
        ([alone("a"), Validations(expressions={"a b": HIGH})], "cannot be named 'a b'"),
        ([alone("a"), Validations(expressions={"1st": HIGH})], "cannot be named '1st'"),
        ([alone("a"), Validations(expressions={"x" * 64: HIGH})], "1 to 63 ASCII letters"),
        ([alone("a"), Validations(expressions={"High": HIGH, "high": HIGH})], "named 'high'"),
        ([SEVERAL, Select(index=-1)], "selects model -1"),
        ([SEVERAL, Select(index=0), Select(index=0)], "step 2 has none before"),
        ([SEVERAL, alone("c"), Select(index=0)], "step 2 has none before"),
        ([KeySplit(meta_key="k", default=ref("a"), routes={})], "1 models were given"),
        (
            [KeySplit(meta_key="", default=ref("a"), routes={"b": ref("b")})],
            "meta_key must be the name of a column",
        ),
        (
            [RandomSplit(weights=(1, 1), options=(ref("a"), ref("b")), hash_key="x" * 257)],
            "hash_key must be the name of a column, 1 to 256 bytes",
        ),
        ([RandomSplit(weights=(1, 1), options=(ref("a"), ref("a")))], "a@1 was given 2 times"),
        ([RandomSplit(weights=(1,), options=(ref("a"),))], "1 models were given"),
        *(
            ([RandomSplit(weights=(weight, 2), options=(ref("a"), ref("b")))], "from 0 on, got")
            for weight in (True, "1", None, float("nan"), float("inf"))
        ),
        (
            [RandomSplit(weights=(1e308, 1e308), options=(ref("a"), ref("b")))],
            "their sum a finite number",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(steps: list[Step], message: str):
    with pytest.raises(Invalid, match=message):
        check_steps(steps)


def test_a_key_split_tells_a_bounded_number_of_values_apart():
    routes = {str(number): ref("b") for number in range(1_001)}
    with pytest.raises(LimitReached, match="1001 values; at most 1000"):
        check_steps([KeySplit(meta_key="k", default=ref("a"), routes=routes)])


def test_answers_wait_as_long_as_the_most_patient_step_that_is_joined():
    def shadow(name: str, mode: Mode, wait_ms: int) -> ModelStep:
        models = {"champion": ref(name), "challengers": (ref(f"{name}-rival"),)}
        return ModelStep(**models, mode=mode, shadow_wait_ms=wait_ms)

    waits = [shadow("a", "joined", 50), shadow("b", "joined", 70), shadow("c", "async", 900)]
    assert (plan(waits).mode, plan(waits).shadow_wait_ms) == ("joined", 70)
    assert (plan(waits[2:]).mode, plan(waits[2:]).shadow_wait_ms) == ("async", 900)
    assert plan([alone("a"), SEVERAL]).shadow_wait_ms == 60_000
    assert plan([SEVERAL, Select(index=1)]).shadow_wait_ms == 1_000
