"""Doubled keys, and integers that fit no type: what the JSON reader would pass over in silence."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.core.errors import InputMismatch, MalformedRequest
from gnomon.front import codecs
from gnomon.front.feeding import Feeding
from tests.front.models import champion, route, spec

LONG = "x" * 5_000  # longer than what is counted byte by byte


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [1], "a": [2]}',
        b'{"a": [[0.5, 1.5]], "a": [[0.5, 1.5]]}',
        b'{"a" : [1], "a": [2]}',
        b'{"a"\n:\t[1],"b":[2],"a"\t:[3]}',
        b'{"a": [1], "\\u0061": [2]}',
        b'{"a": [":"], "a": ["2"]}',
        b'{"a": ["\\":"], "a" : ["2"]}',
        b'[{"a": 1, "a": 2}]',
        b'[{"a": 1, "b": "x"}, {"a": 1, "b": 2, "b" :3}]',
        b'[{"t": "10:15", "a": 1, "a": 2}]',
        b'[{"d": {"a": 1, "a": 2}}]',
        b'[{"d": [{"x": {"a": 1, "a": 2}}]}]',
        f'[{{"t": "{LONG}", "a": 1, "a": 2}}]'.encode(),
        f'[{{"t": "{LONG}:", "a": 1, "a" :2}}]'.encode(),
    ],
)
def test_a_key_that_stands_twice_is_malformed(body):
    with pytest.raises(MalformedRequest, match=r"The key '[ab]' stands twice in one object"):
        codecs.read(body, None)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"a:b": [1], "c": [2]}',
        b'{"a": ["x:y", ":", "\\":"], "b": [":"]}',
        b'[{"a": 1}, {"a": 2}]',
        b'[{"a": {"a": {"a": ":"}}, "t": "10:15"}]',
        b'[{"a": "{\\"a\\": 1, \\"a\\": 2}"}]',
        f'[{{"t": "{LONG}: 10:15", "a": {{"t": 1}}}}]'.encode(),
    ],
)
def test_colons_and_quotes_elsewhere_are_no_keys(body):
    codecs.read(body, None)


words = st.text(st.sampled_from('ab":\\{}, \n'), max_size=6)
values = st.recursive(
    st.integers(0, 9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.fixed_dictionaries({"a": values, "b:": values}), min_size=1, max_size=3),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_unique_keys_are_read_and_doubled_ones_are_not(rows, indent, doubled):
    text = json.dumps(rows, indent=indent)
    if doubled:
        text = text.replace("{", '{"\\u0062:": 1,', 1)
        with pytest.raises(MalformedRequest, match="stands twice"):
            codecs.read(text.encode(), None)
    else:
        assert codecs.read(text.encode(), None).rows == len(rows)


def test_a_deep_object_is_refused_when_its_keys_have_to_be_looked_at():
    deep = b'{"a":' * 1_000 + b"1" + b"}" * 1_000
    body = b'[{"d": ' + deep + b"}]"
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        codecs.read(body, None)


TOO_LONG = ["18446744073709551616", "-9223372036854775809", "1" + "0" * 30, "-" + "9" * 300]
FLOAT32 = champion(inputs=(spec("x"),))
FLOAT64 = champion(inputs=(spec("x", "float64"),))
INT64 = champion(inputs=(spec("x", "int64"),))


def fed(body: bytes, served):
    document = codecs.read(body, None)
    feeding = Feeding(route(served))
    plan = feeding.plan(document.columns, strict=document.strict)
    tensors = feeding.champion(document.columns, plan)
    return tensors, feeding.logged(document.columns, plan, tensors)


@pytest.mark.parametrize("number", TOO_LONG)
@pytest.mark.parametrize("served", [FLOAT32, FLOAT64, INT64], ids=["f4", "f8", "i8"])
@pytest.mark.parametrize(
    "body",
    [
        '{"x": [[0.5, N]]}',
        '{"x": [[N, 1]]}',
        '{"x":[[N,N]]}',
        '{"x": [[0.5, 1e-5], [1.5, N ]]}',
        '{"x": [[1e22, 1.0], [0.5,N]]}',
        '[{"x": [0.5, N]}]',
        '[{"x": [0.5, 1.5], "further": N}]',
        '[{"x": [0.5, 1.5], "further": {"k": [N]}}]',
        '[{"x": [0.5, 1.5], "further": [N, "1.5"]}]',
    ],
)
def test_an_integer_that_fits_no_type_is_never_rounded(body, served, number):
    with pytest.raises(InputMismatch) as caught:
        fed(body.replace("N", number).encode(), served)
    assert len(str(caught.value)) < 300
    if served is not INT64 and len(number) < 32:
        assert f"the integer {number}, which fits no 64-bit type" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["1e22", "1E+22", "12345678901234567890123.0", "0.12345678901234567890123", "-1.5e19"]
)
def test_large_and_long_floats_are_numbers_like_others(text):
    for body in (f'{{"x": [[{text}, 0.5]]}}', f'[{{"x": [{text}, 0.5], "k": {text}}}]'):
        [array], logged = fed(body.encode(), FLOAT64)
        assert array.tolist() == [[float(text), 0.5]]
        assert all(value.dtype.kind == "f" for value in logged.values())


def test_digits_in_texts_and_the_longest_integers_are_no_reason_to_refuse():
    body = (
        '[{"x": [1e22, 0.5], "id": "18446744073709551616", "quoted": "\\", 18446744073709551616", '
        '"most": 18446744073709551615, "least": -9223372036854775808}]'
    )
    _, logged = fed(body.encode(), FLOAT64)
    assert logged["id"].tolist() == ["18446744073709551616"]
    assert logged["most"].tolist() == [2**64 - 1]
    assert logged["least"].tolist() == [-(2**63)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"x.y": [[0.5, 1]]}',
        b'{"x.y": [[1, 0.5]]}',
        b'{"x": [[0.5, true]]}',
        b'{"x": [[0.5, null]]}',
        b'{"x": [[0.5, 1.5], [2]]}',
        b'{"x": [[0.5, [1.5]]]}',
        b'{"x": [[[0.5, 1.5], []]]}',
        b'{"x": [[0.5, 1e39]]}',
        b'{"x": [[0.5, 1e5]]}',
        b'{"x": [[0.5, 16777217]]}',
        b'{"a:b": [[0.5, 1.5]]}',
        b'{"a\\"b": [[0.5, 1.5]]}',
    ],
)
def test_the_short_way_gives_what_the_long_way_gives(body):
    document = codecs.read(body, None)
    [name] = document.columns
    short = document.columns.float32_rows(name, 2)
    if short is not None:
        assert short.tolist() == document.columns[name].tolist()
        assert document.columns[name].dtype == "float64"


@pytest.mark.parametrize("key", ["x", "x.y", "\\u002e", "a:b"])
@pytest.mark.parametrize(
    "row", ["[0.5, 1.5]", "[0.5, 18446744073709551616]", "[0.5, 1]", "[[], 1]"]
)
@pytest.mark.parametrize("rows", [1, 2, 500])
def test_rows_are_known_to_be_floats_by_their_dots_only_if_they_are(key, row, rows):
    records = b"[" + b",".join([f'{{"{key}": {row}}}'.encode()] * rows) + b"]"
    named = f'{{"{key}": [{",".join([row] * rows)}]}}'.encode()
    for body in (records, named):
        document = codecs.read(body, None)
        [name] = document.columns
        short = document.columns.float32_rows(name, 2)
        assert (short is not None) == (row == "[0.5, 1.5]")


def test_checks_cost_little_in_large_bodies():
    row = {"t": "2024-01-01 10:00:00", "n": {"a": 1}, **{f"c{n}": 0.5 for n in range(20)}}
    body = json.dumps([row] * 5_000).encode()
    started = time.monotonic()
    assert codecs.read(body, None).rows == 5_000
    assert time.monotonic() - started < 2
