"""Arrow bodies: what is refused before a value of it is touched."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gnomon.core import limits
from gnomon.core.errors import InputMismatch, MalformedRequest
from gnomon.front import codecs
from gnomon.front.codecs import Result
from tests.front.arrow import FILE, ROWS, STREAM, TENSOR, body_of, columns, ok, read
from tests.front.models import challenger, champion, route, spec


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"x": 1}]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
        pa.array([b"x"]),
        pa.array([None]),
        pa.array(["x"], pa.string_view()),
        pa.array([[1]], pa.list_view(pa.int64())),
        pa.array([1, 1]).dictionary_encode().slice(0, 1),
        pa.array([["x"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array([[0]], pa.list_(pa.timestamp("us"))),
        pa.array([[]], pa.list_(pa.int8(), 0)),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([1])),
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    ],
    ids=lambda column: str(column.type)[:30],
)
def test_types_that_are_not_taken_are_refused_with_their_column(column):
    with pytest.raises(InputMismatch, match="Column 'odd' has the Arrow type"):
        columns(odd=column)


def test_extension_types_are_refused_before_they_are_made():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2)))
    with pytest.raises(InputMismatch, match="extension types are not taken"):
        columns(odd=tensors)


@pytest.mark.parametrize("version", [pa.ipc.MetadataVersion.V4, pa.ipc.MetadataVersion.V5])
@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
def test_compressed_buffers_are_refused(codec, version):
    bomb = pa.table({"a": np.zeros(1_000_000), "b": pa.array(["x"] * 1_000_000)})
    body = body_of(bomb.slice(0, 10), compression=codec, metadata_version=version)
    if codec is None:
        assert codecs.read(body, STREAM).rows == 10
        return
    before = pa.total_allocated_bytes()
    for compressed in (body, body_of(bomb, FILE, compression=codec)):
        with pytest.raises(InputMismatch, match="Compressed"):
            codecs.read(compressed, None)
    assert pa.total_allocated_bytes() <= before + bomb.nbytes


def test_a_compressed_dictionary_is_refused():
    table = pa.table({"a": pa.array(["x" * 1_000, "y"]).dictionary_encode()})
    with pytest.raises(InputMismatch, match="Compressed"):
        read(table, compression="zstd")


def test_dictionaries_in_parts_are_refused():
    kind = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema([("a", kind)])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for texts in (["x"], ["x", "y"]):
            indices = pa.array(range(len(texts)), pa.int8())
            column = pa.DictionaryArray.from_arrays(indices, pa.array(texts))
            writer.write_batch(pa.record_batch([column], schema=schema))
    with pytest.raises(InputMismatch, match="deltas"):
        codecs.read(sink.getvalue().to_pybytes(), STREAM)


def test_a_dictionary_that_would_unfold_into_more_than_a_body_is_refused():
    indices = pa.array(np.zeros(100_000, "int8"))
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 1_000]))
    with pytest.raises(InputMismatch, match="bytes of text"):
        columns(a=column)


def test_buffers_that_overlap_are_refused():
    size, columns = 8_000, 50
    body = bytearray(body_of(pa.table({f"c{n}": np.zeros(1_000) for n in range(columns)})))
    for number in range(1, columns):  # Given that every column is said to be where the first is
        at = body.index(struct.pack("<4q", number * size, 0, number * size, size))
        body[at : at + 32] = struct.pack("<4q", 0, 0, 0, size)
    assert codecs.read(bytes(body), STREAM).rows == 1_000  # no more than was sent
    # When the rest of the data is left out
    at = body.index(struct.pack("<q", columns * size))
    body[at : at + 8] = struct.pack("<q", size)
    body = body[: -8 - (columns - 1) * size] + body[-8:]
    # Then it is refused: it would be fifty times what was sent
    with pytest.raises(MalformedRequest, match="overlap"):
        codecs.read(bytes(body), STREAM)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"a": pa.array([], pa.int8())}), "no rows"),
        (pa.table({}), "no columns"),
        (pa.table({f"c{n}": [1] for n in range(1_001)}), "1001 columns"),
        (pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"]), "'a' stands twice"),
        (pa.table({"a": pa.array([[[[[[[[[1]]]]]]]]])}), "nested deeper"),
    ],
)
def test_sizes_are_bounded(table, says):
    with pytest.raises(InputMismatch, match=says):
        read(table)


def test_many_small_batches_are_refused():
    table = pa.table({"a": np.zeros(limits.ARROW_MESSAGES_MAX, "int8")})
    with pytest.raises(InputMismatch, match="larger record batches"):
        read(table, chunk=1)


def test_a_further_column_of_too_many_values_is_not_written_out(monkeypatch):
    monkeypatch.setattr(limits, "TEXT_VALUES_MAX", 3)
    found = columns(a=pa.array([[1, 2], [3, 4, 5]]), b=pa.array([1, None]))
    assert found.loggable("b").tolist() == ["1", "null"]
    with pytest.raises(InputMismatch, match="would be logged as text"):
        found.loggable("a")


def test_a_time_zone_that_nobody_knows_is_refused():
    found = columns(a=pa.array([1], pa.timestamp("us", "Nowhere/Else")))
    with pytest.raises(InputMismatch, match="cannot be written out"):
        found.loggable("a")


def test_a_file_is_read_as_its_footer_says():
    # Given a file whose messages cannot be read one after the other, as polars writes them
    body = bytearray(body_of(pa.table({"tensor": TENSOR}), FILE))
    body[8:12] = bytes(4)
    with pytest.raises((OSError, pa.ArrowInvalid, StopIteration)):
        pa.ipc.open_stream(bytes(body[8:]))
    assert codecs.read(bytes(body), FILE).columns["tensor"].tolist() == ROWS.tolist()


@pytest.mark.parametrize("offset", [-8, 0, 1, 2**62])
def test_a_footer_that_points_elsewhere_is_malformed(offset):
    body = body_of(pa.table({"tensor": TENSOR}), FILE)
    start = len(body) - 10 - struct.unpack_from("<i", body, len(body) - 10)[0]
    at = _block_at(body, start)
    broken = body[:at] + struct.pack("<q", offset) + body[at + 8 :]
    with pytest.raises(MalformedRequest):
        codecs.read(broken, FILE)


def test_a_footer_that_names_one_batch_again_and_again_is_refused():
    sink = pa.BufferOutputStream()
    table = pa.table({"a": np.zeros(10_000)})
    with pa.ipc.new_file(sink, table.schema) as writer:
        for _ in range(3):
            writer.write_table(table.slice(0, 10_000))
    body = sink.getvalue().to_pybytes()
    start = len(body) - 10 - struct.unpack_from("<i", body, len(body) - 10)[0]
    at = _block_at(body, start)
    # When all three blocks are the first, and the rest of the data is left out
    block = body[at : at + 24]
    offset, head, data = struct.unpack("<qi4xq", block)
    body = body[: offset + head + data] + body[start:at] + block * 3 + body[at + 72 :]
    with pytest.raises(MalformedRequest, match="overlap"):
        codecs.read(body, FILE)


def _block_at(body: bytes, start: int) -> int:
    """Return where the footer has its first block: offset, head and data bytes."""
    for at in range(start, len(body) - 24, 4):
        offset, head, data = struct.unpack_from("<qi4xq", body, at)
        if (8 < offset < start and 0 < head < start and 0 < data <= start - offset - head) and body[
            offset : offset + 4
        ] == b"\xff" * 4:
            return at
    raise AssertionError("no block")


GOOD = body_of(pa.table({"tensor": TENSOR}))
GOOD_FILE = body_of(pa.table({"tensor": TENSOR}), FILE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ARROW1",
        b"ARROW1\0\0ARROW1",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        b'{"tensor": [[1, 2]]}',
        GOOD[:-60],
        GOOD[:100],
        GOOD_FILE[:-1],
        GOOD_FILE[:200] + b"ARROW1",
        GOOD[:8] + b"\0" * 400,
        b"\xff\xff\xff\xff\0\0\0\0",
    ],
)
def test_what_is_not_arrow_is_malformed(body):
    with pytest.raises(MalformedRequest, match=r"Arrow|empty") as caught:
        codecs.read(body, STREAM)
    assert len(str(caught.value)) < 300


MUTATING = """
import pickle, random, sys
import orjson
sys.modules["pandas"] = None  # as in a server's front
from gnomon.core.errors import InputMismatch, MalformedRequest
from gnomon.front import codecs
from gnomon.front.codecs import Result

bodies, result = pickle.load(sys.stdin.buffer)
NUMPY = orjson.OPT_SERIALIZE_NUMPY
chance = random.Random(int(sys.argv[1]))


def use(body):
    document = codecs.read(body, None)
    for name in document.columns:
        document.columns.loggable(name)
        orjson.dumps([document.original()[name], document.cells(name)], option=NUMPY)
        document.arrow(name)[0].validate(full=True)
    return document


for body in bodies:
    use(body).answer(result)
for number in range(int(sys.argv[2])):
    body = bytearray(chance.choice(bodies))
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at, how = chance.randrange(len(body)), chance.random()
        if how < 0.5:
            body[at] = chance.randrange(256)
        elif how < 0.7:
            body[at] ^= 1 << chance.randrange(8)
        elif how < 0.85:
            body[at & ~3 : (at & ~3) + 4] = chance.choice([b"\\xff\\xff\\xff\\x7f", b"\\0" * 4])
        elif how < 0.93:
            del body[at : at + chance.randrange(1, 64)]
        else:
            body[at:at] = chance.randbytes(chance.randrange(1, 16))
        body = body or bytearray(b"x")
    try:
        use(bytes(body))
    except (InputMismatch, MalformedRequest):
        pass
assert sys.modules["pandas"] is None
print("done")
"""


def test_mutated_bodies_are_read_or_refused_and_crash_nothing():
    """3,000 and more were tried by hand; here are some of each run's own."""
    table = pa.table(
        {
            "tensor": TENSOR,
            "l": [[1.5], [2.5], [3.5]],
            "s": pa.array([["a"], ["b"], None], pa.large_list(pa.large_string())),
            "b": [True, None, False],
            "d": pa.array(["x", "y", "x"]).dictionary_encode(),
            "t": pa.array([1, 2, 3], pa.timestamp("us", "UTC")),
        }
    )
    bodies = [body_of(table), body_of(table, FILE), body_of(table, chunk=1), GOOD]
    served = champion(outputs=(spec("y"), spec("s", "string")))
    texts = np.array(["a", "é", ""], dtype=object)
    result = Result(
        route(served, challenger("rf")), "id-1", 1_700, ok(served, ROWS, texts), (None,)
    )
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", MUTATING, "7", "600"],
        input=pickle.dumps((bodies, result)),
        capture_output=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"done\n"
