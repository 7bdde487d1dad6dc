"""Whether one step can take what the one before gives: said before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gnomon.core.chains import Fed, check_chain
from gnomon.core.errors import InputMismatch, Invalid
from gnomon.core.model import Signature
from gnomon.core.plan import plan
from gnomon.core.steps import KeySplit, ModelRef, ModelStep, RandomSplit, Step, Validations
from gnomon.core.tensors import DTYPES, STRING, TensorSpec, conform


def specs(*texts: str) -> tuple[TensorSpec, ...]:
    """Return specs from "name dtype size size ...", where "?" is an open size."""
    found = []
    for text in texts:
        name, dtype, *sizes = text.split()
        shape = tuple(None if size == "?" else int(size) for size in sizes)
        found.append(TensorSpec(name=name, dtype=dtype, shape=shape))
    return tuple(found)


@dataclass
class Models:
    """Models that are made as they are named."""

    fed: dict[int, Fed] = field(default_factory=dict)

    def add(
        self,
        name: str,
        takes: Sequence[str],
        gives: Sequence[str],
        fields: tuple[str, ...] | None = None,
    ) -> ModelRef:
        number = len(self.fed)
        signature = Signature(inputs=specs(*takes), outputs=specs(*gives))
        self.fed[number] = Fed(signature=signature, tensor_fields=fields)
        return ModelRef(version_id=number, name=name, ordinal=1, uuid=name, sha256="0" * 64)

    def check(self, *steps: Step) -> None:
        check_chain(plan(steps), self.fed)

    def refusal(self, *steps: Step) -> Invalid:
        with pytest.raises(Invalid) as caught:
            self.check(*steps)
        return caught.value


@pytest.fixture
def models() -> Models:
    return Models()


def alone(model: ModelRef) -> ModelStep:
    return ModelStep(champion=model)


ROWS = "tensor float32 ? 2"


def test_outputs_feed_inputs_of_the_same_name_and_more_may_be_given(models):
    first = models.add("first", [ROWS], ["a float32 ? 3", "b string ?", "c int64 ?"])
    second = models.add("second", ["c int64 ?", "a float32 ? 3"], ["d float32 ? 1"])
    models.check(alone(first), alone(second))


def test_an_only_input_takes_an_only_output_whatever_the_names(models):
    first = models.add("first", [ROWS], ["out float32 ? 3"])
    second = models.add("second", ["x float32 ? 3"], ["y float32 ? 1"])
    models.check(alone(first), alone(second))


def test_tensor_fields_say_which_output_feeds_which_input(models):
    first = models.add("first", [ROWS], ["a float32 ? 3", "b float32 ? 1"])
    fields = ("b", "a")
    second = models.add("second", ["x float32 ? 1", "y float32 ? 3"], ["z float32 ? 1"], fields)
    models.check(alone(first), alone(second))

    models.fed[second.version_id] = replace(models.fed[second.version_id], tensor_fields=None)
    assert models.refusal(alone(first), alone(second)).message == (
        "Step 1 cannot follow step 0: second@1 feeds its input 'x' (float32 [?, 1]) from the "
        "column 'x', and first@1 gives 'a' (float32 [?, 3]), 'b' (float32 [?, 1]). Name the "
        "columns that feed its inputs with configure(tensor_fields=[...])."
    )


def test_the_refusal_names_both_sides(models):
    first = models.add("first", [ROWS], ["a string ?"])
    second = models.add("second", ["a float32 ? 1"], ["b float32 ? 1"])
    validations = Validations(expressions={"x": {"is_null": [{"column": "out.a"}]}})

    error = models.refusal(alone(first), validations, alone(second))

    assert error.message == (
        "Step 2 cannot follow step 0: second@1 takes its input 'a' as float32 [?, 1], and first@1 "
        "gives the column 'a' as string [?]."
    )
    assert error.details == {
        "step": 2,
        "model": "second@1",
        "before": 0,
        "given_by": "first@1",
    }


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("float32 ? 3", "float32 ? 3"),
        ("float64 ? 3", "float32 ? 3"),
        ("float32 ? 3", "float64 1 3"),
        ("int64 ? 3", "float32 ? 3"),
        ("uint8 ? 3", "int64 ? 3"),
        ("string ?", "string ? 1"),
        ("float32 ?", "float32 ? 1"),
        ("float32 ? ?", "float32 ? 7"),
        ("float32 ? 7", "float32 ? ?"),
        ("float32 ? 3 4", "float32 3 4"),
        ("float32 1 3", "float32 3"),
        ("float32", "float32 ? 3"),  # nothing is declared
        ("bool ? 1", "bool ? 1"),
    ],
)
def test_what_can_fit_is_let_through(models, given, taken):
    first = models.add("first", [ROWS], [f"a {given}"])
    second = models.add("second", [f"a {taken}"], ["b float32 ? 1"])
    models.check(alone(first), alone(second))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("float32 ? 3", "float32 ? 4"),
        ("float32 ? 3", "int64 ? 3"),
        ("float32 ? 3", "string ? 3"),
        ("string ? 3", "float32 ? 3"),
        ("bool ? 3", "float32 ? 3"),
        ("int64 ? 3", "bool ? 3"),
        ("float32 ? 3", "float32 ?"),
        ("float32 ?", "float32 ? 2"),
        ("float32 ? 3", "float32 ? 3 1"),
        ("float32 2 3", "float32 3"),
        ("float32 ? 3 4", "float32 ? 4"),
        ("float32 2 3", "float32 4 3"),
    ],
)
def test_what_can_never_fit_is_refused(models, given, taken):
    first = models.add("first", [ROWS], [f"a {given}"])
    second = models.add("second", [f"a {taken}"], ["b float32 ? 1"])
    message = models.refusal(alone(first), alone(second)).message
    assert message.startswith("Step 1 cannot follow step 0: second@1 takes its input 'a' as ")


def test_challengers_must_be_fed_too_and_nobody_takes_what_a_challenger_gives(models):
    first = models.add("first", [ROWS], ["a float32 ? 3"])
    rival = models.add("rival", [ROWS], ["other string ? 9"])
    second = models.add("second", ["a float32 ? 3"], ["b float32 ? 1"])
    unfit = models.add("unfit", ["a string ? 3"], ["b float32 ? 1"])
    shadowed = ModelStep(champion=first, challengers=(rival,))

    models.check(shadowed, alone(second))
    error = models.refusal(shadowed, ModelStep(champion=second, challengers=(unfit,)))

    assert (error.details["model"], error.details["given_by"]) == ("unfit@1", "first@1")


def test_every_option_of_a_split_must_feed_the_next_step_and_every_option_of_it(models):
    good = models.add("good", [ROWS], ["a float32 ? 3"])
    bad = models.add("bad", [ROWS], ["a float32 ? 4"])
    taker = models.add("taker", ["a float32 ? 3"], ["a float32 ? 3"])
    other = models.add("other", ["a float32 ? 9"], ["b float32 ? 1"])
    fair = RandomSplit(weights=(1, 1), options=(good, taker))

    models.check(fair, alone(taker))
    mixed = RandomSplit(weights=(1, 1), options=(good, bad))
    assert models.refusal(mixed, alone(taker)).details["given_by"] == "bad@1"
    split = KeySplit(meta_key="k", default=taker, routes={"x": other})
    assert models.refusal(alone(good), split).details["model"] == "other@1"


def test_the_first_step_takes_whatever_callers_send(models):
    models.check(alone(models.add("any", ["x string ? 3 ?"], ["y bool"])))


def test_a_validation_may_ask_for_what_the_step_before_it_gives_and_nothing_else(models):
    first = models.add("first", [ROWS], ["a float32 ? 3"])
    second = models.add("second", ["a float32 ? 3"], ["b float32 ? 1"])

    def asks(column: str) -> Validations:
        element = {"element": [{"column": column}], "at": 0}
        return Validations(expressions={"odd": {"is_nan": [element]}})

    models.check(alone(first), asks("out.a"), asks_more(asks("in.anything")), alone(second))
    models.check(alone(first), alone(second), asks("out.b"))
    error = models.refusal(alone(first), alone(second), asks("out.a"))
    assert error.message == (
        "The validation 'odd' asks for 'out.a'; second@1 of step 1 gives 'b' (float32 [?, 1])."
    )
    split = RandomSplit(weights=(1, 1), options=(first, second))
    error = models.refusal(split, asks("out.b"))
    assert error.details == {"validation": "odd", "step": 0, "model": "first@1"}


def asks_more(validations: Validations) -> Validations:
    return Validations(expressions={f"{k}_too": v for k, v in validations.expressions.items()})


def test_an_expression_that_is_none_is_refused_with_its_name(models):
    first = models.add("first", [ROWS], ["a float32 ? 3"])
    nowhere = [{"is_nan": [{"column": column}]} for column in ("out", "out.", "secret.a")]
    for tree in ({"eval": ["1"]}, [], 1, *nowhere):
        error = models.refusal(alone(first), Validations(expressions={"odd": tree}))
        assert "'odd'" in error.message


def test_an_expression_that_can_never_be_computed_is_refused(models):
    first = models.add("first", [ROWS], ["a float32 ? 3"])
    tree = {"starts_with": [{"element": [{"column": "out.a"}], "at": 0}], "text": "x"}
    error = models.refusal(alone(first), Validations(expressions={"odd": tree}))
    assert error.message.startswith("The validation 'odd' cannot be computed: ")


def test_long_lists_of_outputs_are_cut(models):
    first = models.add("first", [ROWS], [f"o{number} float32 ?" for number in range(30)])
    second = models.add("second", ["x float32 ?"], ["y float32 ?"])
    message = models.refusal(alone(first), alone(second)).message
    assert "'o9' (float32 [?]) and 20 more." in message


SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def declared(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int | None, ...]:
    return tuple(draw(st.sampled_from([size, None])) for size in shape)


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_whatever_a_request_could_be_fed_with_is_let_through(data: st.DataObject):
    """A tensor that `conform` takes was never refused by what was declared of it."""
    shape = data.draw(SHAPES)
    dtype = data.draw(st.sampled_from(sorted(DTYPES)))
    array = data.draw(npst.arrays("U1" if dtype == STRING else dtype, shape, fill=st.nothing()))
    array = array.astype(object) if dtype == STRING else array
    given_ = TensorSpec(name="a", dtype=dtype, shape=data.draw(declared(shape)))
    wanted = data.draw(SHAPES.flatmap(declared))
    taken = TensorSpec(name="a", dtype=data.draw(st.sampled_from(sorted(DTYPES))), shape=wanted)
    try:
        conform(array, taken, name="a", model="m")
    except InputMismatch:
        return
    models = Models()
    first, second = models.add("first", [ROWS], []), models.add("second", [], [ROWS])
    models.fed[0] = Fed(signature=Signature(inputs=(), outputs=(given_,)))
    models.fed[1] = Fed(signature=Signature(inputs=(taken,), outputs=()))
    models.check(alone(first), alone(second))
