"""What validations found stands in every format of an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from gnomon.core.errors import InputMismatch
from gnomon.core.inference import Observation
from gnomon.core.plan import Check
from gnomon.core.routing import Route
from gnomon.front import codecs
from gnomon.front.codecs import Result, Wanted
from gnomon.front.codecs.answer_tensor_groups import TensorAnswers
from gnomon.front.codecs.wanted import Format
from tests.front.arrow import FILE, body_of, ok
from tests.front.models import challenger, champion, route, spec

ROWS = [[0.1, 1.0], [2.5, 3.0], [4.0, 5.0]]
BODIES = {
    Format.NAMED_TENSORS: json.dumps({"x": ROWS}).encode(),
    Format.RECORDS: json.dumps([{"x": row} for row in ROWS]).encode(),
    Format.ARROW_STREAM: body_of(pa.table({"x": ROWS})),
    Format.ARROW_FILE: body_of(pa.table({"x": ROWS}), FILE),
}
LOW, FRAUD = np.array([False, True, False]), np.array([True, True, False])
SERVED = champion("main", inputs=(spec("x"),), outputs=(spec("y", shape=(None, 1)),))
RF = challenger("rf", outputs=(spec("v", shape=(None, 1)),))


def checked(*checks: dict) -> Route:
    return replace(
        route(SERVED, RF),
        checks=tuple(Check(stage=0, expressions=each) for each in checks),
    )


def observed(rows: int = 3, **anomalies: np.ndarray) -> Observation:
    outputs = np.arange(rows, dtype=np.float32).reshape(rows, 1)
    return replace(ok(SERVED, outputs), anomalies=anomalies)


def answered(came_in: Format, *, champion: Observation | None = None, **chosen) -> codecs.Answer:
    wanted = Wanted(**chosen)
    document = codecs.read(BODIES[came_in], None)
    deployed = checked({"low": None}, {"fraud": None})
    document.check_wanted(wanted, deployed)
    seen = (ok(RF, np.ones((3, 1), np.float32)),)
    shown = champion or observed(low=LOW, fraud=FRAUD)
    return document.answer(Result(deployed, "id-1", 1_700, shown, seen, wanted))


def table_of(answer: codecs.Answer) -> pa.Table:
    read = pa.ipc.open_file if answer.content_type == FILE else pa.ipc.open_stream
    table = read(answer.body).read_all()
    table.validate(full=True)
    return table


@pytest.mark.parametrize("came_in", BODIES)
def test_records_say_of_each_row_what_was_found(came_in):
    rows = json.loads(answered(came_in, accept=Format.RECORDS).body)

    assert [row["anomaly"] for row in rows] == [
        {"count": 1, "fraud": True, "low": False},
        {"count": 2, "fraud": True, "low": True},
        {"count": 0, "fraud": False, "low": False},
    ]
    assert list(rows[0]) == ["time", "in", "out", "anomaly", "out_rf"]
    assert list(rows[0]["anomaly"]) == ["count", "fraud", "low"]


@pytest.mark.parametrize("kind", [Format.ARROW_FILE, Format.ARROW_STREAM])
@pytest.mark.parametrize("came_in", BODIES)
def test_arrow_has_a_column_for_each_validation(came_in, kind):
    table = table_of(answered(came_in, accept=kind))

    assert table.column_names == [
        *("time", "in.x", "out.y", "anomaly.count", "anomaly.fraud", "anomaly.low", "out_rf.v"),
    ]
    assert table.schema.field("anomaly.count") == pa.field("anomaly.count", pa.uint32(), False)
    assert table.schema.field("anomaly.low") == pa.field("anomaly.low", pa.bool_())
    assert table.column("anomaly.count").to_pylist() == [1, 2, 0]
    assert table.column("anomaly.low").to_pylist() == LOW.tolist()
    assert table.column("anomaly.fraud").to_pylist() == FRAUD.tolist()


@pytest.mark.parametrize("came_in", BODIES)
def test_named_tensors_name_what_was_found_and_say_in_which_rows(came_in):
    [answer] = json.loads(answered(came_in, accept=Format.NAMED_TENSORS).body)

    assert answer["check_failures"] == ["fraud", "low"]
    assert answer["anomaly"] == {
        "count": [1, 2, 0],
        "fraud": FRAUD.tolist(),
        "low": LOW.tolist(),
    }
    nothing = observed(low=~LOW & LOW, fraud=~LOW)
    [answer] = json.loads(answered(came_in, champion=nothing, accept=Format.NAMED_TENSORS).body)
    assert answer["check_failures"] == ["fraud"]


@pytest.mark.parametrize("came_in", [Format.RECORDS, Format.ARROW_STREAM])
@pytest.mark.parametrize(
    ("dataset", "excluded", "columns"),
    [
        (("anomaly",), (), ["count", "fraud", "low"]),
        (("anomaly.low",), (), ["low"]),
        (("anomaly.count", "anomaly.fraud"), ("anomaly",), ["count", "fraud"]),
        (("*",), ("anomaly.count",), ["fraud", "low"]),
        (("*", "anomaly.low"), ("anomaly",), ["low"]),
    ],
)
def test_anomalies_are_chosen_as_other_columns_are(came_in, dataset, excluded, columns):
    chosen = {"dataset": dataset, "dataset_exclude": excluded}

    rows = json.loads(answered(came_in, accept=Format.RECORDS, **chosen).body)
    table = table_of(answered(came_in, accept=Format.ARROW_STREAM, **chosen))

    assert [list(row["anomaly"]) for row in rows] == [columns] * 3
    names = [name for name in table.column_names if name.startswith("anomaly.")]
    assert names == [f"anomaly.{name}" for name in columns]
    assert [[row["anomaly"][name] for row in rows] for name in columns] == [
        table.column(name).to_pylist() for name in names
    ]


@pytest.mark.parametrize("came_in", [Format.RECORDS, Format.ARROW_STREAM])
def test_a_validation_that_there_is_not_cannot_be_chosen(came_in):
    with pytest.raises(InputMismatch, match=r"Did you mean 'anomaly\.fraud'"):
        answered(came_in, accept=Format.RECORDS, dataset=("anomaly.froud",))


def test_structs_and_other_separators_have_anomalies():
    table = table_of(answered(Format.ARROW_STREAM, dataset_separator=""))
    assert table.column("anomaly").to_pylist()[1] == {"count": 2, "fraud": True, "low": True}
    [first, *_] = json.loads(answered(Format.RECORDS, dataset_separator="/").body)
    assert first["anomaly/low"] is False


def test_what_was_found_in_a_request_as_a_whole_was_found_in_its_only_row():
    taken_whole = champion("main", inputs=(spec("x", shape=(3, 2)),), outputs=(spec("y"),))
    shown = replace(
        ok(taken_whole, np.zeros((1, 2), np.float32)), anomalies={"odd": np.array([True] * 3)}
    )
    deployed = route(taken_whole)
    for accept, found in (
        (Format.RECORDS, {"count": 1, "odd": True}),
        (Format.NAMED_TENSORS, {"count": [1], "odd": [True]}),
    ):
        document = codecs.read(BODIES[Format.NAMED_TENSORS], None)
        result = Result(deployed, "id-1", 1_700, shown, (), Wanted(accept))
        [answer] = json.loads(document.answer(result).body)
        assert answer["anomaly"] == found


@pytest.mark.parametrize("rows", [[1, 1, 1], [2, 1], [3], [1, 2]])
def test_answers_written_together_are_those_written_one_by_one(rows):
    deployed = route(SERVED, RF)
    together = observed(low=LOW, fraud=FRAUD)
    shadow = ok(RF, np.ones((3, 1), np.float32))
    ends = np.cumsum([0, *rows])
    bodies = [json.dumps({"x": ROWS[start:end]}).encode() for start, end in pairwise(ends)]
    ids = [f"id-{number}" for number in range(len(rows))]

    written = TensorAnswers(deployed).bodies(
        bodies, ids, [1_700] * len(rows), rows, together, [(RF, shadow)]
    )

    alone = []
    for body, request_id, start, end in zip(bodies, ids, ends, ends[1:], strict=False):
        seen = (shadow.of_rows(start, end),)
        result = Result(deployed, request_id, 1_700, together.of_rows(start, end), seen)
        alone.append(codecs.read(body, None).answer(result).body)
    assert written == alone
