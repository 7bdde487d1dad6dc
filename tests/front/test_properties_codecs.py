"""Values of every type, in every format, to a host that gives back what it got: nothing changes.

Through a real front, by HTTP: body to columns, to the types that models declare, to a frame, to
the host, and all the way back.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gnomon.core.frames import Frame, Kind
from gnomon.core.tensors import DTYPES, STRING
from gnomon.testing import ListLog
from tests.front.arrow import FILE, STREAM, body_of
from tests.front.conftest import FrontServer
from tests.front.models import champion, route, spec
from tests.front.twins import Server, Talk, post
from tests.front.wire import Reply

FLOATS = ("float16", "float32", "float64")
BITS = dict(zip(FLOATS, ("uint16", "uint32", "uint64"), strict=True))
EXAMPLES = settings(max_examples=30, deadline=None)
RANKS = (1, 3, 8)
WIDTH = 3  # of the model whose rows are always as wide


def echoes(question: Frame) -> Frame:
    """Answer with the inputs."""
    return Frame(Kind.RESULT, question.request, 1_000, question.tensors)


def reads_bits(question: Frame) -> Frame:
    """Answer with the floats that have the bits of the input: NaN and infinity are among them."""
    [bits] = question.tensors
    return Frame(Kind.RESULT, question.request, 1_000, (bits.view(f"float{8 * bits.itemsize}"),))


def pipelines() -> dict[str, tuple[Any, Any]]:
    """Return the champion of each pipeline, and its host's answer."""
    made: dict[str, tuple[Any, Any]] = {}

    def add(name: str, given: str, gives: str, shape: tuple[int | None, ...], answer: Any) -> None:
        specs = {"inputs": (spec("x", given, shape),), "outputs": (spec("y", gives, shape),)}
        made[name] = (champion(name, **specs), answer)

    for dtype in DTYPES:
        add(dtype, dtype, dtype, (None, None), echoes)
    for rank in RANKS:
        add(f"rank{rank}", "int16", "int16", (None,) * rank, echoes)
    add("wide", "float32", "float32", (None, WIDTH), echoes)
    for dtype, bits in BITS.items():
        add(f"bits-{dtype}", bits, dtype, (None, None), reads_bits)
    return made


@pytest.fixture(scope="module")
def talk():
    made = pipelines()
    with tempfile.TemporaryDirectory() as directory:
        server = FrontServer(Path(directory), ListLog())
        server.start()
        for model, answer in made.values():
            server.host(model, answer)
        server.route(
            *(
                route(model, pipeline=name, deployment_id=number)
                for number, (name, (model, _)) in enumerate(made.items())
            )
        )
        server.wait_connected(*(model.host for model, _ in made.values()))
        with Server("ours", server.port, server.loop).talk() as talk:
            yield talk
        server.stop()


NUMBERS = {name: number for number, name in enumerate(pipelines())}


def ask(talk: Talk, pipeline: str, body: bytes) -> Reply:
    path = f"/v1/api/pipelines/infer/{pipeline}-{NUMBERS[pipeline]}"
    reply = talk.ask(post(line=f"POST {path} HTTP/1.1", length=len(body), body=body))
    assert reply is not None
    return reply


def arrays(dtype: str, *, finite: bool, rank: int = 2, width: int | None = None) -> Any:
    """Return a strategy for arrays with at least one row, and a value in it."""
    if width is None:
        shapes = npst.array_shapes(min_dims=rank, max_dims=rank, min_side=1, max_side=4)
    else:
        shapes = st.tuples(st.integers(1, 70), st.just(width))
    if dtype == STRING:
        texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        return npst.arrays(np.dtype(object), shapes, elements=texts)
    allowed = {"allow_nan": not finite, "allow_infinity": not finite} if dtype in FLOATS else {}
    edges = st.sampled_from(EDGES.get(dtype, [0]))
    return npst.arrays(
        np.dtype(dtype), shapes, elements=npst.from_dtype(np.dtype(dtype), **allowed) | edges
    )


EDGES: dict[str, list[Any]] = {
    "int64": [2**63 - 1, -(2**63), 2**53 + 1],
    "uint64": [2**64 - 1, 2**63, 2**53 + 1],
    "float16": [-0.0, 6e-8, 65504.0],
    "float32": [-0.0, float(np.float32(1e-45)), float(np.finfo("float32").max)],
    "float64": [-0.0, 5e-324, 1.7976931348623157e308, 0.1],
    "bool": [True],
}


def assert_same(got: np.ndarray, sent: np.ndarray) -> None:
    """Compare the bits; of NaN only that it is one."""
    assert got.shape == sent.shape
    if sent.dtype == object:
        assert got.tolist() == sent.tolist()
        return
    got = got.astype(sent.dtype)
    if sent.dtype.kind == "f":
        nan = np.isnan(sent)
        assert np.array_equal(np.isnan(got), nan)
        got, sent = got[~nan], sent[~nan]
    assert got.tobytes() == sent.tobytes()


def tensor_of(reply: Reply) -> np.ndarray:
    """Return the output of a JSON answer."""
    assert reply.status == 200, reply.body
    [output] = reply.json[0]["outputs"]
    [(tag, tensor)] = output.items()
    dtype = next(name for name, (_, its) in DTYPES.items() if its == tag)
    values = tensor["data"]
    for index, word in tensor.get("non_finite", {}).items():
        assert values[int(index)] is None
        values[int(index)] = float(word)
    return np.array(values, dtype=object if dtype == STRING else dtype).reshape(tensor["dim"])


@pytest.mark.parametrize("dtype", DTYPES)
@EXAMPLES
@given(st.data())
def test_a_json_tensor_comes_back_as_it_was(talk, dtype, data):
    sent = data.draw(arrays(dtype, finite=True))
    body = json.dumps({"x": sent.tolist()}).encode()
    reply = ask(talk, dtype, body)
    assert_same(tensor_of(reply), sent)
    assert reply.json[0]["original_data"] == json.loads(body)


@pytest.mark.parametrize("rank", RANKS)
@EXAMPLES
@given(st.data())
def test_a_json_tensor_of_any_rank_comes_back_as_it_was(talk, rank, data):
    sent = data.draw(arrays("int16", finite=True, rank=rank))
    reply = ask(talk, f"rank{rank}", json.dumps({"x": sent.tolist()}).encode())
    assert_same(tensor_of(reply), sent)


@EXAMPLES
@given(arrays("float32", finite=True, width=WIDTH))
def test_rows_of_the_usual_width_come_back_as_they_were(talk, sent):
    reply = ask(talk, "wide", json.dumps({"tensor": sent.tolist()}).encode())
    assert_same(tensor_of(reply), sent)


@EXAMPLES
@given(arrays("float64", finite=True, width=WIDTH))
def test_doubles_are_rounded_once_or_refused(talk, sent):
    reply = ask(talk, "wide", json.dumps({"tensor": sent.tolist()}).encode())
    with np.errstate(over="ignore"):
        rounded = sent.astype("float32")
    if np.isfinite(rounded).all():
        assert_same(tensor_of(reply), rounded)
    else:
        assert reply.status == 422


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name not in (STRING, "bool")])
@EXAMPLES
@given(values=st.lists(st.integers(-(2**63), 2**64 - 1) | st.integers(-300, 300), min_size=1))
def test_integers_arrive_exactly_or_are_refused(talk, dtype, values):
    reply = ask(talk, dtype, json.dumps({"x": [values]}).encode())
    if reply.status == 200:
        assert [int(value) for value in tensor_of(reply)[0]] == values
    else:
        assert reply.status == 422
        assert not all(_holds(dtype, value) for value in values) or not _same_type(values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [2**64 + 1, -(2**63) - 1, 10**40 + 1])
def test_an_integer_of_more_than_64_bits_is_not_rounded(talk, dtype, value):
    reply = ask(talk, dtype, json.dumps({"x": [[value]]}).encode())
    assert reply.status == 422 or int(tensor_of(reply)[0, 0]) == value


def _holds(dtype: str, value: int) -> bool:
    if dtype in FLOATS:
        largest = float(np.finfo(dtype).max)
        return abs(value) <= largest and int(np.dtype(dtype).type(value)) == value
    bounds = np.iinfo(dtype)
    return bool(bounds.min <= value <= bounds.max)


def _same_type(values: list[int]) -> bool:
    """Say whether one type of 64 bits holds all of them."""
    return all(_holds("int64", v) for v in values) or all(_holds("uint64", v) for v in values)


@pytest.mark.parametrize("dtype", FLOATS)
@EXAMPLES
@given(st.data())
def test_any_bits_of_a_float_are_told_in_json(talk, dtype, data):
    bits = data.draw(arrays(BITS[dtype], finite=True))
    reply = ask(talk, f"bits-{dtype}", json.dumps({"x": bits.tolist()}).encode())
    assert_same(tensor_of(reply), bits.view(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number_is_refused(talk, dtype, word):
    assert ask(talk, dtype, b'{"x": [[%b]]}' % word.encode()).status == 400


@pytest.mark.parametrize("dtype", DTYPES)
@EXAMPLES
@given(st.data())
def test_records_come_back_as_they_were(talk, dtype, data):
    sent = data.draw(arrays(dtype, finite=True))
    body = json.dumps([{"x": row, "further": "é"} for row in sent.tolist()]).encode()
    reply = ask(talk, dtype, body)
    assert reply.status == 200, reply.body
    got = [row["out"]["y"] for row in reply.json]
    assert_same(np.array(got, dtype=object if dtype == STRING else dtype), sent)
    assert [row["in"] for row in reply.json] == json.loads(body)


@pytest.mark.parametrize("dtype", FLOATS)
@EXAMPLES
@given(st.data())
def test_records_have_null_where_there_is_no_finite_float(talk, dtype, data):
    bits = data.draw(arrays(BITS[dtype], finite=True))
    reply = ask(talk, f"bits-{dtype}", json.dumps([{"x": row} for row in bits.tolist()]).encode())
    wanted = bits.view(dtype)
    got = np.array([row["out"]["y"] for row in reply.json], dtype="float64")  # NaN for null
    assert_same(got, np.where(np.isfinite(wanted), wanted, np.nan).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@EXAMPLES
@given(st.data(), st.sampled_from([FILE, STREAM]), st.booleans())
def test_arrow_comes_back_as_it_was(talk, dtype, data, kind, fixed):
    sent = data.draw(arrays(dtype, finite=False))
    table = pa.table({"x": lists(sent, fixed=fixed), "further": pa.array(range(len(sent)))})
    reply = ask(talk, dtype, body_of(table, kind))
    assert reply.status == 200, reply.body
    opened = pa.ipc.open_file if kind == FILE else pa.ipc.open_stream
    answer = opened(reply.body).read_all()
    answer.validate(full=True)
    for name in ("in.x", "out.y"):
        cells = answer.column(name).combine_chunks().flatten()
        assert_same(cells.to_numpy(zero_copy_only=False).reshape(sent.shape), sent)
    assert answer.column("in.further").to_pylist() == list(range(len(sent)))


def lists(array: np.ndarray, *, fixed: bool) -> pa.Array:
    """Return a column of lists of one length."""
    kind = pa.string() if array.dtype == object else pa.from_numpy_dtype(array.dtype)
    cells = pa.array(array.ravel().tolist() if array.dtype == object else array.ravel(), kind)
    rows, width = array.shape
    if fixed:
        return pa.FixedSizeListArray.from_arrays(cells, width)
    return pa.ListArray.from_arrays(np.arange(rows + 1, dtype="int32") * width, cells)
