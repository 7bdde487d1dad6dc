import random

import numpy as np
import pytest
from hypothesis import given, settings
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

NUMBERS = st.sampled_from(
    [
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
    ]
).flatmap(
    lambda dtype: npst.arrays(
        np.dtype(dtype), npst.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3)
    )
)
STRINGS = npst.arrays(
    np.dtype(object),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    elements=st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    fill=st.nothing(),
)


def through_the_wire(frame: Frame) -> Frame:
    data = encode(frame)
    assert body_size(data) == len(data) - HEADER.size
    return whole(decode(data))


def through_memory(frame: Frame, memory: bytearray) -> Frame:
    """Send a frame whose data lies in shared memory; what comes are copies."""
    area = Area(7, memoryview(memory))
    data = pack(frame.tensors).into(area, frame.kind, frame.request, frame.number)
    got = whole(decode(data, 0, area))
    return got._replace(tensors=tuple(tensor.copy() for tensor in got.tensors))


def whole(decoded: tuple[Frame, int] | None) -> Frame:
    assert decoded is not None
    return decoded[0]


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS | STRINGS, max_size=4), st.integers(0, 2**64 - 1))
def test_tensors_of_every_type_and_rank_arrive_exactly(tensors, request):
    frame = Frame(Kind.RUN, request, 5, tuple(tensors))

    arrived_exactly(tensors, request, through_the_wire(frame))
    arrived_exactly(tensors, request, through_memory(frame, bytearray(b"scribble" * 20_000)))


def arrived_exactly(tensors, request, got):
    assert (got.kind, got.request, got.number) == (Kind.RUN, request, 5)
    for sent, arrived in zip(tensors, got.tensors, strict=True):
        assert arrived.dtype == sent.dtype
        assert arrived.shape == sent.shape
        # Bytes, not values: -0.0 and the payload of a NaN count.
        if sent.dtype == object:
            assert arrived.tolist() == sent.tolist()
        else:
            assert arrived.tobytes() == sent.tobytes()


def test_text_arrives():
    assert through_the_wire(Frame(Kind.HELLO, text="é-1")).text == "é-1"


def test_a_slice_and_a_fortran_array_arrive_in_c_order():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    [a, b] = through_the_wire(Frame(Kind.RUN, tensors=(array[:, ::2], array.T))).tensors
    assert a.tolist() == array[:, ::2].tolist()
    assert b.tolist() == array.T.tolist()


def test_a_frame_over_the_limit_is_not_made_and_not_believed():
    for count in (limits.FRAME_BYTES_MAX // 8 + 1, 2**40):
        huge = np.lib.stride_tricks.as_strided(np.zeros(1), (count,), (0,))
        with pytest.raises(FrameError):
            encode(Frame(Kind.RUN, tensors=(huge,)))
    for too_much in ((np.zeros((1,) * 9),), (np.zeros(1),) * 65):
        with pytest.raises(FrameError):
            encode(Frame(Kind.RUN, tensors=too_much))
    with pytest.raises(FrameError):
        body_size(HEADER.pack(b"GNM1", 2, 1, 0, limits.FRAME_BYTES_MAX + 1, 0, 0))
    with pytest.raises(FrameError):
        body_size(b"HTTP" + bytes(HEADER.size))


def test_no_mutated_frame_does_more_than_be_refused():
    random_ = random.Random(7)
    texts = np.array([["a", "bc"], ["", "é"]], dtype=object)
    data = encode(Frame(Kind.RUN, 1, 2, (np.ones((2, 3), np.float32), texts)))
    refused = 0
    for _ in range(5_000):
        mutated = bytearray(data)
        for _ in range(random_.randint(1, 4)):
            mutated[random_.randrange(HEADER.size, len(data))] = random_.randrange(256)
        try:
            frame = whole(decode(bytes(mutated)))
            assert sum(tensor.nbytes for tensor in frame.tensors) < 10_000
        except FrameError:
            refused += 1
    assert refused > 1_000


def test_a_truncated_frame_is_refused_at_every_byte():
    data = encode(Frame(Kind.RUN, 1, 2, (np.ones((2, 3), np.float32),)))
    for end in range(HEADER.size, len(data)):
        shorter = HEADER.pack(MAGIC, Kind.RUN, 1, 0, end - HEADER.size, 1, 2)
        with pytest.raises(FrameError):
            decode(shorter + data[HEADER.size : end])


def test_a_frame_that_is_not_whole_yet_is_waited_for():
    data = encode(Frame(Kind.RUN, 1, 2, (np.ones((2, 3), np.float32),)))
    for end in range(len(data)):
        assert decode(data[:end]) is None
    assert decode(data + data)[1] == len(data)
    assert decode(data + data, len(data))[1] == 2 * len(data)


def test_the_frame_of_one_small_tensor_is_the_same_as_any_other():
    tensors = (np.arange(6, dtype=np.int64).reshape(2, 3),)
    assert encode_one(Kind.RUN, 1, 2, tensors) == encode(Frame(Kind.RUN, 1, 2, tensors))
    for others in ((), tensors * 2, (np.array(["a"], object),), (np.zeros(1_000_000),)):
        assert encode_one(Kind.RUN, 1, 2, others) is None


TEXTS = np.array([["a", "bc"], ["", "é"]], dtype=object)
TENSORS = (np.ones((2, 3), np.float32), TEXTS, np.arange(5, dtype=np.int16))


def test_tensors_in_memory_of_another_generation_are_refused():
    area = Area(7, memoryview(bytearray(4_096)))
    data = pack(TENSORS).into(area, Kind.RESULT, 1, 2)
    assert whole(decode(data, 0, area)).generation == 7
    for wrong in (None, area._replace(generation=6), area._replace(generation=0)):
        with pytest.raises(FrameError):
            decode(data, 0, wrong)


def test_no_mutated_heads_reach_beyond_the_memory_they_speak_of():
    random_ = random.Random(7)
    area = Area(7, memoryview(bytearray(1_024)))
    data = pack(TENSORS).into(area, Kind.RESULT, 1, 2)
    refused = 0
    for _ in range(5_000):
        mutated = bytearray(data)
        for _ in range(random_.randint(1, 4)):
            mutated[random_.randrange(HEADER.size, len(data))] = random_.randrange(256)
        try:
            frame = whole(decode(bytes(mutated), 0, area))
            assert sum(tensor.nbytes for tensor in frame.tensors) <= 1_024 * 2
        except FrameError:
            refused += 1
    assert refused > 1_000


def test_texts_are_refused_or_read_whatever_is_scribbled_over_them():
    random_ = random.Random(7)
    memory = bytearray(4_096)
    area = Area(7, memoryview(memory))
    data = pack((TEXTS,)).into(area, Kind.RESULT, 1, 2)
    refused = 0
    for _ in range(2_000):
        memory[random_.randrange(20)] = random_.randrange(256)
        try:
            [texts] = whole(decode(data, 0, area)).tensors
            assert texts.shape == (2, 2)
        except FrameError:
            refused += 1
    assert refused > 1_000
