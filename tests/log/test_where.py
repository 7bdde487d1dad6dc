from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from gnomon.core import conditions
from gnomon.core.errors import Invalid
from gnomon.core.expressions import parse
from gnomon.log.where import Where

ROWS = pa.table(
    {
        "time": pa.array([n * 10**6 for n in range(5)], pa.timestamp("us", tz="UTC")),
        "in.n": [1, 2, None, 4, 5],
        "in.flag": [True, False, None, True, False],
        "out.y": pa.array([[1.0, 9.0], [2.0], None, [], [-5.0]], pa.list_(pa.float32())),
        "out_a.y": [[1.5], [2.0], [3.0], [4.0], [5.0]],
        "metadata.out_a.status": ["ok", "it's", "timeout", None, "ok"],
    }
)

CONDITIONS = [
    '"in.n" = 2',
    '"in.n" <> 2',
    'NOT "in.n" > 2',
    '"in.n" != 1 AND "in.n" <= 4 OR "in.n" = 1',
    '("in.n" = 1 OR "in.n" = 2) AND NOT ("in.n" = 2)',
    '"in.n" IS NULL OR "in.n" >= 5',
    '"in.n" IS NOT NULL',
    '"in.n" IN (1, 2, -4)',
    '"in.n" NOT IN (1, 2)',
    '"in.n" BETWEEN 2 AND 4',
    'not "in.n" not between 1 + 1 and 8 / 2',
    '"in.flag"',
    'NOT "in.flag" AND TRUE',
    '"out.y"[1] > 1',
    '"out.y"[2] = 9',
    'ABS("out.y"[1] - "out_a.y"[1]) > 0.25',
    '-"out.y"[1] * 2 + 1 < 0',
    "\"metadata.out_a.status\" = 'it''s'",
    "\"metadata.out_a.status\" IN ('ok', 'timeout')",
    '"in.n" / 2 = 0.5',
    '"in.n" - 1 - 1 = 3',
    ".5e1 = \"in.n\"",
]  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_means_what_it_means_in_sql(condition):
    expected = duckdb.sql(f'SELECT epoch_us("time") // 1000000 FROM ROWS WHERE {condition}')

    found = [index for index, holds in enumerate(Where(condition).holds(ROWS)) if holds]

    assert found == sorted(number for (number,) in expected.fetchall())


FLOATS = pa.table(
    {
        "out.y": pa.array([0.1, float("nan"), None, 0.2, float("inf"), 0.5], pa.float32()),
        "out.z": pa.array([0.1, float("nan"), 1.0, None, float("nan"), 0.25], pa.float64()),
        "in.n": pa.array([1, 2, 3, 4, 5, 6], pa.int64()),
    }
)


@pytest.mark.parametrize(
    "condition",
    [
        '"out.y" = 0.1',
        '"out.y" <> 0.1',
        '"out.y" IN (0.1, 0.2)',
        '"out.y" BETWEEN 0.2 AND 1e30',
        '"out.y" > 1e30',
        '"out.y" >= 0.5',
        '0.5 >= "out.y"',
        '0.5 > "out.y"',
        '"out.y" < 0.5',
        '"out.z" = "out.z"',
        '"out.z" > "out.y"',
        '"out.z" <= "out.y"',
        '"out.y" >= "out.z"',
        '"out.z" > "in.n"',
        '"in.n" < "out.z"',
        'NOT "out.z" > 0',
        'ISNAN("out.z")',
        'NOT isnan("out.y")',
    ],
)
def test_nan_and_single_floats_are_compared_as_in_sql(condition):
    expected = duckdb.sql(f'SELECT "in.n" FROM FLOATS WHERE {condition}').fetchall()

    found = [index + 1 for index, holds in enumerate(Where(condition).holds(FLOATS)) if holds]

    assert found == sorted(number for (number,) in expected)


@pytest.mark.parametrize(
    "text",
    [
        "out.y > 0.1 AND in.n <> 4",
        "out.y >= 0.1 OR out.z < 0.3",
        "NOT out.z > out.y",
        "out.y = out.z",
        "ABS(out.y - out.z) / 2 < 0.1",
        "in.n * 2 - 1 BETWEEN 3 AND 9",
        "in.n / 4 > out.y",
        "ISNAN(out.y + out.z)",
        "in.n IN (1, 3, 6) OR out.y IN (0.1, 0.5)",
        "out.y IS NULL OR out.l[3] IS NULL AND (out.l[9] = 1 OR in.n < 3)",
        "out.l[1] < out.l[2] AND out.y <= 1e300",
        "in.s = 'it''s' OR in.s > 'b'",
    ],
)
def test_a_validation_and_a_reader_of_logs_mean_the_same(text):
    arrays = {
        "out.y": np.array([0.1, np.nan, np.inf, 0.2, -0.0, 0.5], np.float32),
        "out.z": np.array([0.1, np.nan, 1.0, -np.inf, np.nan, 0.25]),
        "out.l": np.arange(12, dtype=np.float32).reshape(6, 2) % 5,
        "in.n": np.arange(1, 7),
        "in.s": np.array(["a", "it's", "b", "ba", "", "é"], object),
    }
    rows = pa.table({name: array.tolist() for name, array in arrays.items()})
    rows = rows.set_column(0, "out.y", pa.array(arrays["out.y"]))
    parts = {
        group: {name.removeprefix(f"{group}."): each for name, each in arrays.items()}
        for group in ("in", "out")
    }

    found = parse(conditions.parse(text, "x"), "x").evaluate(parts["in"], parts["out"], 6)

    assert found.tolist() == Where(text).holds(rows).tolist()
    assert found.any()


def test_a_column_of_plain_words_needs_no_quotes():
    assert list(Where("out.y[1] > 1 AND in.flag IS NULL").holds(ROWS)) == [0, 0, 0, 0, 0]
    assert list(Where("in.n = 2 OR out_a.y[1] >= 5").holds(ROWS)) == [0, 1, 0, 0, 1]
    assert list(Where("metadata.out_a.status = 'timeout'").holds(ROWS)) == [0, 0, 1, 0, 0]


def test_times_are_compared_with_texts():
    assert list(Where("\"time\" >= '1970-01-01T01:00:03+01:00'").holds(ROWS)) == [0, 0, 0, 1, 1]
    assert list(Where("'1970-01-01 00:00:01' > \"time\"").holds(ROWS)) == [1, 0, 0, 0, 0]


def test_a_column_that_rows_do_not_have_is_null():
    assert not Where('"in.none" = 1').holds(ROWS).any()
    assert not Where('"in.none"[3] = 1').holds(ROWS).any()
    assert Where('"out_b.y" IS NULL').holds(ROWS).all()


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "NOT",
        '"in.n" =',
        '"in.n" = 1 1',
        '"in.n" ; DROP TABLE log',
        "(SELECT 1) = 1",
        "read_csv('/etc/passwd') = 1",
        '"in.n" = 1 -- "',
        '"secret" = 1',
        '"in.n"[0] = 1',
        '"in.n" NOT NULL',
        '"in.n" IN ()',
        '"in.n" IN ("in.n")',
        "'open",
        "(" * 400 + "1" + ")" * 400,
        "é = 1",
    ],
)
def test_what_is_no_condition_is_refused_before_anything_is_read(condition):
    with pytest.raises(Invalid, match=r"^where "):
        Where(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "1",
        '"in.n"',
        "\"in.n\" = 'a'",
        '"in.n"[1] = 1',
        "\"in.n\" + 'a' = 1",
        "\"time\" = 'noon'",
        f'"in.n" = {10**100}',
        f'"out.y"[{10**100}] = 1',
        '"out.y" = 1',
        "ABS(\"metadata.out_a.status\") = 1",
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused(condition):
    with pytest.raises(Invalid, match=r"^where "):
        Where(condition).holds(ROWS)
