"""Formats: bytes to columns, outputs to answers."""

from __future__ import annotations

import json
import time

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.core import limits
from gnomon.core.errors import InputMismatch, MalformedRequest, ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.core.tensors import DTYPES
from gnomon.front import codecs
from gnomon.front.codecs import Result
from tests.front.models import challenger, champion, route, spec

RECORDS = b"application/json; format=pandas-records"


def ok(model, *outputs) -> Observation:
    return Observation(model=model, status=Status.OK, outputs=outputs, elapsed_ns=5)


def result(outputs: dict, challengers=()) -> Result:
    """Return a result whose champion has these outputs, by name."""
    specs = tuple(
        spec(name, "string" if array.dtype.kind == "O" else array.dtype.name)
        for name, array in outputs.items()
    )
    served = champion(outputs=specs)
    deployed = route(served, *(model for model, _ in challengers))
    seen = tuple(observation for _, observation in challengers)
    return Result(deployed, "id-1", 1_700, ok(served, *outputs.values()), seen)


# Reading


@pytest.mark.parametrize("content_type", [None, b"text/plain", b"application/json", RECORDS])
def test_records_are_read_by_column(content_type):
    document = codecs.read(b'[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]', content_type)
    assert document.rows == 2
    assert document.columns["a"].tolist() == [1, 2]
    assert document.columns["b"].tolist() == ["x", "y"]
    assert not document.strict


@pytest.mark.parametrize("content_type", [None, b"application/x-www-form-urlencoded"])
def test_an_object_is_read_as_named_tensors(content_type):
    document = codecs.read(b'{"a": [[1, 2.5]], "b": true}', content_type)
    assert document.columns["a"].tolist() == [[1.0, 2.5]]
    assert document.columns["b"].shape == ()
    assert document.strict


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" ", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": [1]} x', "not JSON"),
        (b'{"a": [NaN]}', "NaN and Infinity are not JSON"),
        (b'{"a": [-Infinity]}', "NaN and Infinity are not JSON"),
        (b'{"a": [1e999]}', "infinity"),
        (b'{"a": ["\xff"]}', "not valid UTF-8"),
        (b'{"a": ["\\ud800"]}', "surrogate"),
        (b'\xef\xbb\xbf{"a": [1]}', "byte order mark"),
        (b"[" * 1_000_000, "depth limit"),
        (b"1" * 5_000, "infinity"),
        (b"1." + b"1" * 4_000_000 + b"x", "not JSON"),
        (b"null", "a single value"),
        (b"3", "a single value"),
        (b'"text"', "a single value"),
        (b"[1, 2]", "Row 0 is no JSON object"),
        (b'[{"a": 1}, [1]]', "Row 1 is no JSON object"),
    ],
)
def test_what_is_not_the_format_is_malformed_and_quickly_so(body, says):
    started = time.monotonic()
    with pytest.raises(MalformedRequest, match=says) as caught:
        codecs.read(body, None)
    assert time.monotonic() - started < 1
    assert len(str(caught.value)) < 300


def test_an_object_is_refused_where_records_are_announced():
    with pytest.raises(MalformedRequest, match="an object; a list of objects was expected"):
        codecs.read(b'{"a": [1]}', RECORDS)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[]", "no rows"),
        (b'[{"a": 1}, {}]', "Row 1 has no 'a'"),
        (b'[{"a": 1}, {"a": 1, "b": 2}]', "Row 0 has no 'b'"),
        (b'[{"a": 1}, {"a": 1}, {"b": 2}]', "Row 2 has no 'a'"),
    ],
)
def test_rows_that_are_missing_something_are_named(body, says):
    with pytest.raises(InputMismatch, match=says):
        codecs.read(body, None)


def test_the_number_of_columns_is_bounded():
    many = {f"c{number}": 1 for number in range(limits.COLUMNS_PER_REQUEST_MAX + 1)}
    with pytest.raises(InputMismatch, match="1001 columns"):
        codecs.read(json.dumps([many]).encode(), None)
    with pytest.raises(InputMismatch, match="1001 inputs"):
        codecs.read(json.dumps(many).encode(), None)


def test_a_further_column_of_anything_is_kept_as_texts():
    rows = [{"a": None, "b": {"x": [1]}}, {"a": "t", "b": 2}]
    columns = codecs.read(json.dumps(rows).encode(), None).columns
    assert columns.loggable("a").tolist() == ["null", '"t"']
    assert columns.loggable("b").tolist() == ['{"x":[1]}', "2"]


def test_a_further_column_that_is_too_deep_is_refused():
    deep = b"[" * 200 + b"]" * 200
    columns = codecs.read(b'[{"a": ' + deep + b"}]", None).columns
    with pytest.raises(InputMismatch, match="nested deeper"):
        columns.loggable("a")


def test_integers_are_read_exactly():
    body = b'{"a": [9007199254740993, 9223372036854775807]}'
    assert codecs.read(body, None).columns["a"].tolist() == [2**53 + 1, 2**63 - 1]


# Answering named tensors


def test_named_tensors_are_answered_with_the_known_keys():
    body = b'{"tensor": [[1.0678324729342086]]}'
    served = challenger("rf", outputs=(spec("variable"),))
    [answer] = orjson.loads(
        codecs.read(body, None)
        .answer(
            result(
                {"dense_1": np.array([[0.0014974177]], "float32")},
                [(served, ok(served, np.array([1], "int64")))],
            )
        )
        .body
    )
    assert answer == {
        "check_failures": [],
        "elapsed": 5,
        "model_name": "ccfraud",
        "model_version": "uuid-of-ccfraud-1",
        "original_data": {"tensor": [[1.0678324729342086]]},
        "outputs": [{"Float": {"data": [0.001497417688369751], "dim": [1, 1], "v": 1}}],
        "pipeline_name": "fraud",
        "shadow_data": {"rf": [{"Float": {"data": [1], "dim": [1], "v": 1}}]},
        "time": 1_700,
        "request_id": "id-1",
        "challengers": {
            "rf": {
                "model_name": "rf",
                "model_version": "uuid-of-rf-1",
                "status": "ok",
                "error": None,
                "elapsed": 5,
            }
        },
    }


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "string"])
def test_every_number_type_is_answered_exactly(dtype, count):
    array = np.ones((count, 1), dtype=dtype)
    if dtype == "int64":
        array[0] = 2**63 - 1
    if dtype == "uint64":
        array[0] = 2**64 - 1
    if dtype.startswith("float"):
        array[0] = -0.1
    [answer] = json.loads(codecs.read(b"{}", None).answer(result({"y": array})).body)
    [[tag, tensor]] = answer["outputs"][0].items()
    assert tag == DTYPES[dtype][1]
    assert tensor["dim"] == [count, 1]
    assert tensor["data"] == array.ravel().tolist()


@pytest.mark.parametrize("count", [1, 100])
def test_what_json_cannot_say_is_null(count):
    array = np.array([np.nan, np.inf, -np.inf] * count, "float32")
    [answer] = json.loads(codecs.read(b"{}", None).answer(result({"y": array})).body)
    tensor = answer["outputs"][0]["Float"]
    assert tensor["data"] == [None] * 3 * count
    words = ["NaN", "Infinity", "-Infinity"] * count
    assert tensor["non_finite"] == {str(index): word for index, word in enumerate(words)}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_the_nulls_are_is_said_by_flat_index_for_champion_and_challengers(dtype):
    array = np.array([[1, 2], [-np.inf, 3]], dtype)
    served = challenger("rf", outputs=(spec("v", dtype),))
    shown = result({"y": array}, [(served, ok(served, np.array(np.nan, dtype)))])
    [answer] = json.loads(codecs.read(b"{}", None).answer(shown).body)
    tag = DTYPES[dtype][1]
    assert answer["outputs"] == [
        {tag: {"data": [1, 2, None, 3], "dim": [2, 2], "v": 1, "non_finite": {"2": "-Infinity"}}}
    ]
    assert answer["shadow_data"]["rf"] == [
        {tag: {"data": [None], "dim": [], "v": 1, "non_finite": {"0": "NaN"}}}
    ]


def test_texts_and_single_values_are_answered():
    outputs = {"a": np.array(["é", ""], dtype=object), "b": np.array(2.5), "c": np.zeros((0, 3))}
    [answer] = json.loads(codecs.read(b"{}", None).answer(result(outputs)).body)
    assert answer["outputs"] == [
        {"String": {"data": ["é", ""], "dim": [2], "v": 1}},
        {"Double": {"data": [2.5], "dim": [], "v": 1}},
        {"Double": {"data": [], "dim": [0, 3], "v": 1}},
    ]


# Answering records


def test_records_are_answered_row_by_row_in_their_order():
    body = b'[{"tensor": [1.5], "k": null}, {"tensor": [2.5], "k": "z"}]'
    late, fast = challenger("zz", outputs=(spec("v"),)), challenger("aa", outputs=(spec("w"),))
    answer = codecs.read(body, RECORDS).answer(
        result(
            {"dense_1": np.array([[0.1], [0.2]], "float32"), "n": np.array([1, 2])},
            [(late, None), (fast, ok(fast, np.array([7, 8])))],
        )
    )
    assert answer.body == (
        b'[{"time":1700,"in":{"tensor":[1.5],"k":null},"out":{"dense_1":[0.1],"n":1},'
        b'"anomaly":{"count":0},"out_aa":{"w":7},"out_zz":{"v":null}},'
        b'{"time":1700,"in":{"tensor":[2.5],"k":"z"},"out":{"dense_1":[0.2],"n":2},'
        b'"anomaly":{"count":0},"out_aa":{"w":8},"out_zz":{"v":null}}]'
    )
    name, _, value = answer.headers.decode("ascii").partition(": ")
    assert name == "X-Gnomon-Challengers"
    assert {label: seen["status"] for label, seen in json.loads(value).items()} == {
        "aa": "ok",
        "zz": "pending",
    }


def test_texts_and_nan_in_records():
    outputs = {"a": np.array(["x"], dtype=object), "b": np.array([[np.nan, 1]], "float16")}
    answer = codecs.read(b'[{"k": 1}]', None).answer(result(outputs))
    assert json.loads(answer.body)[0]["out"] == {"a": "x", "b": [None, 1.0]}


def test_a_challengers_error_cannot_break_the_header():
    served = challenger("rf")
    failed = Observation(
        model=served, status=Status.ERROR, error="é\r\nX-Evil: 1\x00" + "x" * 9_000
    )
    answer = codecs.read(b'[{"k": 1}]', None).answer(
        result({"y": np.array([[1.0]])}, [(served, failed)])
    )
    assert answer.headers.count(b"\r\n") == 1
    assert answer.headers.isascii()
    assert len(answer.headers) < 2_000
    assert json.loads(answer.body)[0]["out_rf"] == {"y": None}


@pytest.mark.parametrize("shape", [(3, 1), (1, 2), (), (0,)])
def test_outputs_that_are_not_one_per_row_fail_with_their_shape(shape):
    document = codecs.read(b'[{"k": 1}, {"k": 2}]', None)
    with pytest.raises(ModelFailed, match="cannot be split into 2 rows"):
        document.check_outputs(result({"y": np.zeros(shape)}).champion)


def test_a_challengers_outputs_that_cannot_be_split_are_null():
    served = challenger("rf")
    answer = codecs.read(b'[{"k": 1}, {"k": 2}]', None).answer(
        result({"y": np.zeros((2, 1))}, [(served, ok(served, np.zeros((3, 2))))])
    )
    assert [row["out_rf"] for row in json.loads(answer.body)] == [{"y": None}] * 2


# Whatever comes


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(body):
    with_errors(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values | st.lists(st.fixed_dictionaries({"a": json_values, "b": json_values})))
def test_any_json_is_read_or_refused(value):
    with_errors(json.dumps(value).encode())


def with_errors(body: bytes) -> None:
    try:
        columns = codecs.read(body, None).columns
        for name in columns:
            columns.loggable(name)
    except (MalformedRequest, InputMismatch):
        pass
