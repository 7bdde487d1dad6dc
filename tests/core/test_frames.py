import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gnomon.core import limits
from gnomon.core.frames import HEADER, Frame, FrameError, Kind, body_size, decode, encode

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
    header, body = data[: HEADER.size], data[HEADER.size :]
    assert body_size(header) == len(body)
    return decode(header, body)


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS | STRINGS, max_size=4), st.integers(0, 2**64 - 1))
def test_tensors_of_every_type_and_rank_arrive_exactly(tensors, request):
    got = through_the_wire(Frame(Kind.RUN, request, 5, tuple(tensors)))

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
    huge = np.lib.stride_tricks.as_strided(np.zeros(1), (limits.FRAME_BYTES_MAX // 8 + 1,), (0,))
    with pytest.raises(FrameError):
        encode(Frame(Kind.RUN, tensors=(huge,)))
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
            frame = decode(bytes(mutated[: HEADER.size]), bytes(mutated[HEADER.size :]))
            assert sum(tensor.nbytes for tensor in frame.tensors) < 10_000
        except FrameError:
            refused += 1
    assert refused > 1_000


def test_a_truncated_frame_is_refused_at_every_byte():
    data = encode(Frame(Kind.RUN, 1, 2, (np.ones((2, 3), np.float32),)))
    for end in range(HEADER.size, len(data)):
        with pytest.raises(FrameError):
            decode(data[: HEADER.size], data[HEADER.size : end])
