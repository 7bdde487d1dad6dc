"""Logs: real lists with one entry per model, and the ways of a DataFrame beside them."""

from __future__ import annotations

import csv
import json
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gnomon.core import limits
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

    with pytest.warns(UserWarning, match="There are more logs available"):
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


def test_what_is_missing_from_the_log_is_warned_of(shadow, server):
    server.answers["GET", "/v1/workspaces/1/pipelines/cc-shadow/logs"] = lambda _: Answer(
        200, log_stream([]), {"X-Gnomon-Notices": '["front-0.sqlite: segment 2 is damaged"]'}
    )

    with pytest.warns(UserWarning, match="segment 2 is damaged"):
        shadow.pipeline.logs()


@pytest.fixture
def three(shadow):
    """A pipeline that was asked three times, the last time about two rows."""
    for number in range(2):
        shadow.pipeline.infer({"tensor": [[float(number), 0.0, 0.0]]})
    shadow.pipeline.infer(pd.DataFrame({"tensor": [[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]]}))
    return shadow.pipeline


def numbers(frame):
    return [cell[0] for cell in frame["in.tensor"].tolist()]


def test_logs_are_read_page_by_page_however_many_are_asked_for(three, monkeypatch):
    monkeypatch.setattr(limits, "LOG_READ_REQUESTS_MAX", 1)

    logs = three.logs(limit=1_000_000)

    assert numbers(logs.to_pandas()) == [3.0, 2.0, 1.0, 0.0]
    assert not logs.more
    with pytest.warns(UserWarning, match="There are more logs available"):
        assert len(three.logs(limit=2)) == 6


def test_with_a_start_and_an_end_the_oldest_come_first(three, server):
    logs = three.logs(start_datetime="2026-11-23T08:00:00+01:00", end_datetime=datetime(2030, 1, 1))

    assert numbers(logs.to_pandas()) == [0.0, 1.0, 2.0, 3.0]
    assert [log.label for log in logs[:3]] == ["ccfraud-lstm", "ccfraud-rf", "ccfraud-xgb"]
    query = server.requests[-1].query
    assert query["start_datetime"] == "2026-11-23T08:00:00+01:00"
    assert query["end_datetime"] == "2030-01-01T00:00:00+00:00"
    assert (query["order"], query["limit"]) == ("oldest", "1000")

    one = three.logs(start_datetime=date(2026, 1, 1))
    assert numbers(one.to_pandas()) == [3.0, 2.0, 1.0, 0.0]
    assert server.requests[-1].query["start_datetime"] == "2026-01-01T00:00:00+00:00"
    assert "order" not in server.requests[-1].query


@pytest.mark.parametrize("wrong", ["yesterday", 5, object()])
def test_a_time_that_is_none_is_said_to_be_so(three, wrong):
    with pytest.raises(Invalid, match="start_datetime must be a time"):
        three.logs(start_datetime=wrong)


def test_entries_are_chosen_by_model_and_status(three, server):
    server.erring["ccfraud-rf"] = "It divided by zero."
    three.infer({"tensor": [ROW]})

    failed = three.logs(status="error", model="ccfraud-rf", request_id="r")

    assert [(log.label, log.status) for log in failed] == [("ccfraud-rf", "error")]
    query = server.requests[-1].query
    assert (query["status"], query["model"], query["request_id"]) == ("error", "ccfraud-rf", "r")


def test_no_request_has_failed_a_validation(three):
    assert three.logs(valid=False) == []
    assert len(three.logs(valid=True)) == 9


@pytest.fixture
def validated(shadow, server):
    """A pipeline whose validations find sums of 1.5 and 2.5 too high, asked about 0, 1, 2 and 3."""
    server.above = {"too_high": 1.5, "much_too_high": 2.5}
    for number in (0.0, 1.0):
        shadow.pipeline.infer({"tensor": [[number, 0.0, 0.0]]})
    shadow.pipeline.infer(pd.DataFrame({"tensor": [[n, 0.0, 0.0] for n in (2.0, 0.5, 3.0)]}))
    return shadow.pipeline


def test_entries_say_which_validations_failed(validated):
    logs = validated.logs()

    failures = [entry.validation_failures for entry in logs]
    # Of the champion, which is last: what challengers give is not validated
    assert failures == [[], [], ["much_too_high", "too_high"], *[[]] * 6]
    assert logs[2].raw["check_failures"] == ["much_too_high", "too_high"]
    html = logs._repr_html_()
    assert html.count('<tr style="color:red">') == 1
    assert html.count(">2</td></tr>") == 1
    assert html.count(">0</td></tr>") == 8


def test_rows_say_what_validations_found(validated):
    for frame in (validated.logs().to_pandas(), validated.logs().to_polars().to_pandas()):
        assert list(frame.columns[:6]) == [
            *COLUMNS[:4], "anomaly.much_too_high", "anomaly.too_high"
        ]  # fmt: skip
        assert numbers_of(frame) == [3.0, 0.5, 2.0, 1.0, 0.0]
        assert frame["anomaly.count"].tolist() == [2, 0, 1, 0, 0]
        assert frame["anomaly.too_high"].tolist() == [True, False, True, False, False]
        assert frame["anomaly.much_too_high"].tolist() == [True, *[False] * 4]
    assert validated.logs(dataset=["anomaly.too_high"]).to_arrow().schema.types == [pa.bool_()]


def numbers_of(frame):
    return [cell[0] for cell in frame["in.tensor"]]


def test_only_the_rows_with_an_anomaly_or_only_the_others_are_shown(validated, server, tmp_path):
    bad, good = validated.logs(valid=False), validated.logs(valid=True)

    assert [query["valid"] for query in (seen.query for seen in server.requests[-2:])] == [
        "false",
        "true",
    ]
    assert numbers_of(bad.to_pandas()) == [3.0, 2.0]
    assert bad.to_pandas()["out.dense_1"].tolist() == [[6.0], [4.0]]
    assert numbers_of(good.to_pandas()) == [0.5, 1.0, 0.0]
    assert bad[0].input == [[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
    assert [entry.validation_failures for entry in good] == [[]] * 9
    metadata = validated.logs(valid=False, dataset=["metadata"]).to_pandas()
    assert metadata["metadata.row"].tolist() == [2, 0]
    assert metadata["metadata.rows"].tolist() == [3, 3]
    [lines] = validated.export_logs(tmp_path, valid=False)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(row["in.tensor"][0], row["anomaly.count"]) for row in rows] == [(3.0, 2), (2.0, 1)]


def test_what_was_read_is_decoded_when_it_is_looked_at(three, monkeypatch):
    decoded = []
    decode = records._request
    monkeypatch.setattr(records, "_request", lambda row: decoded.append(1) or decode(row))
    monkeypatch.setattr(limits, "LOG_READ_REQUESTS_MAX", 1)

    logs = three.logs(status="ok", model="ccfraud-rf")

    assert (len(logs), logs.more, decoded) == (3, False, [])
    assert logs[2].output[0].item() == 0.0
    assert len(decoded) == 1
    assert [entry.output[0].tolist() for entry in logs[:2]] == [[[-2.0], [-3.0]], [[-1.0]]]
    assert len(decoded) == 3
    logs.to_arrow()
    assert len(decoded) == 3


def test_a_page_without_what_a_log_has_is_said_to_be_none():
    rows = pa.ipc.open_stream(log_stream([])).read_all()
    other = rows.drop_columns(["models"])
    for odd in (other, other.append_column("models", pa.array([], pa.list_(pa.int64())))):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, odd.schema) as writer:
            writer.write_table(odd)
        with pytest.raises(ServerError, match="not a log"):
            records.decode(sink.getvalue().to_pybytes()).models()


def test_the_columns_of_frames_are_chosen_and_named(three):
    def columns(**chosen):
        return list(three.logs(**chosen).columns)

    assert columns() == COLUMNS
    assert columns(dataset=["time", "out"]) == ["time", "out.dense_1"]
    assert columns(dataset_exclude=["anomaly", "in.tensor"]) == [
        COLUMNS[0],
        *COLUMNS[2:3],
        *COLUMNS[4:],
    ]
    assert columns(dataset="out", dataset_separator="_") == ["out_dense_1"]
    metadata = three.logs(dataset=["metadata"]).to_pandas()
    assert metadata["metadata.row"].tolist() == [1, 0, 0, 0]
    assert metadata["metadata.out_ccfraud-rf.status"].tolist() == ["ok"] * 4
    assert not any(name.startswith("in.") for name in metadata.columns)
    with pytest.raises(Invalid, match="dataset must be a list"):
        three.logs(dataset=5)
    with pytest.raises(Invalid, match="separator must not be empty"):
        _ = three.logs(dataset_separator="").columns


def test_logs_are_an_arrow_table_and_a_polars_frame_with_the_types_of_the_models(three):
    logs = three.logs()

    for table in (
        logs.to_arrow(),
        three.logs(arrow=True),
        pa.RecordBatchReader.from_stream(logs).read_all(),
    ):
        assert table.column_names == COLUMNS
        assert table.schema.field("time").type == pa.timestamp("us", tz="UTC")
        assert table.schema.field("in.tensor").type == pa.list_(pa.float32())
        assert numbers({"in.tensor": _List(table["in.tensor"].to_pylist())}) == [3.0, 2.0, 1.0, 0.0]
    assert (
        logs.to_polars()["out.dense_1"].list.first().to_list()
        == logs.to_pandas()["out.dense_1"].str[0].tolist()
    )


class _List(list):
    def tolist(self):
        return list(self)


def test_the_table_of_the_log_is_the_newest(three):
    assert three.log_table() == "/log/1/1/2"


# Files


def test_logs_are_exported_as_files_named_as_elsewhere(three, tmp_path):
    [lines] = three.export_logs(tmp_path / "deep" / "er")
    [table] = three.export_logs(tmp_path, "pre", format="parquet", dataset=["time", "in", "out"])
    [arrow] = three.export_logs(tmp_path, arrow=True)
    [text] = three.export_logs(tmp_path, limit=3, format="csv")

    assert lines == tmp_path / "deep" / "er" / "cc-shadow-1.json"
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["in.tensor"][0] for row in rows] == [3.0, 2.0, 1.0, 0.0]
    assert rows[0]["time"] == three.logs()[0].raw["time"]
    assert table == tmp_path / "pre-1.parquet"
    assert pq.read_table(table).column_names == ["time", "in.tensor", "out.dense_1"]
    assert pa.ipc.open_file(arrow).read_all()["time"].type == pa.timestamp("us", tz="UTC")
    found = pd.read_csv(text)
    assert [json.loads(cell)[0] for cell in found["in.tensor"]] == [3.0, 2.0, 1.0, 0.0]


def test_an_export_goes_on_in_a_further_file_where_columns_change(three, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_READ_REQUESTS_MAX", 2)
    three.infer(pd.DataFrame({"tensor": [ROW], "who": ["me"]}))
    three.infer(pd.DataFrame({"tensor": [ROW], "who": [7]}))

    files = three.export_logs(tmp_path, format="arrow")

    assert [path.name for path in files] == ["cc-shadow-1.arrow", "cc-shadow-2.arrow"]
    who = [pa.ipc.open_file(path).read_all()["in.who"].to_pylist() for path in files]
    assert who == [[7], ["me", None, None, None, None]]


def test_an_export_ends_where_it_is_too_large_and_says_so(three, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_READ_REQUESTS_MAX", 1)

    with pytest.warns(UserWarning, match="size limit of 102 bytes exceeded"):
        [path] = three.export_logs(tmp_path, data_size_limit="0.1KiB")
    assert len(path.read_text().splitlines()) == 2
    with pytest.warns(UserWarning, match="larger limit to export more data"):
        three.export_logs(tmp_path, limit=1)
    with pytest.raises(Invalid, match="Invalid data size format"):
        three.export_logs(tmp_path, data_size_limit="much")
    with pytest.raises(Invalid, match="format must be one of json, csv, arrow, parquet"):
        three.export_logs(tmp_path, format="xml")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_csv_file_is_a_formula(shadow, tmp_path, text):
    shadow.pipeline.infer(pd.DataFrame({"tensor": [ROW], text: [text]}))

    [path] = shadow.pipeline.export_logs(tmp_path, format="csv")

    with path.open(newline="") as file:
        names, cells = csv.reader(file)
    assert cells[names.index(f"in.{text}")] == f"'{text}"
