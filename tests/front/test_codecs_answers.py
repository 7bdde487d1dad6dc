"""Answers in another format than the request, and with chosen columns."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gnomon.core import limits
from gnomon.core.errors import InputMismatch, ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.front import codecs
from gnomon.front.codecs import Result, Wanted
from gnomon.front.codecs.wanted import Format
from tests.front.arrow import FILE, STREAM, body_of, ok
from tests.front.conftest import FrontServer
from tests.front.models import challenger, champion, route, spec
from tests.waiting import until

ROWS = [[0.1, -0.0], [2.5, 1e-45]]
TENSORS = json.dumps({"x": ROWS}).encode()
RECORDS = json.dumps([{"x": row} for row in ROWS]).encode()
CELLS = pa.FixedSizeListArray.from_arrays(pa.array(np.float32(ROWS).ravel()), 2)
BODIES = {
    Format.NAMED_TENSORS: TENSORS,
    Format.RECORDS: RECORDS,
    Format.ARROW_STREAM: body_of(pa.table({"x": CELLS})),
    Format.ARROW_FILE: body_of(pa.table({"x": CELLS}), FILE),
}
LATE, FAST = challenger("zz", outputs=(spec("v", "int64", (None, 1)),)), challenger("aa")
OUTPUT = np.float32([[0.1], [np.nan]])


def result(wanted: Wanted, served=None, outputs=(OUTPUT,)) -> Result:
    served = served or champion("main", inputs=(spec("x"),), outputs=(spec("y", shape=(None, 1)),))
    deployed = route(served, LATE, FAST)
    seen = (None, ok(FAST, np.float32([[7], [8]])))
    return Result(deployed, "id-1", 1_700, ok(served, *outputs), seen, wanted)


def answered(body: bytes, wanted: Wanted, shown: Result | None = None) -> codecs.Answer:
    document, shown = codecs.read(body, None), shown or result(wanted)
    document.check_wanted(wanted, shown.route)
    document.check_outputs(shown.champion, wanted)
    return document.answer(shown)


def table_of(answer: codecs.Answer) -> pa.Table:
    read = pa.ipc.open_file if answer.content_type == FILE else pa.ipc.open_stream
    table = read(answer.body).read_all()
    table.validate(full=True)
    return table


# Formats


@pytest.mark.parametrize("came_in", BODIES)
def test_any_request_can_be_answered_as_records(came_in):
    answer = answered(BODIES[came_in], Wanted(Format.RECORDS))
    assert answer.content_type == b"application/json"
    assert b"X-Gnomon-Challengers" in answer.headers
    assert json.loads(answer.body) == [
        {
            "time": 1_700,
            "in": {"x": [0.1, 0.0]},
            "out": {"y": [0.1]},
            "anomaly": {"count": 0},
            "out_aa": {"y": [7.0]},
            "out_zz": {"v": None},
        },
        {
            "time": 1_700,
            "in": {"x": [2.5, 1e-45]},
            "out": {"y": [None]},
            "anomaly": {"count": 0},
            "out_aa": {"y": [8.0]},
            "out_zz": {"v": None},
            "non_finite": {"out.y": {"0": "NaN"}},
        },
    ]
    assert b"-0.0" in answer.body


@pytest.mark.parametrize("kind", [Format.ARROW_FILE, Format.ARROW_STREAM])
@pytest.mark.parametrize("came_in", BODIES)
def test_any_request_can_be_answered_as_arrow(came_in, kind):
    answer = answered(BODIES[came_in], Wanted(kind))
    assert answer.content_type == (FILE if kind is Format.ARROW_FILE else STREAM)
    table = table_of(answer)
    assert table.column_names == ["time", "in.x", "out.y", "anomaly.count", "out_aa.y", "out_zz.v"]
    found = np.float32(table.column("in.x").to_pylist())
    assert found.tobytes() == np.float32(ROWS).tobytes()
    assert table.column("out.y").chunk(0).flatten().to_numpy().tobytes() == OUTPUT.tobytes()
    assert table.column("out_zz.v").to_pylist() == [None, None]
    assert str(table.schema.field("out_zz.v").type) == "list<inner: int64 not null>"


@pytest.mark.parametrize("came_in", BODIES)
def test_any_request_can_be_answered_as_named_tensors(came_in):
    answer = answered(BODIES[came_in], Wanted(Format.NAMED_TENSORS))
    assert answer.content_type == b"application/json"
    [found] = json.loads(answer.body)
    assert found["original_data"] == {"x": ROWS}
    assert found["outputs"] == [
        {
            "Float": {
                "data": [0.10000000149011612, None],
                "dim": [2, 1],
                "v": 1,
                "non_finite": {"1": "NaN"},
            }
        }
    ]
    assert set(found["shadow_data"]) == {"aa"}


def test_columns_that_are_no_tensors_are_answered_in_the_other_format():
    rows = [{"x": [0.5, 1], "t": "é", "n": None, "d": {"k": [1]}}] * 2
    table = table_of(answered(json.dumps(rows).encode(), Wanted(Format.ARROW_STREAM)))
    assert table.column("in.t").to_pylist() == ["é", "é"]
    assert table.column("in.n").to_pylist() == ["null", "null"]
    assert table.column("in.d").to_pylist() == ['{"k":[1]}'] * 2

    sent = pa.table(
        {
            "x": CELLS,
            "note": ["a", None],
            "ragged": [[1.5], []],
            "when": pa.array([0, None], pa.timestamp("ns", "UTC")),
            "half": pa.array(np.float16([0.1, np.inf])),
            "flag": [True, False],
            "most": pa.array([2**64 - 1, 0], pa.uint64()),
        }
    )
    for wanted in (Wanted(Format.RECORDS), Wanted(Format.RECORDS, dataset_separator=".")):
        first, second = json.loads(answered(body_of(sent), wanted).body)
        if wanted.dataset_separator:
            assert first["in.note"] == "a"
            continue
        assert first["in"] == {
            "x": [0.1, -0.0],
            "note": "a",
            "ragged": [1.5],
            "when": "1970-01-01 00:00:00.000000000Z",
            "half": pytest.approx(0.1, abs=1e-4),
            "flag": True,
            "most": 2**64 - 1,
        }
        assert [second["in"][name] for name in ("note", "ragged", "when", "half")] == [
            None,
            [],
            None,
            None,
        ]
    [whole] = json.loads(answered(body_of(sent), Wanted(Format.NAMED_TENSORS)).body)
    assert whole["original_data"]["most"] == [2**64 - 1, 0]


def test_large_cells_and_texts_are_answered_as_records():
    served = champion(
        inputs=(spec("x"),),
        outputs=(spec("big", shape=(None, 100)), spec("text", "string", (None, 2))),
    )
    big = np.arange(200, dtype="float32").reshape(2, 100) / 7
    text = np.array([["é", ""], ['"', "a"]], dtype=object)
    wanted = Wanted(Format.RECORDS, dataset=("out",))
    rows = json.loads(
        answered(TENSORS, wanted, result(wanted, served, (big.T.copy().T, text))).body
    )
    assert [row["out"]["text"] for row in rows] == text.tolist()
    assert np.float32([row["out"]["big"] for row in rows]).tobytes() == big.tobytes()


@pytest.mark.parametrize("separator", [None, "."])
def test_what_the_nulls_of_a_record_are_is_said_by_column_and_index(separator):
    served = champion(inputs=(spec("x"),), outputs=(spec("a", shape=(None, 2, 2)), spec("b")))
    wide = np.float32([[[1, 2], [3, np.inf]], [[1, 2], [3, 4]]])
    flat = np.array([0.5, -np.inf])
    nan = ok(FAST, np.float16([[np.nan, 1], [2, np.nan]]))
    wanted = Wanted(Format.RECORDS, dataset_separator=separator)
    shown = Result(route(served, FAST), "id", 0, ok(served, wide, flat), (nan,), wanted)
    first, second = json.loads(answered(RECORDS, wanted, shown).body)
    assert first["non_finite"] == {"out.a": {"3": "Infinity"}, "out_aa.y": {"0": "NaN"}}
    assert second["non_finite"] == {"out.b": {"0": "-Infinity"}, "out_aa.y": {"1": "NaN"}}
    assert second.get("out.b", second.get("out", {}).get("b", "?")) is None


def test_outputs_that_cannot_be_split_are_refused_only_where_they_must_be():
    whole = ok(champion(), np.zeros((3, 1)))
    for body in BODIES.values():
        for wanted in (Wanted(Format.RECORDS), Wanted(Format.ARROW_FILE)):
            with pytest.raises(ModelFailed, match=r"split into 2 rows: 'y' has shape \[3, 1\]"):
                codecs.read(body, None).check_outputs(whole, wanted)
        codecs.read(body, None).check_outputs(whole, Wanted(Format.NAMED_TENSORS))


# Columns


def choose(body: bytes, **chosen) -> codecs.Answer:
    return answered(body, Wanted(**chosen))


@pytest.mark.parametrize("came_in", [Format.RECORDS, Format.NAMED_TENSORS])
def test_records_have_the_columns_that_are_chosen(came_in):
    chosen = {"accept": Format.RECORDS, "dataset": ("out", "time", "out_aa.y")}
    rows = json.loads(choose(BODIES[came_in], **chosen).body)
    assert rows[0] == {"time": 1_700, "out": {"y": [0.1]}, "out_aa": {"y": [7.0]}}
    flat = json.loads(choose(BODIES[came_in], **chosen, dataset_separator=".").body)
    assert list(flat[0]) == ["time", "out.y", "out_aa.y"]
    assert flat[1] == {
        "time": 1_700,
        "out.y": [None],
        "out_aa.y": [8.0],
        "non_finite": {"out.y": {"0": "NaN"}},
    }


def test_a_part_of_the_inputs_can_be_chosen():
    body = json.dumps([{"a": 1, "x": [1, 2]}, {"a": 2, "x": [3, 4]}]).encode()
    rows = json.loads(choose(body, dataset=("in.a", "anomaly"), dataset_exclude=("in",)).body)
    assert rows == [
        {"in": {"a": 1}, "anomaly": {"count": 0}},
        {"in": {"a": 2}, "anomaly": {"count": 0}},
    ]
    assert json.loads(choose(body, dataset=("time",)).body) == [{"time": 1_700}] * 2


def test_an_arrow_table_has_the_columns_that_are_chosen():
    body = BODIES[Format.ARROW_STREAM]
    table = table_of(choose(body, dataset_exclude=("in", "anomaly", "out_aa")))
    assert table.column_names == ["time", "out.y", "out_zz.v"]
    assert table_of(choose(body, dataset=("out",), dataset_separator="/")).column_names == ["out/y"]


def test_an_arrow_table_of_structs_is_what_an_empty_separator_asks_for():
    chosen = {"dataset": ("*", "metadata"), "dataset_separator": ""}
    table = table_of(choose(BODIES[Format.ARROW_FILE], **chosen))
    groups = ["time", "in", "out", "anomaly", "metadata", "out_aa", "out_zz"]
    assert table.column_names == groups
    assert str(table.schema.field("out").type) == "struct<y: list<inner: float not null> not null>"
    [first, _] = table.to_pylist()
    assert first["in"] == {"x": [np.float32(0.1), -0.0]}
    assert first["out_zz"] == {"v": None}
    assert first["metadata"]["models"]["main"]["version"] == "uuid-of-main-1"
    rows = json.loads(choose(RECORDS, **chosen).body)
    assert list(rows[0]) == groups


METADATA = {
    "last_model": json.dumps({"model_name": "main", "model_sha": "0" * 64}, separators=(",", ":")),
    "pipeline_version": "pipeline-version-1",
    "dropped": [],
    "partition": "fraud-7",
    "models": {
        label: {
            "name": label,
            "version": f"uuid-of-{label}-1",
            "sha": "0" * 64,
            "status": status,
            "elapsed": elapsed,
        }
        for label, status, elapsed in [("main", "ok", 5), ("aa", "ok", 5), ("zz", "pending", None)]
    },
}


@pytest.mark.parametrize("came_in", BODIES)
def test_metadata_has_version_sha_and_elapsed_of_each_model(came_in):
    rows = json.loads(choose(BODIES[came_in], accept=Format.RECORDS, dataset=("metadata",)).body)
    for row in rows:
        read_ns, champion_ns = row["metadata"].pop("elapsed")
        assert champion_ns == 5
        assert (read_ns > 0) == (came_in is not Format.NAMED_TENSORS)
        assert row == {"metadata": METADATA}
    assert len(rows) == 2


def test_metadata_in_arrow_has_the_known_types():
    table = table_of(choose(BODIES[Format.ARROW_STREAM], dataset=("metadata",)))
    types = {field.name.removeprefix("metadata."): str(field.type) for field in table.schema}
    assert list(types) == [
        *("last_model", "pipeline_version", "elapsed", "dropped", "partition"),
        *(
            f"models.{label}.{fact}"
            for label in ("main", "aa", "zz")
            for fact in ("name", "version", "sha", "status", "elapsed")
        ),
    ]
    assert types["elapsed"] == "list<item: uint64>"
    assert types["dropped"] == "list<item: string>"
    assert types["models.zz.elapsed"] == "uint64"
    for name, value in METADATA.items():
        if name != "models":
            assert table.column(f"metadata.{name}").to_pylist() == [value] * 2
    assert table.column("metadata.elapsed").to_pylist()[1][1] == 5
    assert table.column("metadata.models.aa.elapsed").to_pylist() == [5, 5]
    assert table.column("metadata.models.zz.elapsed").to_pylist() == [None, None]


def test_a_challenger_that_failed_is_told_in_the_metadata():
    served = champion("main", inputs=(spec("x"),), outputs=(spec("y", shape=(None, 1)),))
    failed = Observation(model=FAST, status=Status.ERROR, error="It failed.", elapsed_ns=9)
    wanted = Wanted(Format.RECORDS, dataset=("metadata.models.aa",))
    shown = Result(route(served, FAST), "id-1", 0, ok(served, OUTPUT), (failed,), wanted)
    told = json.loads(answered(RECORDS, wanted, shown).body)[0]["metadata"]["models"]["aa"]
    assert (told["status"], told["elapsed"]) == ("error", 9)


def test_a_challenger_outside_the_sample_has_no_status():
    wanted = Wanted(Format.ARROW_STREAM, dataset=("metadata.models",))
    shown = replace(result(wanted), challengers=(None, None), sampled=0b10)
    table = table_of(answered(RECORDS, wanted, shown))
    assert table.column("metadata.models.zz.status").to_pylist() == [None] * 2
    assert table.column("metadata.models.aa.status").to_pylist() == ["pending"] * 2


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"dataset": ("out.z",)}, "'out.z', and the answer has no such column.*mean 'out.y'"),
        ({"dataset": ("inn",)}, "'inn', and the answer has no such column"),
        ({"dataset": ("out_bb",)}, "mean 'out_"),
        ({"dataset": ("metadata.model",)}, "'metadata.model', and the answer has no such"),
        ({"dataset": ("out",), "dataset_exclude": ("out",)}, "leave no column"),
        ({"dataset_exclude": ("*",)}, "leave no column"),
    ],
)
@pytest.mark.parametrize("came_in", BODIES)
def test_a_dataset_that_cannot_be_given_is_refused(came_in, chosen, says):
    with pytest.raises(InputMismatch, match=says):
        choose(BODIES[came_in], accept=Format.RECORDS, **chosen)


def test_tables_that_would_be_many_times_the_request_are_refused():
    rows = limits.RECORDS_MAX + 1
    sent = body_of(pa.table({"x": pa.array(np.zeros(rows, "int8"))}))
    for body in (sent, json.dumps({"x": [0] * rows}).encode()):
        with pytest.raises(InputMismatch, match=r"250001 rows of .* too many for records"):
            choose(body, accept=Format.RECORDS, dataset=("in",))
        document = codecs.read(body, None)
        with pytest.raises(InputMismatch, match="19 columns of metadata for 250001 rows"):
            document.check_wanted(
                Wanted(
                    Format.ARROW_FILE, dataset=("metadata",), dataset_exclude=("metadata.elapsed",)
                ),
                result(Wanted()).route,
            )
    with pytest.raises(InputMismatch, match="250001 rows"):
        codecs.read(b"[" + b",".join([b'{"a":1}'] * rows) + b"]", None)


def test_named_tensors_are_answered_whole_whatever_is_chosen():
    whole = choose(TENSORS, dataset=("out",), dataset_exclude=("metadata",), dataset_separator=".")
    assert whole == choose(TENSORS)


def test_named_tensors_are_answered_without_what_was_sent_if_that_is_excluded():
    [whole] = json.loads(choose(TENSORS).body)
    [without] = json.loads(choose(TENSORS, dataset_exclude=("in",)).body)
    assert without == {**whole, "original_data": None}


# Over HTTP


def test_accept_and_dataset_are_heard_over_http(doubling: FrontServer):
    def ask(query: str, **headers):
        path = f"/v1/api/pipelines/infer/fraud-7/fraud?{query}"
        return doubling.ask("POST", path, json.dumps({"tensor": [[1, 2.5]]}), **headers)

    answer = ask(
        "dataset%5B%5D=out&dataset.separator=.", accept="application/json; format=pandas-records"
    )
    assert (answer.status, answer.json) == (200, [{"out.y": [2.0, 5.0]}])
    answer = ask("", accept="application/vnd.apache.arrow.stream")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert pa.ipc.open_stream(answer.body).read_all().column("out.y").to_pylist() == [[2.0, 5.0]]
    assert "outputs" in ask("dataset=*", accept="text/csv").json[0]
    answer = ask(
        "dataset_exclude[]=in&dataset_separator=", accept="application/vnd.apache.arrow.file"
    )
    assert pa.ipc.open_file(answer.body).schema.names == ["time", "out", "anomaly"]
    assert ask("datasets=out").status == 400
    refused = ask("dataset=out.z", accept="application/json; format=pandas-records")
    assert (refused.status, refused.json["error_code"]) == (422, "input_mismatch")
    until(lambda: len(doubling.log.entries) == 4)


SERVING = """
import sys, tempfile
from pathlib import Path
import pyarrow as pa
from gnomon.testing import ListLog
from tests.front.conftest import FrontServer
from tests.front.models import challenger, champion, route
from tests.waiting import until
from tests.waiting import until

with tempfile.TemporaryDirectory() as name:
    server = FrontServer(Path(name), ListLog())
    server.start()
    deployed = route(champion(), challenger("rf"), mode="joined")
    for model in deployed.models():
        server.host(model)
    server.route(deployed)
    server.wait_connected(*(model.host for model in deployed.models()))
    floats = pa.Array.from_buffers(pa.float32(), 2, [None, pa.py_buffer(bytes(8))])
    cells = pa.FixedSizeListArray.from_arrays(floats, 2)  # pyarrow.array would import pandas
    batch = pa.RecordBatch.from_arrays([cells], ["tensor"])
    sent = batch.schema.serialize().to_pybytes() + batch.serialize().to_pybytes()
    query = "?dataset=*&dataset=metadata"
    for body in (sent, b'{"tensor": [[1.5, 2]]}', b'[{"tensor": [1.5, 2], "k": null}]'):
        for kind in ("vnd.apache.arrow.file", "vnd.apache.arrow.stream",
                     "json; format=pandas-records", "json; format=named-tensors"):
            for separator in ("", "&dataset.separator="):
                path = "/v1/api/pipelines/infer/fraud-7" + query + separator
                answer = server.ask("POST", path, body, accept=f"application/{kind}")
                assert answer.status == 200, answer.body
    loaded = [each for each in ("pandas", "onnxruntime", "polars") if each in sys.modules]
    server.stop()
print("loaded:", loaded)
"""


def test_a_front_that_serves_arrow_never_imports_pandas():
    done = subprocess.run(
        [sys.executable, "-c", SERVING],
        capture_output=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"loaded: []\n"
