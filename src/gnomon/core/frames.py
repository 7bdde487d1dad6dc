"""Frames between a front and a host: a fixed header and raw tensors. No pickle, no JSON.

Layout, little-endian:

    header   magic "GNM1" | u8 kind | u8 tensors | u16 buffer | u64 body bytes | u64 request
             | u64 number (RUN: deadline, RESULT and FAILED: elapsed; nanoseconds)
    body     HELLO, FAILED: UTF-8 text
             RUN, RESULT: a head per tensor, then their data
    head     u8 dtype | u8 rank | u16 reserved | u32 data bytes | u64 x rank shape
    data     of each tensor at a multiple of 64 bytes from that of the first; a string tensor's is
             u32 x count of byte lengths, then the bytes

Large data does not follow the heads over the socket but lies in memory that both sides share, from
its first byte on: then `buffer` has its highest bit set. The rest of `buffer` is the generation of
the pair of shared areas that is meant; in a RUN, of the pair that the answer may use; 0 for none.

Everything a peer states is checked before use: a host runs model code and is not to be believed.
What is checked is never in shared memory, where it could change after the check.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate, pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from gnomon.core import limits
from gnomon.core.tensors import DTYPES, STRING, Array, dtype_name

MAGIC = b"GNM1"
HEADER = struct.Struct("<4sBBHQQQ")
_IN_BUFFER = 0x8000
_ALIGNMENT = 64
_HEAD = struct.Struct("<BBHI")
_SHAPES = [struct.Struct(f"<{rank}Q") for rank in range(limits.TENSOR_RANK_MAX + 1)]
_HEADS = [struct.Struct(f"<BBHI{rank}Q") for rank in range(limits.TENSOR_RANK_MAX + 1)]
_ONE = [struct.Struct(f"<4sBBHQQQBBHI{rank}Q") for rank in range(limits.TENSOR_RANK_MAX + 1)]
_NAMES = tuple(DTYPES)
_DTYPES = [np.dtype(object if name == STRING else name) for name in _NAMES]
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES) if not dtype.hasobject}
_STRING = _NAMES.index(STRING)

_NO_FRAME = "not a frame, or one that is too large"

Bytes = bytes | bytearray | memoryview


class FrameError(ValueError):
    """The bytes are not a frame; the connection they came from cannot be used any more."""


class Kind(IntEnum):
    """What a frame says."""

    HELLO = 1  # host -> front, once: the model version's uuid
    RUN = 2  # front -> host: inputs in the order of the signature
    RESULT = 3  # host -> front: outputs in the order of the signature
    FAILED = 4  # host -> front: "code: message"


_KINDS = {int(kind): kind for kind in Kind}


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        request: Number by which an answer finds its question, unique per connection.
        number: RUN: the deadline in nanoseconds of the machine's monotonic clock, which front and
            host share. RESULT, FAILED: elapsed nanoseconds.
        tensors: RUN and RESULT only.
        text: HELLO and FAILED only.
        generation: RUN: of the shared areas that may be used. RESULT: of those that the tensors
            lie in; 0 for none.
    """

    kind: Kind
    request: int = 0
    number: int = 0
    tensors: tuple[Array, ...] = ()
    text: str = ""
    generation: int = 0


class Area(NamedTuple):
    """Memory that a front shares with a host, for data in one direction."""

    generation: int
    memory: memoryview


class Packed(NamedTuple):
    """Tensors on their way into a frame.

    Attributes:
        heads: What is said about them.
        data: Their data: an array's as it lies there, or bytes.
        size: Of the data in a frame.
    """

    heads: bytes
    data: list[Array | bytes]
    size: int

    def inline(self, kind: Kind, request: int, number: int, generation: int = 0) -> bytes:
        """Return the bytes of a frame that has the data in it."""
        size = len(self.heads) + self.size
        head = HEADER.pack(MAGIC, kind, len(self.data), generation, size, request, number)
        parts = [head, self.heads]
        for data in self.data:
            if len(parts) > 2:
                parts.append(bytes(-len(parts[-1]) % _ALIGNMENT))
            parts.append(data if isinstance(data, bytes) else data.tobytes())
        return b"".join(parts)

    def into(self, area: Area, kind: Kind, request: int, number: int) -> bytes:
        """Write the data into an area, which is large enough; return the bytes of the frame."""
        offset = 0
        for data in self.data:
            offset += -offset % _ALIGNMENT
            if isinstance(data, bytes):
                end = offset + len(data)
                area.memory[offset:end] = data
            else:
                end = offset + data.nbytes
                np.ndarray(data.shape, data.dtype, area.memory, offset)[...] = data
            offset = end
        buffer, size = area.generation | _IN_BUFFER, len(self.heads)
        head = HEADER.pack(MAGIC, kind, len(self.data), buffer, size, request, number)
        return head + self.heads


def pack(tensors: Sequence[Array]) -> Packed:
    """Make tensors ready for a frame.

    Raises:
        FrameError: They are more than a frame takes, in number, axes or bytes.
    """
    if len(tensors) > limits.TENSORS_PER_REQUEST_MAX:
        most = limits.TENSORS_PER_REQUEST_MAX
        raise FrameError(f"{len(tensors)} tensors; a frame takes {most} at most.")
    heads, data, size = b"", [], 0
    for array in tensors:
        if array.ndim > limits.TENSOR_RANK_MAX:
            raise FrameError(f"a tensor of {array.ndim} axes; {limits.TENSOR_RANK_MAX} at most.")
        code = _CODES.get(array.dtype)
        if code is not None:
            part: Array | bytes = array
            length = array.nbytes
        else:
            name = dtype_name(array)
            code = _NAMES.index(name)
            part = _texts(array) if name == STRING else array.astype(name).tobytes()
            length = len(part)
        size += -size % _ALIGNMENT + length
        if len(heads) + _HEADS[array.ndim].size + size > limits.FRAME_BYTES_MAX:
            most = limits.FRAME_BYTES_MAX
            raise FrameError(f"{size} bytes of tensors; a frame takes {most} at most.")
        heads += _HEADS[array.ndim].pack(code, array.ndim, 0, length, *array.shape)
        data.append(part)
    return Packed(heads, data, size)


def _texts(array: Array) -> bytes:
    texts = [str(value).encode() for value in array.flat]
    return np.array([len(text) for text in texts], dtype="<u4").tobytes() + b"".join(texts)


def encode_one(kind: Kind, request: int, number: int, tensors: tuple[Array, ...]) -> bytes | None:
    """Return the frame of one small tensor of numbers, the commonest; None if they are others."""
    if len(tensors) != 1:
        return None
    [array] = tensors
    code, size, rank = _CODES.get(array.dtype), array.nbytes, array.ndim
    if code is None or size >= limits.BUFFER_FROM_BYTES or rank > limits.TENSOR_RANK_MAX:
        return None
    body = _HEADS[rank].size + size
    head = (MAGIC, kind, 1, 0, body, request, number, code, rank, 0, size)
    return _ONE[rank].pack(*head, *array.shape) + array.tobytes()


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame that has its data in it.

    Raises:
        FrameError: It would be larger than `limits.FRAME_BYTES_MAX`.
    """
    if frame.tensors or not frame.text:
        return pack(frame.tensors).inline(frame.kind, frame.request, frame.number, frame.generation)
    text = frame.text.encode()
    return HEADER.pack(MAGIC, frame.kind, 0, 0, len(text), frame.request, frame.number) + text


def body_size(data: Bytes, start: int = 0) -> int:
    """Return how many bytes follow the header at `start`.

    Raises:
        FrameError: It is not a header, or announces more than a frame may have.
    """
    magic, _, _, _, size, _, _ = HEADER.unpack_from(data, start)
    if magic != MAGIC or size > limits.FRAME_BYTES_MAX:
        raise FrameError(_NO_FRAME)
    return int(size)


def decode(data: Bytes, start: int = 0, area: Area | None = None) -> tuple[Frame, int] | None:
    """Read the frame at `start`.

    Args:
        area: Where its tensors may lie. Nobody may write there while they are in use.

    Returns:
        The frame and where it ends; its arrays are views of `data` or `area`, except strings.
        None while it is not whole.

    Raises:
        FrameError: Any length, count, type, generation or text in it is wrong.
    """
    body = start + HEADER.size
    if len(data) < body:
        return None
    magic, code, count, buffer, size, request, number = HEADER.unpack_from(data, start)
    end = body + size
    if magic != MAGIC or size > limits.FRAME_BYTES_MAX:
        raise FrameError(_NO_FRAME)
    if len(data) < end:
        return None
    try:
        kind = _KINDS[code]
        if kind is Kind.HELLO or kind is Kind.FAILED:
            return Frame(kind, request, number, (), bytes(data[body:end]).decode()), end
        if buffer < _IN_BUFFER:
            if count == 1:  # the commonest; if it is not quite right, the others' way says why
                code, rank, _, size = _HEAD.unpack_from(data, body)
                shape, at = _SHAPES[rank].unpack_from(data, body + 8), body + 8 + 8 * rank
                dtype = _DTYPES[code]
                if at + size == end and size == prod(shape) * dtype.itemsize and code != _STRING:
                    tensor = np.ndarray(shape, dtype, data, at)
                    return Frame(kind, request, number, (tensor,), "", buffer), end
            tensors = _tensors(data, body, end, count, None)
            return Frame(kind, request, number, tensors, "", buffer), end
        generation = buffer - _IN_BUFFER
        if area is None or area.generation != generation:
            raise FrameError("tensors in a buffer that there is not")
        tensors = _tensors(data, body, end, count, area.memory)
        return Frame(kind, request, number, tensors, "", generation), end
    except (struct.error, ValueError, LookupError, OverflowError) as error:
        raise FrameError(str(error)) from error


def _tensors(
    data: Bytes, at: int, end: int, count: int, memory: memoryview | None
) -> tuple[Array, ...]:
    """Read `count` heads at `at` in `data`, then the tensors, which may lie in `memory`."""
    if count > limits.TENSORS_PER_REQUEST_MAX:
        raise FrameError(f"{count} tensors")
    heads = []
    for _ in range(count):
        code, rank, _, size = _HEAD.unpack_from(data, at)
        heads.append((code, size, _SHAPES[rank].unpack_from(data, at + _HEAD.size)))
        at += _HEAD.size + 8 * rank
    if memory is None:
        place, offset, place_end = data, at, end
    elif at == end:
        place, offset, place_end = memory, 0, len(memory)
    else:
        raise FrameError("heads and frame disagree")
    start, tensors = offset, []
    for code, size, shape in heads:
        offset += (start - offset) % _ALIGNMENT
        if offset + size > place_end:
            raise FrameError("a tensor that is larger than where it lies")
        if code == _STRING:
            # Copied: in shared memory the lengths could change after they were checked.
            tensors.append(_strings(bytes(place[offset : offset + size]), shape))
        elif size == prod(shape) * _DTYPES[code].itemsize:
            tensors.append(np.ndarray(shape, _DTYPES[code], place, offset))
        else:
            raise FrameError("data and shape disagree")
        offset += size
    if memory is None and offset != end:
        raise FrameError("bytes left over")
    return tuple(tensors)


def _strings(data: bytes, shape: tuple[int, ...]) -> Array:
    count = prod(shape)
    start = 4 * count
    if start > len(data):
        raise FrameError("string lengths that are larger than their tensor")
    lengths: Sequence[int] = np.frombuffer(data, "<u4", count).tolist()
    ends = list(accumulate(lengths, initial=start))
    if ends[-1] != len(data):
        raise FrameError("string lengths that do not add up")
    texts = [data[a:b].decode() for a, b in pairwise(ends)]
    array = np.empty(count, dtype=object)
    array[:] = texts
    return array.reshape(shape)
