"""Logs: real lists with one entry per model, and the ways of a DataFrame beside them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from gnomon.core.errors import Invalid, ServerError
from gnomon.sdk import records
from gnomon.sdk.logs import LogEntries, LogEntry
from tests.sdk.wire import Answer, log_stream, tensor

ROW = [1.0, 2.0, 3.0]
COLUMNS = [
    "time", "in.tensor", "out.dense_1", "anomaly.count",
    "out_ccfraud-rf.dense_1", "out_ccfraud-xgb.dense_1",
]  # fmt: skip


def test_logs_have_one_entry_per_model_with_the_champion_last(shadow):
    shadow.pipeline.infer({"tensor": [ROW]})

    logs = shadow.pipeline.logs()

    assert isinstance(logs, list)
    shown = [(log.model_name, log.output) for log in logs]
    assert repr(shown) == (
        "[('ccfraud-xgb', [array([[3.]])]), ('ccfraud-rf', [array([[-6.]])]), "
        "('ccfraud-lstm', [array([[12.]])])]"
    )
    assert logs[0].output[0].dtype == np.float64


def test_an_entry_has_all_that_is_known(shadow):
    [result] = shadow.pipeline.infer({"tensor": [ROW]})

    xgb, _, champion = shadow.pipeline.logs()

    assert champion.input == [ROW]
    assert champion.request_id == result.request_id == xgb.request_id
    assert champion.model_version == shadow.champion.version()
    assert champion.elapsed == 226951
    assert champion.time_elapsed() == timedelta(microseconds=226.951)
    assert champion.timestamp.utcoffset() == timedelta(0)
    assert champion.validation_failures == []
    assert (champion.status, champion.error, champion.label) == ("ok", None, "ccfraud-lstm")
    assert sorted(champion.shadow_data) == ["ccfraud-rf", "ccfraud-xgb"]
    assert champion.shadow_data["ccfraud-xgb"][0].item() == 3.0
    assert xgb.shadow_data == {}
    assert champion.raw["outputs"] == [[[12.0]]]
    assert repr(xgb).startswith("LogEntry(model_name='ccfraud-xgb', timestamp=20")


def test_a_failed_challenger_says_why_and_has_no_output(shadow, server):
    server.erring["ccfraud-rf"] = "It divided by zero."
    shadow.pipeline.infer({"tensor": [ROW]})

    _, rf, champion = shadow.pipeline.logs()

    assert (rf.status, rf.error, rf.output) == ("error", "It divided by zero.", [])
    assert list(champion.shadow_data) == ["ccfraud-xgb"]
    assert "error='It divided by zero.'" in repr(rf)
    assert shadow.pipeline.logs()["out_ccfraud-xgb.dense_1"].tolist() == [[3.0]]


def test_requests_come_newest_first_and_the_limit_counts_requests(shadow):
    ids = [shadow.pipeline.infer({"tensor": [ROW]})[0].request_id for _ in range(3)]

    logs = shadow.pipeline.logs(limit=2)

    assert [log.request_id for log in logs] == [ids[2]] * 3 + [ids[1]] * 3
    assert logs.more
    assert not shadow.pipeline.logs(limit=3).more


def test_logs_are_a_frame_with_a_row_per_input_row(shadow):
    shadow.pipeline.infer({"tensor": [ROW]})
    shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW, [0.0, 0.0, 1.0]]}))

    logs = shadow.pipeline.logs()
    frame = logs.to_pandas()

    assert list(frame.columns) == COLUMNS == list(logs.columns)
    # The last row of the newest request first
    assert frame["out.dense_1"].tolist() == [[2.0], [12.0], [12.0]]
    assert frame["in.tensor"].tolist() == [[0.0, 0.0, 1.0], ROW, ROW]
    assert frame["time"].dtype == "datetime64[ms]"
    assert frame["anomaly.count"].tolist() == [0, 0, 0]
    assert logs["out_ccfraud-rf.dense_1"].tolist() == [[-1.0], [-6.0], [-6.0]]
    assert list(logs[["time", "in.tensor"]].columns) == ["time", "in.tensor"]
    assert len(logs.head(2)) == 2
    assert isinstance(logs[0], LogEntry)
    assert isinstance(logs[0:3], LogEntries)
    assert len(logs[0:3].to_pandas()) == 2


def test_an_empty_log_is_an_empty_list_and_frame(shadow):
    logs = shadow.pipeline.logs()

    assert logs == []
    assert list(logs.columns) == ["time"]
    assert len(logs.to_pandas()) == 0
    assert shadow.pipeline.logs_shadow_deploy() == []


def test_further_columns_are_logged_with_their_types(shadow):
    shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW], "index": [2**53 + 1], "who": ["ä"]}))

    logs = shadow.pipeline.logs()

    assert logs[0].input == {"tensor": [ROW], "index": [2**53 + 1], "who": ["ä"]}
    assert logs["in.index"].tolist() == [2**53 + 1]
    assert logs["in.who"].tolist() == ["ä"]


def test_the_shadow_log_is_grouped_by_request(shadow):
    [first] = shadow.pipeline.infer({"tensor": [ROW]})
    [second] = shadow.pipeline.infer({"tensor": [ROW]})

    log = shadow.pipeline.logs_shadow_deploy()

    assert [entry.request_id for entry in log] == [second.request_id, first.request_id]
    assert log[0].primary.model_name == "ccfraud-lstm"
    assert [c.label for c in log[0].challengers] == ["ccfraud-rf", "ccfraud-xgb"]
    assert log[0].input == [ROW]


def test_a_front_that_did_not_answer_is_warned_of(shadow, server):
    server.answers["GET", "/v1/workspaces/1/pipelines/cc-shadow/logs"] = lambda _: Answer(
        200, log_stream([]), {"X-Gnomon-Unread": "front-0"}
    )

    with pytest.warns(UserWarning, match="front-0 did not answer in time"):
        shadow.pipeline.logs()


@pytest.mark.parametrize("body", [b"", b"{}", log_stream([])[:40]])
def test_what_is_no_log_is_said_not_to_be(body):
    with pytest.raises(ServerError, match="not a log"):
        records.decode(body)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, float("nan")]], np.float32),
        np.array([1.5], np.float16),
        np.array([2**63 - 1], np.int64),
        np.array([[True], [False]]),
        np.array([["a", "ü"]], dtype=object),
        np.zeros((0, 3), np.float32),
        np.array(7, np.int32),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_every_type_of_tensor_survives_the_way_through_the_log(array):
    back = records._array(tensor("x", array))

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_an_output_that_is_no_batch_belongs_to_every_row():
    fixed = np.array([1.0, 2.0, 3.0])

    assert list(records.rows_of(fixed, 2)) == [[1.0, 2.0, 3.0]] * 2
    assert list(records.rows_of(fixed, 3)) == [1.0, 2.0, 3.0]
    assert list(records.rows_of(np.array(5), 2)) == [5, 5]


def test_the_logs_take_the_arguments_of_other_platforms_at_their_defaults(shadow):
    shadow.pipeline.infer({"tensor": [[1.0, 2.0, 3.0]]})

    assert len(shadow.pipeline.logs(None, None, start_datetime=None, dataset=["*"])) == 3
    for given in (
        {"valid": True},
        {"start_datetime": "2024-01-01"},
        {"end_datetime": "2024-01-01"},
        {"arrow": True},
        {"dataset_separator": "."},
    ):
        with pytest.raises(Invalid, match="comes with a later version"):
            shadow.pipeline.logs(**given)
    with pytest.raises(Invalid, match=r"dataset=.* not supported yet"):
        shadow.pipeline.logs(dataset=["time"])
