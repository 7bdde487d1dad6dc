"""Frames: what travels of them, and the frames that come back."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, Conflict, MalformedRequest, ServerError
from gnomon.sdk import answers, rows
from tests.sdk.wire import FRONT, Answer

ROW = [1.0, 2.0, 3.0]
TENSOR = pa.list_(pa.float32(), 3)


def sent(server) -> list[pa.Table]:
    return [
        pa.ipc.open_stream(seen.body).read_all()
        for seen in server.requests
        if seen.path.startswith(FRONT)
    ]


def stream(**columns) -> bytes:
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_columns_of_a_frame_keep_their_types_on_the_way():
    frame = pd.DataFrame(
        {
            "tensor": [np.array(ROW, np.float32), np.array([np.nan, -0.0, np.inf], np.float32)],
            "lists": [[1, 2.5], [3, 4]],
            "deep": [np.zeros((2, 2), "int8")] * 2,
            "ragged": [[1], [2, 3]],
            "count": np.array([2**53 + 1, 2**63 - 1], np.int64),
            "big": pd.Series([2**64 - 1, 0], dtype=object),
            "half": np.array([0.5, np.nan], np.float16),
            "flag": [True, False],
            "name": ["ä", ""],
            "kind": pd.Categorical(["x", "x"]),
            "nullable": pd.array([1, 2], "Int32"),
            "price": [0.1, np.nan],
            "big_endian": np.array([1, 2], ">i4"),
            "when": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
            "day": [dt.date(2026, 1, 1)] * 2,
        }
    )

    table = rows.table_of(frame)

    assert {field.name: str(field.type) for field in table.schema} == {
        "tensor": "fixed_size_list<item: float>[3]",
        "lists": "fixed_size_list<item: double>[2]",
        "deep": "fixed_size_list<item: fixed_size_list<item: int8>[2]>[2]",
        "ragged": "list<item: int64>",
        "count": "int64",
        "big": "uint64",
        "half": "halffloat",
        "flag": "bool",
        "name": "large_string",
        "kind": str(table.schema.field("name").type),
        "nullable": "int32",
        "price": "double",
        "big_endian": "int32",
        "when": "timestamp[us, tz=UTC]",
        "day": "date32[day]",
    }
    values = table.column("tensor").combine_chunks().flatten().to_numpy()
    np.testing.assert_array_equal(values, np.float32([1, 2, 3, np.nan, -0.0, np.inf]))
    assert np.signbit(values[4])
    assert table.column("count").to_pylist() == [2**53 + 1, 2**63 - 1]
    assert table.column("big").to_pylist() == [2**64 - 1, 0]
    assert table.column("half").null_count == table.column("price").null_count == 0
    assert table.schema.metadata is None


def test_views_dictionaries_and_extensions_travel_as_what_they_stand_for():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((2, 3), "float32"))
    table = pa.table(
        {
            "tensor": tensors,
            "view": pa.array(["a", "b"], pa.string_view()),
            "views": pa.array([["a"], ["b"]], pa.large_list(pa.string_view())),
            "kind": pa.array(["x", "x"]).dictionary_encode(),
            "view_kind": pa.DictionaryArray.from_arrays(
                pa.array([0, 0], pa.uint32()), pa.array(["x"], pa.string_view())
            ),
        }
    )

    plain = rows.table_of(table)

    kinds = [str(kind) for kind in plain.schema.types]
    assert plain.column("view_kind").to_pylist() == ["x", "x"]

    assert kinds[0].endswith("float>[3]")
    assert kinds[1:] == ["large_string", "large_list<item: large_string>", "string", "large_string"]


def test_a_table_is_answered_by_a_table(shadow, server):
    table = pa.table({"tensor": pa.array([ROW, ROW], TENSOR), "note": ["a", None]})

    answer = shadow.pipeline.infer(table, request_id="mine")

    assert isinstance(answer, pa.Table)
    assert answer.column_names == [
        "time", "in.tensor", "in.note", "out.dense_1", "anomaly.count",
        "out_ccfraud-rf.dense_1", "out_ccfraud-xgb.dense_1",
    ]  # fmt: skip
    assert answer.schema.field("out.dense_1").type == pa.list_(pa.float32())
    facts = answers.facts_of(answer)
    assert facts["request_id"] == "mine"
    assert facts["challengers"]["ccfraud-rf"].status == "ok"
    assert sent(server)[0].schema.field("tensor").type == TENSOR


class Frame:
    """A frame of a library that nobody here knows."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class OldFrame:
    """One that says it in its own way."""

    def __init__(self, table: pa.Table) -> None:
        self.to_arrow = lambda: table


@pytest.mark.parametrize("kind", [Frame, OldFrame])
def test_any_frame_that_gives_itself_as_arrow_is_answered_by_a_table(shadow, kind):
    answer = shadow.pipeline.infer(kind(pa.table({"tensor": pa.array([ROW], TENSOR)})))

    assert isinstance(answer, pa.Table)
    assert answer.column("out.dense_1").to_pylist() == [[12.0]]


def test_a_polars_frame_is_answered_by_a_polars_frame(shadow, server):
    import polars

    frame = polars.DataFrame(
        {"tensor": [ROW, ROW], "name": ["a", "b"]},
        schema_overrides={"tensor": polars.Array(polars.Float32, 3)},
    )

    answer = shadow.pipeline.infer(frame)

    assert isinstance(answer, polars.DataFrame)
    assert answer["out.dense_1"].to_list() == [[12.0], [12.0]]
    assert [str(kind) for kind in sent(server)[0].schema.types][1] == "large_string"


def test_outputs_are_floats_as_they_are_written():
    metadata = {"gnomon": '{"request_id": "a", "request_ids": ["a"], "challengers": {}}'}
    floats = pa.list_(pa.float32())
    table = pa.table(
        {
            "time": pa.array([1_700_000_000_123], pa.timestamp("ms")),
            "in.price": pa.array([0.1], pa.float32()),
            "out.y": pa.array([[0.1, 2.0]], floats),
            "out.s": pa.array([0.1], pa.float32()),
            "out.n": pa.array([[0.1, float("nan")]], floats),
            "anomaly.count": pa.array([0], pa.uint32()),
            "out_a.y": pa.array([None], floats),
            "out_a.s": pa.array([None], pa.float32()),
            "out_a.t": pa.array(["x"]),
        }
    ).replace_schema_metadata(metadata)

    frame = answers.to_pandas(table)

    assert frame["out.y"].tolist() == [[0.1, 2.0]]
    assert frame["out.s"].tolist() == [0.1]
    assert frame["out.n"][0][0] == 0.1
    assert np.isnan(frame["out.n"][0][1])
    assert frame["out_a.y"].tolist() == frame["out_a.s"].tolist() == [None]
    assert frame["out_a.t"].tolist() == ["x"]
    assert frame["in.price"].dtype == np.float32
    assert frame["anomaly.count"].dtype == np.int64
    assert frame["time"].dtype == "datetime64[ms]"
    assert frame.attrs == {"request_id": "a", "request_ids": ["a"], "challengers": {}}


def test_what_validations_found_are_truths():
    metadata = {"gnomon": '{"request_id": "a", "request_ids": ["a"], "challengers": {}}'}
    columns = {
        "anomaly.count": pa.array([1, 0], pa.uint32()),
        "anomaly.fraud": pa.array([True, False]),
        "anomaly.lost": pa.array([True, None]),
    }

    frame = answers.to_pandas(pa.table(columns).replace_schema_metadata(metadata))

    assert frame["anomaly.count"].dtype == np.int64
    assert frame["anomaly.fraud"].dtype == bool
    assert frame["anomaly.fraud"].tolist() == [True, False]
    assert frame["anomaly.lost"].tolist() == [True, None]


def test_what_one_request_cannot_take_is_sent_in_several_and_joined_in_order(
    shadow, server, monkeypatch
):
    monkeypatch.setattr(limits, "INFER_BODY_BYTES_MAX", 2_000)
    values = np.arange(900, dtype="float32").reshape(300, 3)

    frame = shadow.pipeline.infer(pd.DataFrame({"tensor": list(values)}), request_id="mine")

    bodies = [len(seen.body) for seen in server.requests if seen.path.startswith(FRONT)]
    assert len(bodies) > 2
    assert max(bodies) <= 2_000
    assert [cell[0] for cell in frame["out.dense_1"]] == (values.sum(axis=1) * 2).tolist()
    assert frame["in.tensor"].tolist() == values.tolist()
    ids = frame.attrs["request_ids"]
    assert ids == ["mine", *(f"mine.{part}" for part in range(2, len(bodies) + 1))]
    assert frame.attrs["request_id"] == "mine"
    rf = frame.attrs["challengers"]["ccfraud-rf"]
    assert (rf.status, rf.elapsed_ns) == ("ok", 226951 * len(bodies))


def test_a_row_that_is_too_large_is_refused(shadow, monkeypatch):
    monkeypatch.setattr(limits, "INFER_BODY_BYTES_MAX", 2_000)
    with pytest.raises(BodyTooLarge, match="A row has"):
        shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW], "text": ["x" * 3_000]}))


def test_an_id_that_becomes_too_long_for_the_second_part_is_refused(shadow, monkeypatch):
    monkeypatch.setattr(limits, "INFER_BODY_BYTES_MAX", 2_000)
    frame = pd.DataFrame({"tensor": [ROW] * 300})
    with pytest.raises(MalformedRequest):
        shadow.pipeline.infer(frame, request_id="x" * 64)


def test_a_challenger_that_failed_in_one_part_has_failed():
    def told(status, error=None):
        one = {"model_name": "m", "model_version": "v", "elapsed": 1}
        return {"m": {**one, "status": status, "error": error}}

    def part(request_id, *fate):
        return answers.read(stream(time=[1]), request_id, json.dumps(told(*fate)))

    answer = answers.joined([part("a", "ok"), part("b", "error", "Why"), part("c", "ok")])

    challenger = answers.facts_of(answer)["challengers"]["m"]
    assert (challenger.status, challenger.error, challenger.elapsed_ns) == ("error", "Why", 3)
    assert answer.column("time").to_pylist() == [1, 1, 1]


def test_answers_of_other_columns_are_joined_where_that_can_be():
    def part(**columns):
        return answers.read(stream(**columns), "a", None)

    floats, wider = pa.array([1.5], pa.float32()), pa.array([2.5], pa.float64())
    table = answers.joined([part(x=floats), part(x=wider, y=["b"])])
    assert table.to_pylist() == [{"x": 1.5, "y": None}, {"x": 2.5, "y": "b"}]
    with pytest.raises(Conflict, match="Was the pipeline deployed anew meanwhile"):
        answers.joined([part(x=floats), part(x=["text"])])


def test_an_answer_that_is_no_table_is_said(shadow, server):
    server.answers[("POST", FRONT)] = lambda seen: Answer(200, b"ARROW?", {})
    with pytest.raises(ServerError, match="not a table"):
        shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW]}))


def test_a_file_is_sent_as_it_is_and_answered_by_a_frame(shadow, server, tmp_path):
    table = pa.table({"tensor": pa.array([ROW], TENSOR), "f": pa.array([np.nan], pa.float16())})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)

    frame = shadow.pipeline.infer_from_file(tmp_path / "a.arrow")

    assert isinstance(frame, pd.DataFrame)
    assert frame.attrs["challengers"]["ccfraud-rf"].status == "ok"
    [seen] = sent(server)
    assert seen.schema == table.schema
    assert seen.column("f").null_count == 0
