from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.core import conditions, limits
from gnomon.core.errors import Invalid
from gnomon.core.expression_trees import OPERATIONS, read
from gnomon.core.expressions import Checks, parse
from gnomon.core.nullable import CannotCompute
from gnomon.core.tensors import TensorSpec

Y = {"column": "out.y"}
FIRST = {"element": [Y], "at": 0}


def tree(text: str) -> dict:
    return conditions.parse(text, "The validation 'odd'")


def found(tree: object, inputs=None, outputs=None, rows: int = 2) -> list[bool]:
    return parse(tree, "odd").evaluate(inputs or {}, outputs or {}, rows).tolist()


# Reading trees that anybody may have made


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (None, "where a node was expected"),
        ([], "where a node was expected"),
        ({}, "where a node was expected"),
        ("out.y > 1", "where a node was expected"),
        ({"eval": ["1"]}, "'eval', which there is not"),
        ({"__class__": []}, "'__class__', which there is not"),
        ({1: []}, "1', which there is not"),
        ({"at": 0}, "'', which there is not"),
        ({"column": "y"}, "'y'; there are in.<field> and out.<field>"),
        ({"column": "out"}, "'out'; there are"),
        ({"column": "out."}, "'out.'; there are"),
        ({"column": "out_rf.y"}, "'out_rf.y'; there are"),
        ({"column": "time"}, "'time'; there are"),
        ({"column": ["out.y"]}, "there are"),
        ({"column": "out." + "y" * 2_000}, "there are"),
        ({"column": "out.y", "value": 1}, "which there is not"),
        ({"value": None}, "where a number, a text, true or false was expected"),
        ({"value": float("nan")}, "has nan where"),
        ({"value": float("inf")}, "has inf where"),
        ({"value": 2**64}, "where a number"),
        ({"value": [1]}, "where a number"),
        ({"value": "x" * 2_000}, "1000 characters"),
        ({"less": [Y]}, "'less' of 1"),
        ({"less": [Y, Y, Y]}, "'less' of 3"),
        ({"less": {"a": Y, "b": Y}}, "an operation 'less'"),
        ({"less": [Y, Y], "at": 0}, "an operation 'less'"),
        ({"and": []}, "'and' of 0"),
        ({"element": [Y]}, "an operation 'element'"),
        ({"element": [Y], "at": "0"}, "a place in a list"),
        ({"element": [Y], "at": True}, "a place in a list"),
        ({"element": [Y], "at": 2**40}, "a place in a list"),
        ({"cast": [Y], "to": "object"}, "a type of numbers"),
        ({"cast": [Y], "to": ["int8"]}, "a type of numbers"),
        ({"in": [Y], "values": 1}, "a list of values"),
        ({"in": [Y], "values": [None]}, "a number, a text"),
        ({"in": [Y], "values": [1, "a"]}, "texts and others"),
        ({"starts_with": [Y], "text": 1}, "a text of up to"),
        ({"add": [Y, Y]}, "has a number where something true or false was expected"),
        ({"value": "true"}, "has a text where something true or false was expected"),
        ({"and": [{"value": 1}, {"value": True}]}, "has a number where"),
        ({"list_max": [{"add": [Y, Y]}]}, "looks into a list where there is none"),
        ({"less": [{"element": [{"value": 1}], "at": 0}, Y]}, "looks into a list where"),
        ({"less": [{"abs": [{"value": "a"}]}, Y]}, "computes with a text"),
        ({"less": [{"value": "a"}, {"abs": [Y]}]}, "compares a text with what is none"),
        ({"contains": [{"abs": [Y]}], "text": "a"}, "looks into a text where there is none"),
        ({"fill_null": [{"less": [Y, Y]}, {"value": "a"}]}, "fills a text with what is none"),
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_with_the_validations_name(odd, says):
    with pytest.raises(Invalid, match=r"^The validation 'odd' ") as refused:
        parse(odd, "odd")
    assert says in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["out.y", "in.x", "int8"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([*OPERATIONS, "column", "value", "at", "to", "values", "text"]),
        inner,
        max_size=2,
    ),
)  # fmt: skip


@given(json_values)
def test_any_json_is_a_condition_or_refused_and_a_condition_says_something_of_each_row(value):
    try:
        checks = Checks({"odd": value})
    except Invalid:
        return
    outputs = {"y": np.array([[1.0, np.nan], [2.0, 0.5]], np.float32)}

    answer = checks.evaluate({"x": np.array(["a", None], object)}, outputs, 2)

    assert answer["odd"].dtype == bool
    assert answer["odd"].shape == (2,)


def test_a_tree_is_bounded_in_depth_and_size():
    deep, wide = {"less": [FIRST, {"value": 1}]}, {"less": [FIRST, {"value": 1}]}
    for _ in range(limits.EXPRESSION_DEPTH_MAX - 3):
        deep = {"not": [deep]}
    assert parse(deep, "odd")
    with pytest.raises(Invalid, match="nested too deeply"):
        parse({"not": [deep]}, "odd")
    for _ in range(5_000):
        deep = {"not": [deep]}
    with pytest.raises(Invalid, match="nested too deeply"):
        parse(deep, "odd")
    for odd in (
        {"less": deep},
        {"column": deep},
        {"value": deep},
        {"in": [FIRST], "values": [deep]},
    ):
        with pytest.raises(Invalid, match=r"^The validation 'odd' "):
            parse(odd, "odd")

    assert parse({"or": [wide] * (limits.EXPRESSION_NODES_MAX // 4 - 1)}, "odd")
    with pytest.raises(Invalid, match="too large"):
        parse({"or": [wide] * (limits.EXPRESSION_NODES_MAX // 4)}, "odd")
    with pytest.raises(Invalid, match="too large"):
        parse({"in": [FIRST], "values": [1] * limits.EXPRESSION_NODES_MAX}, "odd")


def test_a_tree_is_read_without_a_change():
    text = "(out.y[1] > 0.5 OR NOT in.name IN ('a', 'it''s')) AND ABS(-in.x + 1) BETWEEN 1 AND 2e3"
    moved = {"abs": [{"add": [{"negate": [{"column": "in.x"}]}, {"value": 1}]}]}

    assert tree(text) == {
        "and": [
            {
                "or": [
                    {
                        "greater": [
                            {"element_or_null": [{"column": "out.y"}], "at": 0},
                            {"value": 0.5},
                        ]
                    },
                    {
                        "not": [
                            {
                                "or": [
                                    {"equal": [{"column": "in.name"}, {"value": "a"}]},
                                    {"equal": [{"column": "in.name"}, {"value": "it's"}]},
                                ]
                            }
                        ]
                    },
                ]
            },
            {
                "and": [
                    {"greater_equal": [moved, {"value": 1}]},
                    {"less_equal": [moved, {"value": 2000.0}]},
                ]
            },
        ]
    }
    assert parse(tree(text), "odd").columns == {"out.y", "in.name", "in.x"}


@pytest.mark.parametrize("text", ["9" * 5_000 + " = out.y", "out.y[" + "9" * 5_000 + "] = 1"])
def test_a_number_of_thousands_of_digits_is_refused(text):
    with pytest.raises(Invalid, match="'99999"):
        tree(text)


# Values


def test_null_is_no_anomaly_and_nan_is_greater_than_all_numbers():
    outputs = {"y": np.array([[np.nan], [1.0]], np.float32), "none": np.empty((2, 0))}

    assert found(tree("out.y > 1e30"), outputs=outputs) == [True, False]
    assert found(tree("out.y < 5"), outputs=outputs) == [False, True]
    assert found(tree("out.y = out.y"), outputs=outputs) == [True, True]
    assert found(tree("ISNAN(out.y)"), outputs=outputs) == [True, False]
    assert found(tree("out.y[9] > 0"), outputs=outputs) == [False, False]
    assert found(tree("NOT out.y[9] > 0"), outputs=outputs) == [False, False]
    assert found(tree("out.y[9] IS NULL"), outputs=outputs) == [True, True]
    longest = {"greater": [{"list_max": [{"column": "out.none"}]}, {"value": 0}]}
    assert found(longest, outputs=outputs) == [False, False]
    assert found({"is_null": longest["greater"][:1]}, outputs=outputs) == [True, True]


def test_elements_of_elements_are_taken():
    outputs = {"y": np.arange(12.0).reshape(2, 3, 2)}

    assert found(tree("out.y[3][2] = 11"), outputs=outputs) == [False, True]
    assert found(tree("out.y[9][2] = 11 OR out.y[1][9] IS NULL"), outputs=outputs) == [True, True]
    inner = {"element": [Y], "at": 1}
    assert found({"equal": [{"list_sum": [inner]}, {"value": 5}]}, outputs=outputs) == [True, False]


def test_a_number_of_the_tree_takes_the_type_of_what_stands_beside_it():
    outputs = {"y": np.array([0.1, 0.2], np.float32)}

    assert found(tree("out.y = 0.1"), outputs=outputs) == [True, False]
    assert found(tree("out.y = 0.05 * 2"), outputs=outputs) == [True, False]
    assert found(tree("out.y IN (0.1, 7)"), outputs=outputs) == [True, False]
    assert found(tree("out.y BETWEEN 0.2 AND 1e300"), outputs=outputs) == [False, True]


@pytest.mark.parametrize(
    ("text", "outputs", "says"),
    [
        ("out.y > 1", {}, "there is no column out.y"),
        ("in.y > 1", {"y": np.zeros(2)}, "there is no column in.y"),
        ("out.y > 1", {"y": np.zeros((2, 3))}, r"lists of shape \[3\]"),
        ("out.y[1] > 1", {"y": np.zeros((2, 3, 4))}, r"lists of shape \[4\]"),
        ("out.y > 1", {"y": np.zeros(5)}, "has not one value for each row"),
        ("out.y > 1", {"y": np.array(["a", "b"], object)}, "a text is compared"),
        ("out.y + 1 > 1", {"y": np.array(["a", "b"], object)}, "numbers were expected"),
        ("out.y", {"y": np.zeros(2)}, "true or false was expected"),
    ],
)
def test_what_cannot_be_computed_says_why(text, outputs, says):
    with pytest.raises(CannotCompute, match=says):
        found(tree(text), outputs=outputs)
    with pytest.raises(CannotCompute, match="a list of 1 has no element 1"):
        found({"less": [{"element": [Y], "at": 1}, {"value": 1}]}, outputs={"y": np.zeros(2)})


def test_a_model_that_takes_no_rows_has_one_as_a_whole():
    outputs = {"y": np.array([0.5, 3.0]), "single": np.array(7)}

    assert found(tree("out.y[2] = 3 AND out.single = 7"), outputs=outputs, rows=1) == [True]


def test_a_condition_without_columns_holds_for_every_row():
    assert found(tree("TRUE")) == [True, True]
    assert found(tree("1 > 2 OR FALSE")) == [False, False]


# Checks


def test_checks_are_named_in_alphabetical_order():
    checks = Checks(
        {"low": tree("out.y < 1"), "High": tree("out.y > 1"), "early": tree("in.x = 0")}
    )

    answer = checks.evaluate({"x": np.arange(3)}, {"y": np.array([[0.0], [1.0], [2.0]])}, 3)

    assert list(answer) == ["High", "early", "low"]
    assert {name: array.tolist() for name, array in answer.items()} == {
        "High": [False, False, True],
        "early": [True, False, False],
        "low": [True, False, False],
    }


def test_rows_of_what_cannot_be_computed_are_anomalies_and_the_log_says_so_once(caplog):
    checks = Checks({"a": tree("in.x > 1"), "b": tree("out.y > 1")}, "pipeline fraud, version 7")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            answer = checks.evaluate({}, {"y": np.zeros(2)}, 2)
            assert [array.tolist() for array in answer.values()] == [[True, True], [False, False]]
    assert [record.getMessage() for record in caplog.records] == [
        "pipeline fraud, version 7: validation a cannot be computed: there is no column in.x. Its "
        "rows count as anomalies; this is said once."
    ]


def test_a_row_that_cannot_be_cast_is_an_anomaly_and_leaves_the_others_alone():
    condition = {"less": [{"cast": [Y], "to": "int8"}, {"value": 0}]}

    answer = found(condition, outputs={"y": np.array([-5.5, 300.0, np.nan, 5.0])}, rows=4)

    assert answer == [True, True, True, False]
    or_null = {"less": [{"cast_or_null": [Y], "to": "int8"}, {"value": 0}]}
    assert found(or_null, outputs={"y": np.array([-5.5, 300.0])}) == [True, False]


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint64"])
def test_a_float_is_cast_to_an_integer_where_it_fits_and_only_there(dtype):
    bounds = np.iinfo(dtype)
    beyond, below = np.float64(2.0 ** (bounds.max.bit_length())), np.float64(bounds.min) * 1.5 - 1
    within = np.nextafter(beyond, 0)
    cast = {"is_null": [{"cast_or_null": [Y], "to": dtype}]}

    answer = found(cast, outputs={"y": np.array([within, beyond, below, bounds.min])}, rows=4)

    assert answer == [False, True, True, False]


# Before a deploy

FLOATS = TensorSpec(name="y", dtype="float32", shape=(None, 3))


@pytest.mark.parametrize(
    ("text", "spec", "says"),
    [
        ("out.y > 1", FLOATS, r"lists of shape \[3\] where a value was expected: name one"),
        ("out.y = 'a'", TensorSpec(name="y", dtype="int64", shape=(None,)), "a text is compared"),
        ("out.y > 1", TensorSpec(name="y", dtype="string", shape=(None, 1)), "a text is compared"),
        ("out.y", FLOATS, "lists of shape"),
    ],
)
def test_what_can_never_be_computed_is_refused_beforehand(text, spec, says):
    with pytest.raises(Invalid, match=rf"^The validation 'odd' cannot be computed: .*{says}"):
        parse(tree(text), "odd").check_outputs([spec])


def test_an_element_beyond_a_list_is_refused_beforehand():
    condition = {"less": [{"element": [Y], "at": 3}, {"value": 1}]}
    with pytest.raises(Invalid, match="a list of 3 has no element 3"):
        parse(condition, "odd").check_outputs([FLOATS])


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("out.y[3] > 1", (None, 3)),
        ("out.y > 1", (None, 1)),
        ("out.y > 1", (None,)),
        ("out.y[9] > 1", (None, None)),  # who knows
        ("out.y[9] > 1", (4, 3)),  # not by row
        ("out.y + in.x > 1", (None, 3)),  # callers may send what they like
    ],
)
def test_what_may_be_computed_is_let_through(text, shape):
    parse(tree(text), "odd").check_outputs([TensorSpec(name="y", dtype="float32", shape=shape)])


def test_every_operation_can_be_computed():
    """Whatever can be read, somebody computes."""
    parameters = {"at": 0, "to": "int64", "values": [1], "text": "a"}
    columns = {"x": np.arange(2.0), "name": np.array(["a", "b"], object), "flag": np.ones(2, bool)}
    computed = set()
    for name, operation in OPERATIONS.items():
        for column in columns:
            of = [{"column": f"in.{column}"}] * operation.least
            key = (
                {}
                if operation.parameter is None
                else {operation.parameter: parameters[operation.parameter]}
            )
            for wanted in ({name: of, **key}, {"is_null": [{name: of, **key}]}):
                try:
                    found(wanted, inputs=columns)
                except (Invalid, CannotCompute):
                    continue
                computed.add(name)
    assert computed == set(OPERATIONS)
    assert read({"less": [FIRST, Y]}, "x").of[0].parameter == 0
