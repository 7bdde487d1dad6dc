"""Arrow tables: what feeds a model, what stands beside it, what is answered."""

from __future__ import annotations

import decimal
import json

import numpy as np
import pyarrow as pa
import pytest

from gnomon.core.errors import InputMismatch, ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.front import codecs
from gnomon.front.codecs import Result
from gnomon.front.feeding import Feeding
from tests.front.arrow import FILE, ROWS, STREAM, TENSOR, body_of, columns, ok, read
from tests.front.conftest import FrontServer
from tests.front.models import challenger, champion, route, spec
from tests.waiting import until


def answered(document, outputs: dict, challengers=()) -> tuple[pa.Table, codecs.Answer]:
    specs = tuple(
        spec(name, "string" if array.dtype.kind == "O" else array.dtype.name)
        for name, array in outputs.items()
    )
    served = champion(outputs=specs)
    deployed = route(served, *(model for model, _ in challengers))
    seen = tuple(observation for _, observation in challengers)
    answer = document.answer(Result(deployed, "id-1", 1_700, ok(served, *outputs.values()), seen))
    is_file = answer.content_type == FILE
    table = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(answer.body).read_all()
    table.validate(full=True)
    return table, answer


# Reading


@pytest.mark.parametrize("announced", [FILE, STREAM, None, b"application/octet-stream"])
@pytest.mark.parametrize("kind", [FILE, STREAM])
def test_a_file_or_stream_is_known_by_its_first_bytes(kind, announced):
    document = codecs.read(body_of(pa.table({"tensor": TENSOR}), kind), announced)
    assert document.rows == 3
    assert document.columns["tensor"].tolist() == ROWS.tolist()
    assert not document.strict
    assert answered(document, {"y": ROWS})[1].content_type == kind


def test_numbers_are_the_bytes_of_the_body():
    body = body_of(pa.table({"tensor": TENSOR}))
    array = codecs.read(body, STREAM).columns["tensor"]
    assert np.shares_memory(array, np.frombuffer(body, "u1"))
    assert array.dtype == np.float32


@pytest.mark.parametrize(
    "dtype",
    [
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool"),
    ],
)
def test_every_number_type_is_read_and_echoed_exactly(dtype):
    values = np.array([0, 1, 1, 0], dtype)
    if dtype.startswith("float"):
        values = np.array([np.nan, -0.0, np.inf, 0.1], dtype)
    elif dtype != "bool":
        values[1:3] = np.iinfo(dtype).max, np.iinfo(dtype).min
    column = pa.array(values)
    document = read(pa.table({"a": column, "b": pa.FixedSizeListArray.from_arrays(column, 1)}))
    assert document.columns["a"].tobytes() == values.tobytes()
    assert document.columns["b"].shape == (4, 1)
    table, _ = answered(document, {"y": values, "z": values.reshape(2, 2).repeat(2, 0)})
    for name in ("in.a", "out.y"):
        assert table.column(name).chunk(0).to_numpy(zero_copy_only=False).tobytes() == (
            values.tobytes()
        )
    assert table.schema.field("in.b").type == pa.list_(column.type)


def test_lists_of_equal_lengths_are_tensors():
    found = columns(
        a=pa.array([[[1, 2, 3], [4, 5, 6]]] * 2, pa.large_list(pa.list_(pa.int16()))),
        b=pa.array([["é", ""], ["x", "y"]]),
        c=pa.array([[True], [False]]),
        d=pa.array(["p", "q"], pa.large_string()),
        e=pa.array(["p", "q"]).dictionary_encode(),
        f=pa.array([[], []], pa.list_(pa.int8())),
    )
    assert found["a"].tolist() == [[[1, 2, 3], [4, 5, 6]]] * 2
    assert found["b"].tolist() == [["é", ""], ["x", "y"]]
    assert found["c"].tolist() == [[True], [False]]
    assert found["d"].tolist() == found["e"].tolist() == ["p", "q"]
    assert found["f"].shape == (2, 0)


def test_several_record_batches_are_one_request():
    table = pa.table({"tensor": TENSOR, "e": pa.array(["p", "q", "p"]).dictionary_encode()})
    document = read(table, chunk=1)
    assert document.columns["tensor"].tolist() == ROWS.tolist()
    assert document.columns["e"].tolist() == ["p", "q", "p"]
    assert answered(document, {"y": ROWS})[0].column("in.e").to_pylist() == ["p", "q", "p"]


def test_part_of_a_larger_table_is_read_as_that_part():
    table = pa.table({"tensor": TENSOR, "s": ["a", "b", "c"], "l": [[1], [2], [3]]})
    found = read(table.slice(1, 1)).columns
    assert [found[name].tolist() for name in found] == [[[2.0, 3.0]], ["b"], [[2]]]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([1, None]), r"'a' has no value \(null\) in row 1"),
        (pa.array([[1, 2], [3, None]]), r"'a' has no value \(null\) in row 1"),
        (pa.array([[1, 2], None]), r"'a' has no value \(null\) in row 1"),
        (pa.array([[1, 2], [3]]), "'a' is ragged"),
        (pa.array([1, 2], pa.timestamp("us")), "'a' holds values of type timestamp"),
        (pa.array([1, 2], pa.date32()), "'a' holds values of type date32"),
        (pa.array([decimal.Decimal("1.5")] * 2), "'a' holds values of type decimal128"),
    ],
)
def test_what_is_no_tensor_feeds_no_model(column, says):
    found = columns(a=column)
    with pytest.raises(InputMismatch, match=says):
        found["a"]


def test_what_is_no_tensor_may_stand_beside_what_feeds_and_is_logged_as_text():
    table = pa.table(
        {
            "tensor": TENSOR,
            "when": pa.array([0, 1_000, None], pa.timestamp("ms", "UTC")),
            "price": pa.array([decimal.Decimal("1.50")] * 3),
            "note": pa.array(["a", None, "c"]),
            "ragged": pa.array([[1], [2, 3], []]),
            "count": pa.array([1, 2, 2**53 + 1]),
        }
    )
    document = read(table)
    feeding, found = Feeding(route(champion())), document.columns
    plan = feeding.plan(found, strict=False)
    logged = feeding.logged(found, plan, feeding.champion(found, plan))
    assert {name: array.tolist() for name, array in logged.items()} == {
        "tensor": ROWS.tolist(),
        "when": ["1970-01-01 00:00:00.000Z", "1970-01-01 00:00:01.000Z", "null"],
        "price": ["1.50"] * 3,
        "note": ['"a"', "null", '"c"'],
        "ragged": ["[1]", "[2,3]", "[]"],
        "count": [1, 2, 2**53 + 1],
    }
    echo, _ = answered(document, {"y": ROWS})
    for name in ("when", "price", "note", "ragged", "count"):
        assert echo.column(f"in.{name}").equals(table.column(name))


# Answering


def test_an_answer_has_flat_columns_in_their_order():
    late, fast = challenger("zz", outputs=(spec("v", "int64"),)), challenger("aa")
    table, answer = answered(
        read(pa.table({"tensor": TENSOR, "k": [1, 2, 3]})),
        {"dense_1": np.array([[0.1], [np.nan], [-0.0]], "float32"), "n": np.array([1, 2, 3])},
        [(late, None), (fast, ok(fast, ROWS))],
    )
    assert {field.name: (str(field.type), field.nullable) for field in table.schema} == {
        "time": ("timestamp[ms]", False),
        "in.tensor": ("list<item: float>", True),
        "in.k": ("int64", True),
        "out.dense_1": ("list<inner: float not null>", False),
        "out.n": ("int64", False),
        "anomaly.count": ("uint32", False),
        "out_aa.y": ("list<inner: float not null>", True),
        "out_zz.v": ("list<inner: int64 not null>", True),
    }
    assert table.column("time").cast(pa.int64()).to_pylist() == [1_700] * 3
    assert table.column("in.tensor").to_pylist() == ROWS.tolist()
    floats = table.column("out.dense_1").chunk(0).flatten().to_numpy()
    assert floats.tobytes() == np.float32([0.1, np.nan, -0.0]).tobytes()
    assert table.column("out_aa.y").to_pylist() == ROWS.tolist()
    assert table.column("out_zz.v").to_pylist() == [None] * 3
    assert table.column("anomaly.count").to_pylist() == [0] * 3
    name, _, value = answer.headers.decode("ascii").partition(": ")
    assert name == "X-Gnomon-Challengers"
    assert {label: seen["status"] for label, seen in json.loads(value).items()} == {
        "aa": "ok",
        "zz": "pending",
    }


def test_outputs_of_any_rank_and_texts_are_answered():
    deep = np.arange(24, dtype="int16").reshape(3, 2, 4)
    texts = np.array([["a"], ["é"], [""]], dtype=object)
    table, _ = answered(
        read(pa.table({"tensor": TENSOR})),
        {"deep": deep, "texts": texts, "flags": deep % 3 == 0, "none": np.zeros((3, 0))},
    )
    assert table.column("out.deep").to_pylist() == deep.tolist()
    assert table.column("out.texts").to_pylist() == texts.tolist()
    assert table.column("out.flags").to_pylist() == (deep % 3 == 0).tolist()
    assert table.column("out.none").to_pylist() == [[]] * 3


def test_a_challenger_without_usable_outputs_has_nulls_of_its_declared_type():
    outputs = (spec("t", "string", (None,)), spec("d", "float64", (None, 2, 3)))
    failed, odd = challenger("a", outputs=outputs), challenger("b", outputs=outputs)
    table, _ = answered(
        read(pa.table({"tensor": TENSOR})),
        {"y": ROWS},
        [
            (failed, Observation(model=failed, status=Status.ERROR, error="It failed.")),
            (odd, ok(odd, np.zeros((2, 1)), np.zeros((2, 2, 3)))),
        ],
    )
    for label in ("a", "b"):
        assert table.schema.field(f"out_{label}.t").type == pa.string()
        assert table.column(f"out_{label}.d").to_pylist() == [None] * 3
        assert str(table.schema.field(f"out_{label}.d").type).count("list") == 2


@pytest.mark.parametrize("shape", [(2, 1), (1, 3), ()])
def test_outputs_that_are_not_one_per_row_fail_with_their_shape(shape):
    served = champion()
    with pytest.raises(ModelFailed, match="cannot be split into 3 rows"):
        read(pa.table({"tensor": TENSOR})).check_outputs(ok(served, np.zeros(shape)))


# Over HTTP


@pytest.mark.parametrize("kind", [FILE, STREAM])
def test_a_table_is_answered_by_a_table(doubling: FrontServer, kind):
    body = body_of(pa.table({"tensor": TENSOR, "note": ["a", "b", None]}), kind)
    answer = doubling.infer(body, content_type=kind.decode())
    assert answer.status == 200, answer.body
    assert answer.body.startswith(b"ARROW1") == (kind == FILE)
    read_back = pa.ipc.open_file if kind == FILE else pa.ipc.open_stream
    table = read_back(answer.body).read_all()
    assert table.column("out.y").to_pylist() == (ROWS * 2).tolist()
    assert table.column("in.note").to_pylist() == ["a", "b", None]
    [entry] = until(lambda: doubling.log.entries)
    assert entry.inputs["tensor"].tolist() == ROWS.tolist()


@pytest.mark.parametrize(
    ("body", "status", "error_code"),
    [
        (body_of(pa.table({"tensor": TENSOR}))[:100], 400, "malformed_request"),
        (body_of(pa.table({"tensor": [{"x": 1}]})), 422, "input_mismatch"),
        (body_of(pa.table({"tensor": [1.0, None]})), 422, "input_mismatch"),
        (body_of(pa.table({"tensor": [[1.0, 2.0, 3.0]]})), 422, "input_mismatch"),
    ],
)
def test_a_bad_table_gets_a_clear_error(doubling: FrontServer, body, status, error_code):
    answer = doubling.infer(body, content_type=STREAM.decode())
    assert (answer.status, answer.json["error_code"]) == (status, error_code)
    assert doubling.infer(body_of(pa.table({"tensor": TENSOR}))).status == 200
