"""What users write as polars expressions means what it means in polars, on the same rows."""

from __future__ import annotations

import json
import math
import operator
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.core.errors import Invalid
from gnomon.core.expressions import parse
from gnomon.core.names import check_validation_name
from gnomon.sdk.validating import expression

NAN, INFINITY = math.nan, math.inf

OUTPUTS = {
    "dense_1": np.array(
        [[0.1, 0.9, 0.5], [NAN, 2.0, -1.0], [NAN] * 3, [3.0, 3.0, INFINITY], [0.0, -0.0, 1e-9]],
        np.float32,
    ),
    "other": np.array([0.1, 0.9, NAN, 3.0, -1.0], np.float32),
    "label": np.array([0, 1, 2, 3, -4], np.int64),
    "none": np.empty((5, 0), np.float64),
}
INPUTS = {
    "amount": np.array([1.5, NAN, -2.0, 0.1, INFINITY]),
    "small": np.array([0, 1, 2, 254, 255], np.uint8),
    "flag": np.array([True, False, True, True, False]),
    "name": np.array(["a", "ab", None, "", "é"], object),
    "half": np.array([[1], [2], [3], [4], [5]], np.int32),
}

dense, other, label, none = (pl.col(f"out.{name}") for name in OUTPUTS)
amount, small, flag, name, half = (pl.col(f"in.{name}") for name in INPUTS)
first = dense.list.get(0)

EXPRESSIONS = [
    first > 0.9,
    first >= 0.1,
    first < 0.5,
    first <= 0.1,
    first == 0.1,
    first != 0.1,
    pl.lit(0.5) > first,
    pl.lit(0.5) <= first,
    pl.lit(0.5) == first,
    dense.list.get(-1) > 1e30,
    dense.list[1] > 0,
    first > other,
    first >= other,
    first < other,
    first <= other,
    first == other,
    first != other,
    amount > other,
    (first > 0.5) & (other < 1),
    (first > 0.5) | ~(other < 1),
    (first > 0.5) ^ (other < 1),
    ~((first > 0.5) & flag),
    flag,
    ~flag & (label >= 1),
    flag == (label > 1),
    flag == 1,
    label.cast(pl.Boolean),
    first + other > 1,
    (first - other).abs() > 0.25,
    first * 2 > 0.2,
    other * 2 + 1 - label / 4 > 1.5,
    label / 2 == 0.5,
    label / 0 > 0,
    1 / label < 0,
    label // 2 == -2,
    label % 3 == 2,
    label // label == 1,
    label % label == 0,
    amount // 0.5 > 2,
    amount % 2 == 0,
    -first < -0.5,
    -label > 2,
    abs(label) > 3,
    small.cast(pl.Int64) - 10 < 0,
    (first > 0.5).cast(pl.Int64) + flag.cast(pl.Int8) == 2,
    first.is_nan(),
    first.is_not_nan(),
    first.is_finite(),
    amount.is_infinite(),
    label.is_nan(),
    name.is_null(),
    name.is_not_null(),
    dense.list.get(7, null_on_oob=True).is_null(),
    dense.list.get(7, null_on_oob=True) > 0,
    ~(dense.list.get(7, null_on_oob=True) > 0),
    (dense.list.get(7, null_on_oob=True) > 0) | (label > 1),
    (dense.list.get(7, null_on_oob=True) > 0) & (label > 1),
    ((dense.list.get(7, null_on_oob=True) > 0) & (label > 1)).is_null(),
    ((dense.list.get(7, null_on_oob=True) > 0) | (label > 1)).is_null(),
    (dense.list.get(7, null_on_oob=True) > 0).fill_null(True),
    (label // label).fill_null(-1) == -1,
    (label // label).fill_null(0.5) == 0.5,
    label.is_in([1, 3, 99]),
    label.is_in([]),
    name.is_in(["a", "é", None]),
    first.is_in([0.1, 3.0]),
    amount.is_in([0.1, -2.0]),
    flag.is_in([True]),
    label.is_between(1, 2),
    label.is_between(1, 2, closed="left"),
    label.is_between(1, 2, closed="right"),
    label.is_between(-5, 2, closed="none"),
    first.is_between(0.1, other),
    dense.list.first() > 0,
    dense.list.last() > 0.4,
    dense.list.max() >= 2,
    dense.list.min() < 0,
    dense.list.sum() > 1,
    dense.list.mean() == 0.5,
    dense.list.len() == 3,
    dense.list.arg_max() == 1,
    dense.list.arg_min() == 2,
    none.list.len() == 0,
    none.list.sum() == 0,
    none.list.max().is_null(),
    none.list.min() > 0,
    none.list.mean().is_null(),
    none.list.first().is_null(),
    none.list.arg_max().is_null(),
    amount.cast(pl.Float32) == 0.1,
    amount.cast(pl.Int64, strict=False) == 1,
    amount.cast(pl.Int64, strict=False).is_null(),
    small.cast(pl.Int8, strict=False).is_null(),
    label.cast(pl.Float64) / 3 > 0.6,
    name == "ab",
    name != "ab",
    name > "a",
    name <= "ab",
    name.str.starts_with("a"),
    name.str.ends_with("b"),
    name.str.contains("é", literal=True),
    ~name.str.contains("a", literal=True),
    pl.all_horizontal(flag, label > 1),
    pl.any_horizontal(flag, label > 0),
    pl.lit(True) & flag,
    pl.lit(1.5) == amount,
    pl.lit(1, dtype=pl.Int8) == label,
    pl.lit(1) + 1 == label,
    other > pl.lit(0.05) * 2,
    (first > 0.9).alias("anything"),
]  # fmt: skip


def polars_frame(inputs, outputs) -> pl.DataFrame:
    columns = {f"in.{key}": array for key, array in inputs.items()}
    columns |= {f"out.{key}": array for key, array in outputs.items()}
    return pl.DataFrame({key: _series(array) for key, array in columns.items()})


def _series(array: np.ndarray) -> pl.Series:
    if array.ndim == 1:
        return pl.Series(array.tolist()) if array.dtype == object else pl.Series(array)
    inner = pl.Series(np.empty(0, array.dtype)).dtype
    return pl.Series(array.tolist(), dtype=pl.List(inner))


def evaluated(expr: pl.Expr | str, inputs=INPUTS, outputs=OUTPUTS) -> list[bool]:
    """Evaluate as a server does: what it is sent is JSON."""
    tree = json.loads(json.dumps(expression(expr, "fraud")))
    rows = len(next(iter(outputs.values())))
    return parse(tree, "fraud").evaluate(inputs, outputs, rows).tolist()


@pytest.mark.parametrize("expr", EXPRESSIONS, ids=str)
def test_an_expression_finds_what_it_finds_in_polars(expr):
    expected = polars_frame(INPUTS, OUTPUTS).select(expr).to_series()

    assert evaluated(expr) == expected.fill_null(False).to_list()


def test_small_integers_do_not_overflow_as_in_polars():
    less = small - 10 < 0

    assert polars_frame(INPUTS, OUTPUTS).select(less).to_series().to_list() == [False] * 5
    assert evaluated(less) == [True, True, True, False, False]


def test_values_to_be_among_may_be_a_series():
    assert evaluated(label.is_in(pl.Series([1, 2]))) == evaluated(label.is_in([1, 2]))


def test_arrays_of_polars_are_lists_to_a_validation():
    frame = pl.DataFrame({"out.dense_1": OUTPUTS["dense_1"]})  # of type Array
    column = pl.col("out.dense_1")
    for expr in (
        column.arr.get(0) > 0.05,
        column.arr.first() > 0.05,
        column.arr.last() < 0.5,
        column.arr.max() > 2,
        column.arr.min() < 0,
        column.arr.sum() > 1,
        column.arr.mean() > 0.4,
        column.arr.len() == 3,
    ):
        assert evaluated(expr) == frame.select(expr).to_series().fill_null(False).to_list()


floats = st.one_of(
    st.sampled_from([NAN, INFINITY, -INFINITY, 0.0, -0.0, 0.1, 1.0]), st.floats(width=32)
)
literals = st.one_of(st.integers(-3, 3), st.sampled_from([0.1, 0.5, -1.5]))
small_integers = st.integers(-5, 5)


@st.composite
def numbers(draw, depth=2) -> pl.Expr:
    if depth == 0 or draw(st.booleans()):
        leaves = [
            first,
            dense.list.get(5, null_on_oob=True),
            other,
            amount,
            label,
            dense.list.max(),
        ]
        return draw(st.sampled_from(leaves))
    # polars makes x of x + 0, which is something else where x is -0.0.
    left = draw(numbers(depth=depth - 1))
    right = draw(st.one_of(literals.filter(bool), numbers(depth=depth - 1)))
    apply = draw(
        st.sampled_from([operator.add, operator.sub, operator.truediv, lambda one, _: abs(one)])
    )
    return apply(left, right)


@st.composite
def conditions(draw, depth=2) -> pl.Expr:
    if depth == 0 or draw(st.booleans()):
        compare = draw(
            st.sampled_from(
                [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
            )
        )
        return compare(draw(numbers()), draw(st.one_of(literals, numbers())))
    left, right = draw(conditions(depth=depth - 1)), draw(conditions(depth=depth - 1))
    return draw(st.sampled_from([left & right, left | right, left ^ right, ~left, left.is_null()]))


@given(
    expr=conditions(),
    rows=st.lists(
        st.tuples(floats, floats, floats, floats, small_integers), min_size=1, max_size=5
    ),
)
def test_any_condition_of_numbers_finds_what_it_finds_in_polars(expr, rows):
    columns = np.array(rows, np.float64)
    with np.errstate(all="ignore"):
        outputs = {
            "dense_1": columns[:, :2].astype(np.float32),
            "other": columns[:, 2].astype(np.float32),
            "label": columns[:, 4].astype(np.int64),
        }
    inputs = {"amount": columns[:, 3]}
    expected = polars_frame(inputs, outputs).select(expr).to_series()

    assert evaluated(expr, inputs, outputs) == expected.fill_null(False).to_list()


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (first > 0.9, 'out.dense_1[1] > 0.9'),
        (first.is_between(0.1, 0.5), '"out.dense_1"[1] BETWEEN 0.1 AND 0.5'),
        (label.is_in([1, 3]) & ~flag, "out.label IN (1, 3) AND NOT in.flag"),
        (first.is_nan() | (name == "it's"), "ISNAN(out.dense_1[1]) OR in.name = 'it''s'"),
        (name.is_not_null(), "in.name IS NOT NULL"),
        ((other - amount).abs() / 2 > 0.5, "ABS(out.other - in.amount) / 2 > .5"),
        (dense.list.get(8, null_on_oob=True).is_null(), "out.dense_1[9] IS NULL"),
    ],
)  # fmt: skip
def test_a_text_says_the_same_as_an_expression(expr, text):
    assert evaluated(text) == evaluated(expr)


def test_a_list_of_one_value_counts_as_that_value_and_a_value_as_a_list_of_one():
    assert evaluated("in.half > 3") == [False, False, False, True, True]
    assert evaluated("in.half[1] > 3") == evaluated("in.half > 3")
    assert evaluated(amount.list.get(0) > 1) == evaluated(amount > 1)


def test_what_polars_cannot_compute_makes_no_row_good():
    with pytest.raises(pl.exceptions.ComputeError):
        polars_frame(INPUTS, OUTPUTS).select(dense.list.get(3) > 0)
    with pytest.raises(pl.exceptions.InvalidOperationError):
        polars_frame(INPUTS, OUTPUTS).select(amount.cast(pl.Int64) > 100)

    # Rows of several callers may be together: that one of them cannot be cast is its own concern.
    assert evaluated(amount.cast(pl.Int64) > 100) == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("expr", "named"),
    [
        (label.map_elements(bool, return_dtype=pl.Boolean), "'AnonymousFunction'"),
        (label.map_batches(lambda values: values > 1), "AnonymousFunction"),
        (label.mean() > 1, "Agg.Mean"),
        (label > pl.len(), "Len"),
        (label.sum().over("in.flag") > 1, "Over"),
        (label.shift(1) > 1, "Shift"),
        (label**2 > 1, "Pow"),
        (label.sqrt() > 1, "Pow.Sqrt"),
        (label.eq_missing(1), "EqValidity"),
        (pl.when(flag).then(label > 1).otherwise(False), "Ternary"),
        (pl.col("^out.*$") > 1, "Selector"),
        (pl.col("in.a", "in.b") > 1, "Selector"),
        (pl.all() > 1, "Selector"),
        (dense.list.std() > 1, "ListExpr.Std"),
        (dense.list.eval(pl.element() > 1).list.any(), "Eval"),
        (dense.list.get(label) > 1, "ListExpr.Get"),
        (name.str.contains("a.*"), "StringExpr.Contains"),
        (name.str.to_lowercase() == "a", "StringExpr.Lowercase"),
        (name.str.len_chars() > 1, "StringExpr.LenChars"),
        (name.cast(pl.Date) > 1, "cast to Date"),
        (dense.cast(pl.List(pl.Float64)).list.get(0) > 1, "cast to List"),
        (label.is_in(pl.col("out.other")), "is_in"),
        (label.dt.hour() > 1, "TemporalExpr.Hour"),
        (label == pl.lit(None), "null"),
        (label == NAN, "NaN"),
        (label < INFINITY, "infinite"),
        (label == pl.lit(1).cast(pl.Decimal(10, 2)), "cast to Decimal"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_what_no_validation_has_is_refused_by_its_name(expr, named):
    with pytest.raises(Invalid, match="The validation 'fraud' has") as refused:
        expression(expr, "fraud")

    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (first > 1, None),
        (pl.col("dense_1") > 1, "'dense_1'; there are in.<field> and out.<field>"),
        (pl.col("out_rf.y") > 1, "'out_rf.y'; there are"),
        ("time = '2030'", "'TIME' where"),
        ("\"metadata.out.status\" = 'ok'", "metadata.out.status"),
        (first + 1, "has a number where something true or false was expected"),
        (name.str.starts_with("a") == "a", "compares a text with what is none"),
        ("in.name + 1 = 'a'", "compares a text with what is none"),
        ("ABS('a') > 1", "computes with a text"),
        ("out.y[0] > 1", "a place in a list, from 1 on,"),
        ("out.y = ", "the end"),
        ("", "the end"),
        (lambda row: True, "must be a polars expression"),
        (True, "got bool"),
        (None, "got NoneType"),
        ({"value": True}, "got dict"),
        ("out.y > 1 OR " * 2_000 + "out.y > 1", "10000 characters"),
        (pl.any_horizontal([label == n for n in range(400)]), "too large"),
    ],
)
def test_what_is_no_condition_is_refused(value, told):
    if told is None:
        assert expression(value, "fraud")
        return
    with pytest.raises(Invalid, match=r"^The validation 'fraud' ") as refused:
        expression(value, "fraud")
    assert told in str(refused.value)


def test_a_long_chain_is_as_deep_as_one_link():
    expr = label > 0
    for number in range(1, 150):
        expr = expr & (label != number)

    assert evaluated(expr) == [False, False, False, False, False]
    expr = label > 0
    for _ in range(150):
        expr = ~expr
    with pytest.raises(Invalid, match="nested too deeply"):
        expression(expr, "fraud")


@pytest.mark.parametrize(
    "wrong", ["", "a b", "a.b", "a-b", "1a", "-a", "é", "count", "Count", "a" * 64, 1, None]
)
def test_a_name_that_makes_no_column_is_refused(wrong):
    with pytest.raises(Invalid, match="A validation cannot be named"):
        check_validation_name(wrong)
    with pytest.raises(Invalid, match="A validation cannot be named"):
        expression("out.y > 1", wrong)


def test_a_name_of_a_column_is_taken():
    assert [check_validation_name(each) for each in ("fraud", "_x", "too_high_2", "a" * 63)]


def test_polars_is_not_loaded_for_a_text():
    code = (
        "import sys\n"
        "from gnomon.sdk.validating import expression\n"
        "expression('out.y[1] > 1', 'fraud')\n"
        "assert not {'polars', 'pandas'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
