from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gnomon.core.inference import Status
from gnomon.core.tensors import DTYPES, STRING
from gnomon.log.logged import LoggedInference
from gnomon.log.segments import NO_ENTRY, encode
from gnomon.log.views import DamagedSegment, SegmentView, decode
from tests.log.entries import (
    ALONE,
    SHADOWED,
    group,
    inference,
    numbered,
    observation,
    requests,
    route,
    values,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
AXES = st.integers(0, 3)


@st.composite
def tensors(draw, rows):
    """Any tensor that a request of `rows` rows may come with; mostly one that is made of rows."""
    trailing = tuple(draw(st.lists(AXES, max_size=7)))[:7]
    shape = draw(st.sampled_from([(rows, *trailing), (rows, *trailing), trailing]))
    if np.prod(shape) > 300:
        shape = shape[:3]
    dtype = draw(st.sampled_from(list(DTYPES)))
    if dtype == STRING:
        elements = draw(hnp.arrays(object, shape, elements=TEXTS))
        if draw(st.booleans()) and not any(text.endswith("\0") for text in elements.flat):
            return elements.astype(str)
        return elements
    bits = draw(hnp.arrays(np.uint8, (*shape, np.dtype(dtype).itemsize), fill=st.just(255)))
    array = (bits[..., 0] % 2).astype(bool) if dtype == "bool" else bits.view(dtype)[..., 0]
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    if draw(st.booleans()) and dtype != "bool":
        array = array.astype(array.dtype.newbyteorder(">"))
    return array


@st.composite
def entries(draw):
    at = draw(st.sampled_from([ALONE, SHADOWED]))
    rows = draw(st.integers(0, 4))
    kinds = st.lists(tensors(rows), min_size=0, max_size=3)
    names = draw(st.lists(st.sampled_from(["a", "b", "in.c", "é\n"]), unique=True, max_size=3))
    inputs = {name: draw(tensors(rows)) for name in names}
    sampled = tuple(model for model in at.challengers if draw(st.booleans()))
    entry = inference(
        draw(st.integers(0, 2**62)),
        at,
        rows=rows,
        inputs=inputs,
        outputs=tuple(draw(kinds)),
        sampled=sampled,
        time_us=draw(st.integers(-(2**62), 2**62)),
    )
    if sampled and draw(st.booleans()):
        status = draw(st.sampled_from(Status))
        outputs = tuple(draw(kinds)) if status is Status.OK else None
        code = draw(st.sampled_from(["model_failed", "inference_failed"]))
        return observation(entry, sampled[0], status, outputs=outputs, code=code)
    return entry


@settings(deadline=None, max_examples=150)
@given(st.lists(entries(), max_size=12))
def test_any_group_of_entries_comes_back_bit_for_bit_and_in_order(appended):
    segments, refused = encode(appended)

    decoded = sorted(
        (pair for segment in segments for pair in decode(segment)), key=lambda pair: pair[0]
    )

    assert not refused
    assert [number for number, _ in decoded] == list(range(len(appended)))
    assert [values(entry) for _, entry in decoded] == [values(entry) for entry in appended]


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(0, 4), st.integers(1, 6))
def test_requests_that_are_alike_in_all_but_values_share_a_segment(data, rows, count):
    shape = (rows, *data.draw(st.lists(AXES, max_size=3)))
    dtype = data.draw(st.sampled_from(sorted(DTYPES.keys() - {STRING, "bool"})))
    appended = [
        inference(
            number,
            rows=rows,
            inputs={"a": data.draw(hnp.arrays(dtype, shape))},
            outputs=(data.draw(hnp.arrays(object, (rows, 2), elements=TEXTS)),),
        )
        for number in range(count)
    ]

    [segment], refused = encode(appended)

    assert not refused
    assert segment.entries == count
    assert segment.rows == rows * count
    assert [values(entry) for _, entry in decode(segment)] == [values(entry) for entry in appended]


@settings(deadline=None, max_examples=50)
@given(st.data(), st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=4))
def test_requests_that_ran_together_come_back_each_with_its_own_rows(data, counts):
    # Given runs of several requests, with inputs that are strings and numbers
    appended = []
    for number, rows in enumerate(counts):
        alone = [
            inference(
                10 * number + index,
                SHADOWED,
                rows=count,
                inputs={
                    "a": data.draw(hnp.arrays(np.float32, (count, 2))),
                    "b": data.draw(hnp.arrays(object, (count,), elements=TEXTS)),
                },
                sampled=data.draw(st.sampled_from([SHADOWED.challengers, ()])),
            )
            for index, count in enumerate(rows)
        ]
        appended.append(group(alone))
        appended.append(observation(appended[-1], SHADOWED.challengers[0]))
        appended.append(observation(appended[-2], SHADOWED.challengers[1], Status.ERROR))

    # When they are encoded
    segments, refused = encode(numbered(appended))

    # Then each request has a number and what is its own
    assert not refused
    decoded = sorted(
        (pair for segment in segments for pair in decode(segment)), key=lambda pair: pair[0]
    )
    expected = [request for entry in appended for request in requests(entry)]
    assert [number for number, _ in decoded] == list(range(len(expected)))
    assert [values(each) for _, each in decoded] == [values(each) for each in expected]


def test_an_observation_names_the_number_of_each_request_that_it_observes():
    first, second = (group([inference(n, SHADOWED) for n in range(3)]) for _ in range(2))
    numbered([first, second], base=100)
    zeta, alpha = SHADOWED.challengers
    some = observation(inference(2, SHADOWED), zeta)
    some = replace(some, ticket=second.ticket, positions=[2])
    unknown = observation(inference(2, SHADOWED), alpha)

    segments, _ = encode([observation(first, zeta), some, unknown])

    of = [SegmentView.of_segment(segment).of for segment in segments]
    assert of == [[100, 101, 102, 105], [NO_ENTRY]]
    assert [(s.first_of, s.last_of) for s in segments] == [(100, 105), (None, None)]


def test_a_run_of_several_requests_whose_outputs_are_not_their_rows_is_refused():
    several = group([inference(n) for n in range(3)])
    odd = replace(several.champion, outputs=(np.zeros((2, 1), np.float32),))
    good = group([inference(n) for n in range(2)])

    segments, refused = encode([replace(several, champion=odd), good])

    assert len(refused) == 1
    assert [number for segment in segments for number, _ in decode(segment)] == [3, 4]


EXTREMES = [
    np.array([[np.nan, np.inf, -np.inf, -0.0, 0.0, 5e-324]]),
    np.array([[2**63 - 1, -(2**63), 0]]),
    np.array([[2**64 - 1, 0]], dtype=np.uint64),
    np.array([[np.nan, -0.0, 65504.0, 6e-8]], dtype=np.float16),
    np.array([["", "a\0b", "ünï\U0001f600", "line\nbreak", '"']], dtype=object),
    np.array([[True, False] * 9]),
    np.array(3.5, dtype=np.float32),
    np.array("alone", dtype=object),
    np.zeros((1, 1, 1, 1, 1, 1, 1, 1), dtype=np.int8),
    np.zeros((1, 0, 3), dtype=np.uint16),
    np.frombuffer(b"\x00\x00\xa0\x7f", dtype=np.float32).reshape(1, 1),  # a signalling NaN
]


@pytest.mark.parametrize("array", EXTREMES, ids=lambda array: f"{array.dtype}{array.shape}")
def test_the_edges_of_each_type_survive(array):
    appended = [inference(n, inputs={"a": array}, outputs=(array, array)) for n in range(3)]

    segments, refused = encode(appended)

    assert not refused
    decoded = [entry for segment in segments for _, entry in decode(segment)]
    assert [values(entry) for entry in decoded] == [values(entry) for entry in appended]


def test_a_thousand_requests_of_different_row_counts_are_one_segment_with_two_batches():
    appended = [inference(number, rows=number % 5) for number in range(1_000)]

    [segment], _ = encode(appended)

    assert segment.entries == 1_000
    assert segment.rows == sum(number % 5 for number in range(1_000))
    assert (segment.first_time_us, segment.last_time_us) == (
        appended[0].times_us[0],
        appended[-1].times_us[0],
    )
    body = pa.ipc.open_stream(segment.body).read_all()
    assert body.column_names == ["in.tensor", "out.y0"]
    assert body.schema.field("in.tensor").type == pa.list_(pa.float32(), 29)
    assert body.schema.field("in.tensor").metadata == {b"dtype": b"float32", b"shape": b"[29]"}
    assert body.num_rows == segment.rows


def test_each_kind_route_model_status_and_shape_has_segments_of_its_own():
    other = route(pipeline_id=2, challengers=("zeta", "alpha"))
    first, second = inference(1, SHADOWED), inference(2, other)
    wide = inference(3, SHADOWED, inputs={"tensor": np.zeros((1, 30), np.float32)})
    zeta, alpha = SHADOWED.challengers
    appended = [
        first,
        second,
        wide,
        observation(first, zeta),
        observation(first, alpha),
        observation(wide, alpha, Status.TIMEOUT),
        observation(second, other.challengers[0]),
    ]

    segments, _ = encode(numbered(appended))

    assert len(segments) == 7
    assert [(s.first_of, s.last_of) for s in segments if s.kind] == [(0, 0), (0, 0), (2, 2), (1, 1)]


def test_outputs_with_more_or_fewer_values_than_rows_stay_with_their_request():
    # Given as many values as rows in all, but not in each request
    lengths = [(1, 1), (2, 1), (1, 2)]
    appended = [
        inference(n, rows=rows, outputs=(np.full((length, 1), n, np.float32),))
        for n, (rows, length) in enumerate(lengths)
    ]

    segments, refused = encode(appended)

    assert not refused
    decoded = sorted((pair for s in segments for pair in decode(s)), key=lambda pair: pair[0])
    assert [values(entry) for _, entry in decoded] == [values(entry) for entry in appended]


def test_an_entry_that_no_model_can_have_made_is_refused_and_the_others_are_kept():
    bad = inference(1, inputs={"tensor": np.array([[object()]], dtype=object)})
    surrogate = inference(2, inputs={"tensor": np.array([["\ud800"]], dtype=object)})
    stranger = observation(inference(3, SHADOWED), route(challengers=["other"]).challengers[0])
    good = [inference(4), inference(5), inference(6, inputs={"tensor": np.array([["x"]])})]

    segments, refused = encode([good[0], bad, surrogate, good[1], stranger, good[2]])

    assert len(refused) == 3
    decoded = sorted(pair for s in segments for pair in [(n, e.request_id) for n, e in decode(s)])
    assert decoded == [(0, "request-4"), (3, "request-5"), (5, "request-6")]


def test_bytes_that_are_no_segment_are_called_damaged():
    [segment], _ = encode([inference(1)])
    [other], _ = encode([inference(1, rows=2)])

    with pytest.raises(DamagedSegment):
        SegmentView(ALONE, 0, segment.head[:100], lambda: segment.body)
    with pytest.raises(DamagedSegment):
        SegmentView(ALONE, 0, segment.body, lambda: segment.body)
    with pytest.raises(DamagedSegment):
        SegmentView(ALONE, 7, segment.head, lambda: segment.body)
    with pytest.raises(DamagedSegment):
        SegmentView(ALONE, 0, segment.head, lambda: other.body).request(0)
    with pytest.raises(DamagedSegment):
        SegmentView(ALONE, 0, segment.head, lambda: segment.body[:-40]).request(0)


def test_requests_are_decoded_one_by_one_without_the_body_until_a_tensor_is_asked_for():
    [segment], _ = encode([inference(number) for number in range(10)])
    asked = []

    view = SegmentView(ALONE, 0, segment.head, lambda: asked.append(1) or segment.body)

    assert (len(view), view.times_us[3], asked) == (10, inference(3).times_us[0], [])
    assert isinstance(view.request(3), LoggedInference)
    assert isinstance(view.request(4), LoggedInference)
    assert asked == [1]
