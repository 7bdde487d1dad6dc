"""Frames of any content: what was encoded is decoded, and nothing else does any harm."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gnomon.core import limits
from gnomon.core.frames import (
    HEADER,
    MAGIC,
    Area,
    Frame,
    FrameError,
    Kind,
    body_size,
    decode,
    encode,
    encode_one,
    pack,
)
from gnomon.core.tensors import DTYPES, STRING

NUMBERS = [name for name in DTYPES if name != STRING]
U64 = st.integers(0, 2**64 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray:
    """Any tensor: its bytes are drawn, so that NaN payloads and -0.0 are among them."""
    shape = draw(npst.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3))
    count = int(np.prod(shape))
    name = draw(st.sampled_from([*NUMBERS, STRING]))
    if name == STRING:
        texts = draw(st.lists(TEXTS, min_size=1, max_size=4))
        array = np.empty(count, dtype=object)
        array[:] = (texts * count)[:count]
        return array.reshape(shape)
    dtype = np.dtype(name)
    size = count * dtype.itemsize
    drawn = draw(st.binary(min_size=min(size, 64), max_size=min(size, 64)))
    data = (drawn * (size // max(1, len(drawn)) + 1))[:size]
    if name == "bool":
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data, dtype).reshape(shape)
    return draw(st.sampled_from([array, np.asfortranarray(array)]))


FRAMES = st.builds(
    lambda kind, request, number, content: Frame(kind, request, number, content),
    st.sampled_from([Kind.RUN, Kind.RESULT]),
    U64,
    U64,
    st.lists(tensors(), max_size=4).map(tuple),
) | st.builds(
    lambda kind, request, number, text: Frame(kind, request, number, text=text),
    st.sampled_from([Kind.HELLO, Kind.FAILED]),
    U64,
    U64,
    TEXTS.filter(bool),
)


def assert_same(got: Frame, sent: Frame) -> None:
    assert (got.kind, got.request, got.number) == (sent.kind, sent.request, sent.number)
    assert got.text == sent.text
    assert len(got.tensors) == len(sent.tensors)
    for mine, theirs in zip(got.tensors, sent.tensors, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        if theirs.dtype == object:
            assert mine.tolist() == theirs.tolist()
        else:
            assert mine.tobytes() == theirs.tobytes()


@settings(max_examples=200, deadline=None)
@given(FRAMES, st.binary(max_size=70), st.binary(max_size=70))
def test_a_frame_is_read_as_it_was_written_wherever_it_stands(sent, before, after):
    data = encode(sent)
    assert body_size(data) == len(data) - HEADER.size
    got, end = decode(before + data + after, len(before))
    assert end == len(before) + len(data)
    assert_same(got, sent)


@settings(max_examples=150, deadline=None)
@given(FRAMES)
def test_a_part_of_a_frame_is_no_frame_yet(sent):
    data = encode(sent)
    for end in {0, 1, HEADER.size - 1, HEADER.size, len(data) // 2, len(data) - 1} - {len(data)}:
        assert decode(data[:end]) is None


@settings(max_examples=200, deadline=None)
@given(tensors(), U64, U64)
def test_one_small_tensor_has_the_same_bytes_on_its_short_way(tensor, request, number):
    short = encode_one(Kind.RUN, request, number, (tensor,))
    assume(short is not None)
    assert short == encode(Frame(Kind.RUN, request, number, (tensor,)))


@settings(max_examples=200, deadline=None)
@given(st.lists(tensors(), min_size=1, max_size=4), st.integers(0, 2**15 - 1), st.data())
def test_tensors_in_shared_memory_are_read_as_they_were_written(sent, generation, data):
    packed = pack(sent)
    memory = bytearray(packed.size + data.draw(st.integers(0, 70)))
    area = Area(generation, memoryview(memory))
    frame = packed.into(area, Kind.RESULT, 3, 4)
    got, end = decode(frame, 0, area)
    assert end == len(frame)
    assert_same(got, Frame(Kind.RESULT, 3, 4, tuple(sent)))
    assert got.generation == generation


# Frames that nobody should send

HEADS = st.builds(
    lambda code, rank, size, shape: struct.pack(
        f"<BBHI{len(shape)}Q", code, rank if rank is not None else len(shape), 0, size, *shape
    ),
    st.integers(0, 255) | st.integers(0, len(DTYPES)),
    st.none() | st.integers(0, 255),
    st.integers(0, 2**32 - 1) | st.integers(0, 64),
    st.lists(U64 | st.integers(0, 4) | st.sampled_from([2**31, 2**32, 2**62, 2**63]), max_size=9),
)
BODIES = st.lists(HEADS | st.binary(max_size=40), max_size=5).map(b"".join)


@settings(max_examples=1_500, deadline=None)
@given(
    st.integers(0, 6),
    st.integers(0, 255) | st.integers(0, 3),
    st.sampled_from([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]),
    st.none() | U64 | st.integers(0, 300),
    BODIES,
)
def test_made_up_frames_are_read_or_refused(kind, count, buffer, size, body):
    head = HEADER.pack(MAGIC, kind, count, buffer, len(body) if size is None else size, 1, 2)
    read_or_refused(head + body)


@settings(max_examples=300, deadline=None)
@given(FRAMES, st.lists(st.tuples(U64, st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_frames_are_read_or_refused(frame, changes):
    data = bytearray(encode(frame))
    for at, byte in changes:
        data[at % len(data)] = byte
    read_or_refused(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_not_enough(data):
    assume(data[:4] != MAGIC)
    try:
        assert decode(data) is None
        assert len(data) < HEADER.size
    except FrameError:
        assert len(data) >= HEADER.size


def read_or_refused(data: bytes) -> None:
    """Decode; whatever comes of it is bounded by what was sent, and can be looked at."""
    memory = bytes(256)
    for area in (None, Area(0, memoryview(memory)), Area(1, memoryview(memory))):
        try:
            found = decode(data, 0, area)
        except FrameError:
            continue
        if found is None:
            continue
        frame, end = found
        assert end <= len(data)
        assert len(frame.text) <= len(data)
        assert len(frame.tensors) <= limits.TENSORS_PER_REQUEST_MAX
        for tensor in frame.tensors:
            assert tensor.ndim <= limits.TENSOR_RANK_MAX
            if tensor.dtype != object:
                assert tensor.nbytes <= max(len(data), len(memory))
                assert len(tensor.tobytes()) == tensor.nbytes
            else:
                assert tensor.size <= len(data) + len(memory)
                assert all(type(text) is str for text in tensor.flat)
