"""What is sent: exact, or refused; never larger than a request may be, and all of it in order."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, InputMismatch
from gnomon.sdk.parts import NamedTensors, Part, Rows, arrays_as_rows, to_json


def bodies(part: Part) -> list[bytes]:
    """The bodies that a part is sent in."""
    try:
        return [part.body()]
    except BodyTooLarge:
        if part.rows == 1:
            raise
        return [body for half in part.halves() for body in bodies(half)]


def rows_of(body: bytes) -> list[dict]:
    return pa.ipc.open_stream(body).read_all().to_pylist()


SCALARS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
    st.text(),
    st.booleans(),
    st.none(),
)


@settings(deadline=None)  # what is used first is loaded first
@given(st.dictionaries(st.text(), st.lists(st.lists(SCALARS))))
def test_values_are_in_json_as_they_are(tensors):
    assert json.loads(to_json(tensors)) == tensors


@settings(deadline=None)
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.data())
def test_numpy_floats_are_in_json_to_the_last_digit(dtype, data):
    width = np.dtype(dtype).itemsize * 8
    value = data.draw(st.floats(width=width, allow_nan=False, allow_infinity=False))
    array = np.array([[value]], dtype)

    [[written]], [scalar] = json.loads(to_json([array, [dtype(value)]]))

    assert written == scalar == float(array[0, 0])
    assert math.copysign(1, scalar) == math.copysign(1, value)


def test_arrays_of_every_order_are_in_json_as_they_are():
    array = np.arange(6, dtype="float32").reshape(2, 3)
    expected = array.tolist()
    for same in (np.asfortranarray(array), array.astype(">f4"), np.repeat(array, 2, 0)[::2]):
        assert json.loads(to_json(same)) == expected
    assert json.loads(to_json(np.array([["a"], ["ä"]], object))) == [["a"], ["ä"]]
    assert json.loads(to_json(np.array([2**64 - 1], np.uint64))) == [2**64 - 1]


@pytest.mark.parametrize(
    "value",
    [
        [math.nan],
        [None, math.inf],
        np.float32("nan"),
        np.array([[1.0, -np.inf]]),
        [[Ellipsis]],
        np.array(["2026-01-01"], "datetime64[D]"),
        np.array([1j]),
        [{1, 2}],
    ],
    ids=str,
)
def test_what_json_has_no_word_for_is_refused(value):
    with pytest.raises(InputMismatch):
        to_json({"tensor": value})


def test_what_is_nested_too_deeply_is_refused():
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InputMismatch, match="nested too deeply"):
        to_json(value)


@settings(deadline=None)
@given(st.lists(st.text(max_size=400), min_size=1, max_size=60))
def test_rows_are_sent_in_order_in_bodies_that_a_request_may_have(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "INFER_BODY_BYTES_MAX", 3_000)
        sent = bodies(Rows(pa.table({"text": texts, "index": range(len(texts))})))

    assert max(map(len, sent)) <= 3_000
    expected = [{"text": text, "index": index} for index, text in enumerate(texts)]
    assert [row for body in sent for row in rows_of(body)] == expected


@settings(deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=60))
def test_tensors_are_sent_in_order_in_bodies_that_a_request_may_have(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "INFER_BODY_BYTES_MAX", 3_000)
        sent = bodies(NamedTensors({"a": texts, "b": tuple(range(len(texts)))}))

    assert max(map(len, sent)) <= 3_000
    parts = [json.loads(body) for body in sent]
    assert [text for part in parts for text in part["a"]] == texts
    assert [index for part in parts for index in part["b"]] == list(range(len(texts)))


def test_values_that_take_less_than_a_byte_are_counted(monkeypatch):
    monkeypatch.setattr(limits, "TENSOR_ELEMENTS_MAX", 100)
    monkeypatch.setattr(limits, "TEXT_VALUES_MAX", 10)
    bits = pa.FixedSizeListArray.from_arrays(pa.array([True] * 800), 2)

    assert [len(rows_of(body)) for body in bodies(Rows(pa.table({"b": bits})))] == [50] * 8
    assert len(bodies(Rows(pa.table({"text": ["a"] * 40})))) == 4


def test_a_table_too_large_is_not_written_before_it_is_parted(monkeypatch):
    monkeypatch.setattr(limits, "INFER_BODY_BYTES_MAX", 3_000)
    written = []
    encode = Rows._encode
    monkeypatch.setattr(Rows, "_encode", lambda self: written.append(self.rows) or encode(self))

    sent = bodies(Rows(pa.table({"x": np.zeros(10_000)})))

    assert max(written) * 8 <= 3_000
    assert sum(len(rows_of(body)) for body in sent) == 10_000


@pytest.mark.parametrize(
    ("tensors", "as_rows"),
    [
        ({"x": np.zeros((3, 2))}, False),
        ({"x": np.full((3, 2), np.nan)}, True),
        ({"x": np.zeros((1, 20_000))}, True),
        ({"x": np.zeros((1, 20_000)), "y": np.zeros(1)}, True),
        ({"x": np.zeros((1, 20_000)), "y": np.zeros(2)}, False),
        ({"x": np.zeros((1, 20_000)), "y": [0]}, False),
        ({"x": np.array(np.nan)}, False),
        ({"x": np.zeros((20_000, 0))}, False),
        ({"x": np.array(["a"] * 9, object)}, False),
        ({}, False),
    ],
)
def test_arrays_travel_as_rows_where_json_is_no_good(tensors, as_rows):
    assert (arrays_as_rows(tensors) is not None) is as_rows
