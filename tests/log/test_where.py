from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from gnomon.core.errors import Invalid
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
