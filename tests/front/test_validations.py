"""Validations of what passes through a front: found row by row, and never in an answer's way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from gnomon.core.conditions import parse
from gnomon.core.model import Signature
from gnomon.core.plan import Check
from tests.front.desk import Desk, data_of, json_of, status_of
from tests.front.models import challenger, champion, route, spec


def watched(**conditions: str):
    """Describe a deployment of a model of float32 [?, 2] that gives twice that."""
    trees = {name: parse(text, name) for name, text in conditions.items()}
    checks = (Check(stage=0, expressions=trees),)
    return replace(route(champion("main"), challenger("rf")), checks=checks)


@pytest.fixture
def desk(request) -> Iterator[Desk]:
    """A desk of the route that the test is given as parameter."""
    made = Desk(request.param)
    yield made
    made.loop.close()


def on(**conditions: str):
    return pytest.mark.parametrize("desk", [watched(**conditions)], indirect=True)


@on(high="out.y[1] > 3", odd="in.tensor[2] = 5 OR in.tensor[2] <> in.tensor[2]")
def test_requests_that_go_together_have_what_was_found_in_their_own_rows(desk):
    calls = desk.infer_together(
        [
            {"tensor": [[1.5, 2.5], [2.5, 5.0]]},
            {"tensor": [[0.5, 5.0]]},
            {"tensor": [[0.5, 0.5]]},
        ]
    )

    [entry] = desk.log.inferences()
    assert {name: array.tolist() for name, array in entry.champion.anomalies.items()} == {
        "high": [False, True, False, False],
        "odd": [False, True, True, False],
    }
    answers = [json_of(call)[0] for call in calls]
    assert [answer["check_failures"] for answer in answers] == [["high", "odd"], ["odd"], []]
    assert [answer["anomaly"] for answer in answers] == [
        {"count": [0, 2], "high": [False, True], "odd": [False, True]},
        {"count": [1], "high": [False], "odd": [True]},
        {"count": [0], "high": [False], "odd": [False]},
    ]


@on(never="in.elsewhere > 1", high="out.y[1] > 3")
def test_a_validation_that_cannot_be_computed_fails_no_answer(desk):
    call = desk.infer({"tensor": [[1, 2]]})

    assert status_of(call) == 200
    assert data_of(call) == [2.0, 4.0]
    assert json_of(call)[0]["anomaly"] == {"count": [1], "high": [False], "never": [True]}


@on(high="out.y[1] > 3 AND in.note = 'x'")
def test_columns_that_feed_no_model_can_be_looked_at(desk):
    records = [{"tensor": [2, 2], "note": "x"}, {"tensor": [2, 2], "note": "y"}]

    call = desk.infer(records)

    assert [row["anomaly"] for row in json_of(call)] == [
        {"count": 1, "high": True},
        {"count": 0, "high": False},
    ]


def test_a_request_that_a_model_takes_as_a_whole_is_looked_at_as_a_whole():
    signature = Signature(inputs=(spec(shape=(3, 2)),), outputs=(spec("y", shape=(3, 2)),))
    whole = replace(champion("main"), signature=signature)
    check = Check(stage=0, expressions={"last": parse("out.y[3][2] = 12", "last")})
    desk = Desk(replace(route(whole), checks=(check,)))

    call = desk.infer({"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]})
    other = desk.infer({"x": np.zeros((3, 2)).tolist()})

    assert json_of(call)[0]["anomaly"] == {"count": [1], "last": [True]}
    assert json_of(other)[0]["anomaly"] == {"count": [0], "last": [False]}
    first, _ = desk.log.inferences()
    assert first.champion.anomalies["last"].tolist() == [True] * first.rows[0]
    desk.loop.close()
