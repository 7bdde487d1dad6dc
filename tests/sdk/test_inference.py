"""Inference: dicts, DataFrames and files, and what comes back."""

from __future__ import annotations

import json
import math
import pprint
import re
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gnomon
from gnomon.core import limits
from gnomon.core.errors import (
    BodyTooLarge,
    InputMismatch,
    Invalid,
    MalformedRequest,
    NotDeployed,
)
from gnomon.sdk import connections
from gnomon.sdk.inference import RAW_KEYS, InferenceResult, joined
from tests.sdk.wire import FRONT, TOKEN, Answer, refusal
from tests.waiting import until

ROW = [1.0, 2.0, 3.0]


def asked(server):
    return [seen for seen in server.requests if seen.path.startswith(FRONT)]


def test_an_answer_is_the_champions_with_the_challengers_beside_it(shadow):
    sent = {"tensor": [ROW, [0.5, 0.0, 0.0]]}

    [result] = shadow.pipeline.infer(sent)

    assert isinstance(result, InferenceResult)
    assert sorted(result.raw) == [
        "check_failures", "elapsed", "model_name", "model_version", "original_data", "outputs",
        "pipeline_name", "shadow_data", "time",
    ]  # fmt: skip
    assert result.raw["original_data"] == sent == result.input_data()
    np.testing.assert_array_equal(result.data()[0], [[12.0], [1.0]])
    assert result.data()[0].dtype == np.float64
    assert list(result.shadow_data()) == ["ccfraud-rf", "ccfraud-xgb"]
    np.testing.assert_array_equal(result.shadow_data()["ccfraud-rf"][0], [[-6.0], [-0.5]])
    assert result.model() == ("ccfraud-lstm", shadow.champion.version())
    assert result.time_elapsed() == timedelta(microseconds=226.951)
    assert datetime.now(UTC) - result.timestamp() < timedelta(minutes=1)
    rf = result.challengers["ccfraud-rf"]
    assert (rf.status, rf.error, rf.elapsed_ns) == ("ok", None, 226951)
    assert rf.model_version == shadow.rf.version()
    assert len(result.request_id) == 36


def test_a_result_shows_itself_as_the_raw_answer(shadow):
    [result] = shadow.pipeline.infer({"tensor": [ROW]})

    assert repr(result) == f"InferenceResult({pprint.pformat(result.raw)})"
    assert repr([result]).startswith("[InferenceResult({'check_failures': [],\n 'elapsed'")


def test_arrays_are_taken_where_lists_are(shadow, server):
    [result] = shadow.pipeline.infer({"tensor": np.array([ROW], np.float32)})
    shadow.pipeline.infer({"tensor": [[np.float64(1), np.int64(2), 3]]})
    [of_array] = shadow.pipeline.infer(np.array([ROW], np.float32))

    assert result.data()[0].item() == of_array.data()[0].item() == 12.0
    assert [seen.json() for seen in asked(server)] == [
        {"tensor": [ROW]},
        {"tensor": [[1.0, 2, 3]]},
        {"tensor": [ROW]},
    ]


def test_outputs_of_every_type_are_decoded():
    def raw(tag, data, dim):
        answer = dict.fromkeys(
            ["check_failures", "elapsed", "model_name", "model_version", "original_data",
             "pipeline_name", "shadow_data", "time"]
        )  # fmt: skip
        return InferenceResult(
            {**answer, "outputs": [{tag: {"data": data, "dim": dim, "v": 1}}]}
        ).data()[0]

    assert raw("Int64", [2**63 - 1], [1, 1]).item() == 2**63 - 1
    assert raw("Uint64", [2**64 - 1], [1]).item() == 2**64 - 1
    assert raw("Bool", [True, False], [2]).tolist() == [True, False]
    assert raw("String", ["a", "b"], [2, 1]).tolist() == [["a"], ["b"]]
    assert raw("Double", [0.1], []).item() == 0.1
    assert math.isnan(raw("Float", [None], [1]).item())
    assert raw("Float", [], [0, 1]).shape == (0, 1)


def test_what_json_has_no_word_for_is_decoded_in_outputs_and_shadow_data():
    tensor = {
        "data": [None, 1.5, None, None],
        "dim": [2, 2],
        "v": 1,
        "non_finite": {"0": "-Infinity", "2": "Infinity", "3": "NaN"},
    }
    answer = dict.fromkeys(RAW_KEYS)
    answer.update(outputs=[{"Float": tensor}], shadow_data={"xgb": [{"Double": tensor}]})
    result = InferenceResult(answer)

    expected = [[-math.inf, 1.5], [math.inf, math.nan]]
    np.testing.assert_array_equal(result.data()[0], expected)
    np.testing.assert_array_equal(result.shadow_data()["xgb"][0], expected)


def test_the_wait_for_challengers_is_asked_for_and_can_be_left_out(shadow, server):
    shadow.pipeline.infer({"tensor": [ROW]})
    [result] = shadow.pipeline.infer({"tensor": [ROW]}, shadow_wait_ms=0)

    first, second = asked(server)
    assert first.headers["X-Gnomon-Shadow-Wait-Ms"] == "1000"
    assert second.headers["X-Gnomon-Shadow-Wait-Ms"] == "0"
    assert result.shadow_data() == {}
    assert {one.status for one in result.challengers.values()} == {"pending"}


def test_a_joined_pipeline_waits_as_it_was_told(shadow, server):
    shadow.pipeline.add_shadow_deploy(
        shadow.champion, [shadow.rf], mode="joined", shadow_wait_ms=50
    ).deploy()

    shadow.pipeline.infer({"tensor": [ROW]})

    assert "X-Gnomon-Shadow-Wait-Ms" not in asked(server)[-1].headers


def test_what_takes_longer_than_a_second_says_so_and_starts_no_thread(
    shadow, server, capsys, monkeypatch
):
    monkeypatch.setattr(connections, "_SECOND", 0.01)
    pipeline = gnomon.Client(server.url, TOKEN).get_pipeline("cc-shadow")
    pipeline.infer({"tensor": [ROW]})
    assert capsys.readouterr().out == ""
    shown, names = "", set()

    def answer(seen):
        def waited_for() -> bool:
            nonlocal shown
            shown += capsys.readouterr().out
            return shown.endswith("...")

        until(waited_for)
        names.update(thread.name for thread in threading.enumerate())
        return server.infer(seen)

    server.answers["POST", FRONT] = answer
    pipeline.infer({"tensor": [ROW]})

    shown += capsys.readouterr().out
    assert re.fullmatch(
        r"Waiting for inference response - this will take up to 45s \.{3,} ok\n", shown
    )
    assert "gnomon-waiting" not in names


def test_a_request_can_have_an_id_and_a_timeout_of_its_own(shadow, server):
    [result] = shadow.pipeline.infer({"tensor": [ROW]}, timeout=2.5, request_id="mine-1")

    assert result.request_id == "mine-1"
    assert asked(server)[-1].headers["X-Gnomon-Timeout-Ms"] == "2500"
    with pytest.raises(MalformedRequest):
        shadow.pipeline.infer({"tensor": [ROW]}, request_id="not mine")
    with pytest.raises(MalformedRequest, match=r"request_id must be text, got int: try .*'5'"):
        shadow.pipeline.infer({"tensor": [ROW]}, request_id=5)
    for timeout in (0, "x", float("inf"), float("nan"), True):
        with pytest.raises(Invalid, match="timeout must be more than 0 seconds, got"):
            shadow.pipeline.infer({"tensor": [ROW]}, timeout=timeout)
    with pytest.raises(Invalid, match="0 to 60000 milliseconds, got '5'"):
        shadow.pipeline.infer({"tensor": [ROW]}, shadow_wait_ms="5")


def test_an_inference_is_one_round_trip(shadow, server):
    before = len(server.requests)

    shadow.pipeline.infer({"tensor": [ROW]})
    shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW]}))

    assert len(server.requests) == before + 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_what_json_cannot_carry_is_said_not_sent(shadow, server, value):
    with pytest.raises(InputMismatch, match=r"NaN or an infinite value.*Fill or drop"):
        shadow.pipeline.infer({"tensor": [[1.0, value, 2.0]]})
    assert asked(server) == []


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT])
def test_a_missing_value_in_a_further_column_travels_as_null(shadow, server, value):
    frame = pd.DataFrame({"tensor": [ROW, ROW], "amount": pd.Series([1.0, value], dtype=object)})

    shadow.pipeline.infer(frame)

    [sent] = asked(server)
    table = pa.ipc.open_stream(sent.body).read_all()
    assert table.column("amount").to_pylist() == [1.0, None]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"tensor": []}),
        pd.DataFrame([[1.0]]),
        pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]),
        pd.DataFrame({"mixed": [1.0, "a"]}),
        pd.DataFrame({"mixed": [[1.0, "a"]]}),
        pa.table({}),
        pa.table({"tensor": pa.array([], pa.float32())}),
        pa.chunked_array([[1.0]]),
    ],
    ids=["empty", "no rows", "no names", "name twice", "mixed", "lists", "void", "table", "array"],
)
def test_a_frame_that_cannot_be_rows_is_refused(shadow, frame):
    with pytest.raises(InputMismatch):
        shadow.pipeline.infer(frame)


@pytest.mark.parametrize("tensor", [[ROW], "text", None])
def test_anything_else_is_a_type_error_that_says_what_is_taken(shadow, tensor):
    with pytest.raises(TypeError, match=r"dict of named tensors.*or a pandas DataFrame; got"):
        shadow.pipeline.infer(tensor)


def answered(tensor):
    return {
        **dict.fromkeys(RAW_KEYS),
        "check_failures": [],
        "elapsed": 1,
        "outputs": [{"Float": tensor}],
        "shadow_data": {},
        "challengers": {},
        "request_id": "a",
    }


@pytest.mark.parametrize("made", [np.asarray, np.ndarray.tolist], ids=["array", "lists"])
def test_tensors_too_large_for_one_request_are_sent_in_several(shadow, server, monkeypatch, made):
    monkeypatch.setattr(limits, "INFER_BODY_BYTES_MAX", 2_000)
    values = np.arange(900, dtype="float32").reshape(300, 3)

    [result] = shadow.pipeline.infer({"tensor": made(values)}, request_id="mine")

    bodies = [len(seen.body) for seen in asked(server)]
    assert len(bodies) > 2
    assert max(bodies) <= 2_000
    expected = values.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(result.data()[0], 2 * expected)
    np.testing.assert_array_equal(result.shadow_data()["ccfraud-rf"][0], -expected)
    assert result.request_ids == ["mine", *(f"mine.{i}" for i in range(2, len(bodies) + 1))]
    assert result.request_id == "mine"
    assert result.challengers["ccfraud-rf"].elapsed_ns == 226951 * len(bodies)
    assert result.time_elapsed() == timedelta(microseconds=226.951 * len(bodies))
    assert result.input_data() is None


def test_what_validations_found_is_said_row_by_row():
    found = {"count": [1, 2, 0], "fraud": [True, True, False], "low": [False, True, False]}
    answer = {**answered({"data": [1.0], "dim": [1], "v": 1}), "check_failures": ["fraud", "low"]}

    result = InferenceResult({**answer, "anomaly": found})

    assert list(result.anomalies) == ["fraud", "low"]
    assert result.anomalies["low"].tolist() == [False, True, False]
    assert result.anomalies["low"].dtype == bool
    assert result.anomaly_count() == 3
    assert result.raw["check_failures"] == ["fraud", "low"]
    assert result.to_json()["anomalies"] == {"fraud": found["fraud"], "low": found["low"]}
    nothing = InferenceResult(answered({"data": [1.0], "dim": [1], "v": 1}))
    assert (nothing.anomalies, nothing.anomaly_count()) == ({}, 0)
    assert "anomalies" not in nothing.to_json()


def test_what_validations_found_is_joined_where_the_rows_are():
    def answer(name, *rows):
        tensor = {"data": [1.0] * len(rows), "dim": [len(rows)], "v": 1}
        found = {"count": list(map(int, rows)), "fraud": list(rows)}
        return {**answered(tensor), "check_failures": [name] * any(rows), "anomaly": found}

    whole = joined(
        [answer("fraud", True, False), answer("fraud", True), answer("b", False)], [2, 1, 1]
    )

    result = InferenceResult(whole)
    assert result.anomalies["fraud"].tolist() == [True, False, True, False]
    assert result.raw["check_failures"] == ["fraud"]


def test_what_has_no_common_rows_is_not_sent_in_several(shadow, server, monkeypatch):
    monkeypatch.setattr(limits, "INFER_BODY_BYTES_MAX", 2_000)
    for tensors in ({"a": np.zeros((300, 3)), "b": np.zeros((2, 3))}, {"a": "x" * 3_000}):
        with pytest.raises(BodyTooLarge, match="one request may have 2000"):
            shadow.pipeline.infer(tensors)
    assert asked(server) == []


def test_answers_whose_outputs_have_no_rows_are_not_joined(shadow, server, monkeypatch):
    monkeypatch.setattr(limits, "INFER_BODY_BYTES_MAX", 2_000)
    whole = answered({"data": [1.0], "dim": [1], "v": 1})
    server.answers["POST", FRONT] = lambda _: Answer(200, [whole])

    with pytest.raises(BodyTooLarge, match=r"an output of shape \[1\]"):
        shadow.pipeline.infer(np.zeros((300, 3)))


def test_where_the_server_takes_less_the_rows_are_sent_in_halves(shadow, server):
    def answer(seen):
        if len(seen.json()["tensor"]) > 2:
            return refusal(413, "body_too_large", "Too many.")
        return server.infer(seen)

    server.answers["POST", FRONT] = answer

    [result] = shadow.pipeline.infer({"tensor": [[i, 0, 0] for i in range(7)]})

    assert result.data()[0].ravel().tolist() == [2.0 * i for i in range(7)]
    assert [len(seen.json()["tensor"]) for seen in asked(server)] == [7, 3, 1, 2, 4, 2, 2]


def test_values_that_json_has_no_word_for_keep_their_place_when_answers_are_joined():
    def answer(data, non_finite):
        return answered({"data": data, "dim": [len(data)], "v": 1, "non_finite": non_finite})

    parts = [answer([None, 1.0], {"0": "NaN"}), answer([2.0, None], {"1": "-Infinity"})]

    result = InferenceResult(joined(parts, [2, 2]))

    np.testing.assert_array_equal(result.data()[0], [math.nan, 1.0, 2.0, -math.inf])


def test_an_array_is_sent_under_the_name_that_the_champion_was_given(shadow, server):
    shadow.champion.configure(tensor_fields=["features"])

    def answer(seen):
        if "features" not in seen.json():
            return refusal(422, "input_mismatch", "input 'features' is missing.")
        return server.infer(seen)

    server.answers["POST", FRONT] = answer
    for _ in range(2):
        [result] = shadow.pipeline.infer(np.array([ROW], np.float32))
        assert result.data()[0].item() == 12.0
    assert [list(seen.json()) for seen in asked(server)] == [["tensor"], ["features"], ["features"]]


def test_a_refusal_of_the_front_is_raised_with_its_request_id(shadow):
    with pytest.raises(InputMismatch, match=r"shape \[\?, 3\]") as caught:
        shadow.pipeline.infer({"tensor": [[1.0]]})
    assert caught.value.request_id == "request-1"


def test_a_pipeline_that_does_not_run_is_named(shadow, client):
    shadow.pipeline.undeploy()

    with pytest.raises(NotDeployed, match=r"'cc-shadow' is not deployed: call deploy\(\) first"):
        shadow.pipeline.infer({"tensor": [ROW]})
    with pytest.raises(NotDeployed, match="'never' is not deployed"):
        client.build_pipeline("never").infer({"tensor": [ROW]})


def test_a_frame_is_answered_by_a_frame(shadow, server):
    frame = shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW, ROW], "index": [7, 8]}))

    assert list(frame.columns) == [
        "time", "in.tensor", "in.index", "out.dense_1", "anomaly.count",
        "out_ccfraud-rf.dense_1", "out_ccfraud-xgb.dense_1",
    ]  # fmt: skip
    assert frame["time"].dtype == "datetime64[ms]"
    assert frame["out.dense_1"].tolist() == [[12.0], [12.0]]
    assert frame["out_ccfraud-xgb.dense_1"].tolist() == [[3.0], [3.0]]
    assert frame["in.index"].tolist() == [7, 8]
    assert frame["anomaly.count"].tolist() == [0, 0]
    assert len(frame.attrs["request_id"]) == 36
    assert frame.attrs["challengers"]["ccfraud-rf"].status == "ok"
    sent = asked(server)[-1]
    assert sent.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert pa.ipc.open_stream(sent.body).read_all().to_pylist() == [
        {"tensor": ROW, "index": 7},
        {"tensor": ROW, "index": 8},
    ]


def test_a_frame_says_which_challenger_failed(shadow, server):
    server.erring["ccfraud-rf"] = "It divided by zero."

    frame = shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW]}))

    assert frame["out_ccfraud-rf.dense_1"].tolist() == [None]
    assert frame.attrs["challengers"]["ccfraud-rf"].error == "It divided by zero."


def test_files_of_each_kind_are_read(shadow, tmp_path):
    tensors = tmp_path / "tensors.json"
    tensors.write_text(json.dumps({"tensor": [ROW]}))
    records = tmp_path / "records.json"
    records.write_text(json.dumps([{"tensor": ROW}, {"tensor": ROW}]))
    table = pa.table({"tensor": pa.array([ROW, ROW, ROW], pa.list_(pa.float32()))})
    file, stream = tmp_path / "file.arrow", tmp_path / "stream.arrow"
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)

    assert shadow.pipeline.infer_from_file(tensors)[0].data()[0].item() == 12.0
    assert shadow.pipeline.infer_from_file(str(records))["out.dense_1"].tolist() == [[12.0]] * 2
    assert len(shadow.pipeline.infer_from_file(file)) == 3
    assert len(shadow.pipeline.infer_from_file(stream)) == 3


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("a.csv", "1,2", TypeError, "only '.json' and '.arrow'"),
        ("a", "{}", TypeError, "only '.json' and '.arrow'"),
        ("a.json", None, FileNotFoundError, "There is no file"),
        ("a.json", "{", MalformedRequest, "a.json is not JSON"),
        ("a.json", "", MalformedRequest, "a.json is not JSON"),
        ("a.json", "[" * 100_000, MalformedRequest, "a.json is not JSON"),
        ("a.json", '{"tensor": [[NaN]]}', MalformedRequest, "NaN is not a JSON number"),
        ("a.json", "3", MalformedRequest, "object of named tensors"),
        ("a.json", "[]", MalformedRequest, "list of records"),
        ("a.json", "[[1]]", MalformedRequest, "list of records"),
        ("a.json", '[{"a": 1}, {"b": 1}]', MalformedRequest, r"record 1 has the keys \['b'\]"),
        ("a.arrow", "not arrow", MalformedRequest, "not an Arrow IPC file"),
        ("a.arrow", "", MalformedRequest, "not an Arrow IPC file"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    shadow, tmp_path, name, content, error, says
):
    file = tmp_path / name
    if content is not None:
        file.write_text(content)

    with pytest.raises(error, match=says):
        shadow.pipeline.infer_from_file(file)


def test_columns_are_chosen_by_the_address(shadow, server):
    frame = pd.DataFrame({"tensor": [ROW]})

    shadow.pipeline.infer(frame, None, ["time", "out"], "out.b", "/")
    shadow.pipeline.infer(frame, dataset="*", dataset_exclude=[])

    queries = [seen.query for seen in asked(server)]
    assert queries == [
        {"dataset[]": "time", "dataset.exclude[]": "out.b", "dataset.separator": "/"},
        {},
    ]


def test_a_choice_of_columns_that_is_none_is_refused(shadow):
    frame = pd.DataFrame({"tensor": [ROW]})
    with pytest.raises(Invalid, match=r"dataset must be a list of columns.*got '5'"):
        shadow.pipeline.infer(frame, dataset=5)
    with pytest.raises(Invalid, match="dataset_exclude must be a list"):
        shadow.pipeline.infer(frame, dataset_exclude=[1])
    with pytest.raises(Invalid, match="dataset_separator must be text"):
        shadow.pipeline.infer(frame, dataset_separator=1)
    with pytest.raises(Invalid, match="send a frame"):
        shadow.pipeline.infer({"tensor": [ROW]}, dataset=["out"])
    assert shadow.pipeline.infer({"tensor": [ROW]}, None, ["*"], None, None)


def test_a_file_can_be_said_to_hold_what_its_name_does_not_say(shadow, tmp_path):
    tensors, rows, arrow = tmp_path / "tensors", tmp_path / "rows.txt", tmp_path / "a.json"
    tensors.write_text(json.dumps({"tensor": [ROW]}))
    rows.write_text(json.dumps([{"tensor": ROW}]))
    table = pa.table({"tensor": pa.array([ROW], pa.list_(pa.float32()))})
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    ask = shadow.pipeline.infer_from_file

    assert ask(tensors, "custom-json")[0].data()[0].item() == 12.0
    assert ask(rows, "custom-json")["out.dense_1"].tolist() == [[12.0]]
    assert ask(rows, "pandas-records", 5.0, ["*"])["out.dense_1"].tolist() == [[12.0]]
    assert ask(arrow, data_format="arrow")["out.dense_1"].tolist() == [[12.0]]
    with pytest.raises(MalformedRequest, match="tensors must hold a list of records"):
        ask(tensors, "pandas-records")
    with pytest.raises(MalformedRequest, match="not an Arrow IPC file"):
        ask(rows, "arrow")
    with pytest.raises(Invalid, match="data_format must be one of 'pandas-records'"):
        ask(rows, "csv")
    with pytest.raises(Invalid, match=r"got '30'.*timeout=seconds"):
        ask(rows, 30)
    with pytest.raises(Invalid, match="path of a file, got NoneType"):
        ask(None)
