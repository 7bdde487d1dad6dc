from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from gnomon.core.inference import Observation, Status
from gnomon.log.records import SCHEMA, Record, table_of
from tests.log.entries import SHADOWED, child, inference, observation, requests, tensor_of, value

ZETA, ALPHA = SHADOWED.challengers
TENSOR = "struct<name: string, dtype: string, shape: list<item: int64>, data: binary>"


def record(entry, *challengers):
    [request] = requests(entry)
    return Record(entry=request, challengers=challengers)


def test_the_schema_is_what_clients_rely_on():
    assert {field.name: str(field.type) for field in SCHEMA} == {
        "request_id": "string",
        "time": "timestamp[us, tz=UTC]",
        "pipeline": "string",
        "pipeline_version": "string",
        "rows": "int64",
        "inputs": f"list<item: {TENSOR}>",
        "anomalies": f"list<item: {TENSOR}>",
        "models": "list<item: struct<label: string, role: string, name: string, ordinal: int64, "
        "version: string, sha: string, status: string, error: string, elapsed_ns: int64, "
        f"time: timestamp[us, tz=UTC], outputs: list<item: {TENSOR}>>>",
    }


def test_a_record_has_its_request_and_the_champion_before_its_challengers():
    entry = inference(7, SHADOWED, rows=2)
    failed = observation(entry, ZETA, Status.ERROR).observation

    table = table_of([record(entry, observation(entry, ALPHA).observation, failed)])

    table.validate(full=True)
    [row] = table.to_pylist()
    assert row["request_id"] == "request-7"
    assert row["time"] == datetime.fromtimestamp(1_700_000_000, UTC).replace(microsecond=7)
    assert (row["pipeline"], row["pipeline_version"], row["rows"]) == ("pipeline-1", "v1", 2)
    assert value(tensor_of(row["inputs"][0])) == value(entry.inputs["tensor"])
    champion, alpha, zeta = row["models"]
    assert (champion["label"], champion["role"]) == ("champion", "champion")
    assert (champion["version"], champion["ordinal"]) == ("uuid-of-champion-1", 1)
    assert (champion["sha"], champion["status"], champion["error"]) == (f"{1:064x}", "ok", None)
    assert champion["elapsed_ns"] == 7
    assert champion["outputs"][0]["name"] == "y0"
    assert value(tensor_of(champion["outputs"][0])) == value(entry.champion.outputs[0])
    assert value(tensor_of(alpha["outputs"][0])) == value(entry.champion.outputs[0] * 2)
    assert (zeta["role"], zeta["status"], zeta["error"], zeta["outputs"]) == (
        "challenger",
        "error",
        "error of request-7",
        [],
    )
    assert zeta["time"] == row["time"].replace(microsecond=9)


def test_a_pending_challenger_has_no_time_no_error_and_no_outputs():
    entry = inference(1, SHADOWED)

    table = table_of([record(entry, Observation(model=ZETA, status=Status.PENDING))])

    [_, zeta] = table.to_pylist()[0]["models"]
    assert zeta["status"] == "pending"
    assert (zeta["time"], zeta["error"], zeta["outputs"], zeta["elapsed_ns"]) == (None, None, [], 0)


def test_tensors_of_every_kind_are_told_by_name_type_shape_and_bytes():
    inputs = {
        "texts": np.array([["a", "ü"], ["", '"\n\0']], dtype=object),
        "fixed": np.array([["abc"], ["d"]]),
        "half": np.array([[np.nan], [-0.0]], dtype=np.float16),
        "big": np.array([2**64 - 1, 0], dtype=np.uint64),
        "flags": np.array([True, False]),
        "swapped": np.array([[1.5], [2.5]], dtype=">f4"),
        "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "scalar": np.array(3, dtype=np.int8),
        "none": np.zeros((2, 0), dtype=np.float32),
    }
    entry = inference(1, rows=2, inputs=inputs, outputs=(np.zeros((2, 1)), np.ones(2)))

    table = table_of([record(entry)])

    table.validate(full=True)
    [row] = table.to_pylist()
    assert {t["name"]: value(tensor_of(t)) for t in row["inputs"]} == {
        name: value(array) for name, array in inputs.items()
    }
    assert [t["name"] for t in row["models"][0]["outputs"]] == ["y0", "output_1"]


def test_a_table_crosses_a_stream_unchanged():
    table = table_of([record(inference(n, rows=n)) for n in range(4)])
    sink = pa.BufferOutputStream()

    with pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write_table(table)

    assert pa.ipc.open_stream(sink.getvalue()).read_all().equals(table)


def test_writing_and_reading_a_log_imports_no_pandas(tmp_path):
    with child("write_and_read", tmp_path / "front-0.sqlite") as process:
        assert process.wait(60) == 0
