"""Frames between a front and a host: a fixed header and raw tensors. No pickle, no JSON.

Layout, little-endian:

    header   magic "GNM1" | u8 kind | u8 tensors | u16 reserved | u32 body bytes | u64 request
             | u64 number (RUN: deadline, RESULT and FAILED: elapsed; nanoseconds)
    body     per tensor: u8 dtype | u8 rank | u16 reserved | u32 data bytes | u64 x rank | data
             text frames (HELLO, FAILED): UTF-8

A string tensor's data is u32 x count of byte lengths, then the bytes. Everything a peer states is
checked before use: a host runs model code and is not to be believed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, pairwise
from math import prod

import numpy as np

from gnomon.core import limits
from gnomon.core.tensors import DTYPES, STRING, Array, dtype_name

MAGIC = b"GNM1"
HEADER = struct.Struct("<4sBBHIQQ")
_TENSOR = struct.Struct("<BBHI")
_CODES = {name: code for code, name in enumerate(DTYPES)}
_NAMES = tuple(DTYPES)


class FrameError(ValueError):
    """The bytes are not a frame; the connection they came from cannot be used any more."""


class Kind(IntEnum):
    """What a frame says."""

    HELLO = 1  # host -> front, once: the model version's uuid
    RUN = 2  # front -> host: inputs in the order of the signature
    RESULT = 3  # host -> front: outputs in the order of the signature
    FAILED = 4  # host -> front: "code: message"


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    Attributes:
        request: Number by which an answer finds its question, unique per connection.
        number: RUN: the deadline in nanoseconds of the machine's monotonic clock, which front and
            host share. RESULT, FAILED: elapsed nanoseconds.
        tensors: RUN and RESULT only.
        text: HELLO and FAILED only.
    """

    kind: Kind
    request: int = 0
    number: int = 0
    tensors: tuple[Array, ...] = ()
    text: str = ""


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame.

    Raises:
        FrameError: It would be larger than `limits.FRAME_BYTES_MAX`.
    """
    parts: list[bytes | memoryview] = []
    if frame.text:
        parts.append(frame.text.encode())
    for array in frame.tensors:
        parts.extend(_encode_tensor(array))
    size = sum(map(len, parts))
    if size > limits.FRAME_BYTES_MAX:
        raise FrameError(
            f"{size} bytes of tensors; a frame takes {limits.FRAME_BYTES_MAX} at most."
        )
    head = HEADER.pack(MAGIC, frame.kind, len(frame.tensors), 0, size, frame.request, frame.number)
    return b"".join((head, *parts))


def _encode_tensor(array: Array) -> tuple[bytes | memoryview, ...]:
    name = dtype_name(array)
    if name == STRING:
        texts = [str(value).encode() for value in array.flat]
        lengths = np.array([len(text) for text in texts], dtype="<u4").tobytes()
        data: bytes | memoryview = lengths + b"".join(texts)
    else:
        # Through uint8, because a memoryview of float16 or of a rank-0 array cannot be cast.
        data = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    shape = struct.pack(f"<{array.ndim}Q", *array.shape)
    return _TENSOR.pack(_CODES[name], array.ndim, 0, len(data)), shape, data


def body_size(header: bytes | bytearray | memoryview) -> int:
    """Return how many bytes follow a header.

    Raises:
        FrameError: It is not a header, or announces more than a frame may have.
    """
    magic, _, _, _, size, _, _ = HEADER.unpack_from(header)
    if magic != MAGIC or size > limits.FRAME_BYTES_MAX:
        raise FrameError("not a frame, or one that is too large")
    return int(size)


def decode(header: bytes | bytearray | memoryview, body: bytes) -> Frame:
    """Read one frame; its arrays are read-only views of `body`, except strings.

    Raises:
        FrameError: Any length, count, type or text in it is wrong.
    """
    try:
        _, kind, count, _, _, request, number = HEADER.unpack_from(header)
        if kind in (Kind.HELLO, Kind.FAILED):
            return Frame(Kind(kind), request, number, text=body.decode())
        if count > limits.TENSORS_PER_REQUEST_MAX:
            raise FrameError(f"{count} tensors")
        tensors, offset = [], 0
        for _ in range(count):
            tensor, offset = _decode_tensor(body, offset)
            tensors.append(tensor)
        if offset != len(body):
            raise FrameError("bytes left over")
        return Frame(Kind(kind), request, number, tuple(tensors))
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise FrameError(str(error)) from error


def _decode_tensor(body: bytes, offset: int) -> tuple[Array, int]:
    code, rank, _, size = _TENSOR.unpack_from(body, offset)
    if rank > limits.TENSOR_RANK_MAX:
        raise FrameError(f"rank {rank}")
    offset += _TENSOR.size
    shape = struct.unpack_from(f"<{rank}Q", body, offset)
    offset += 8 * rank
    name, count, end = _NAMES[code], prod(shape), offset + size
    if end > len(body) or count > limits.FRAME_BYTES_MAX:
        raise FrameError("a tensor that is larger than its frame")
    if name == STRING:
        return _decode_strings(body, offset, end, count).reshape(shape), end
    dtype = np.dtype(name)
    if size != count * dtype.itemsize:
        raise FrameError("data and shape disagree")
    return np.frombuffer(body, dtype, count, offset).reshape(shape), end


def _decode_strings(body: bytes, offset: int, end: int, count: int) -> Array:
    start = offset + 4 * count
    if start > end:
        raise FrameError("string lengths that are larger than their tensor")
    lengths: Sequence[int] = np.frombuffer(body, "<u4", count, offset).tolist()
    ends = list(accumulate(lengths, initial=start))
    if ends[-1] != end:
        raise FrameError("string lengths that do not add up")
    texts = [body[a:b].decode() for a, b in pairwise(ends)]
    array = np.empty(count, dtype=object)
    array[:] = texts
    return array
