"""Arrow IPC bodies to tables: nothing in a body is believed before it was checked.

Reading an Arrow body that somebody else made can crash a process, unpack a few bytes into
gigabytes, or run code. In this order: the messages by their heads, the schema by a list of what is
taken, the sizes, then every offset, index and text (`validate(full=True)`). Values are touched
after that. Buffers stay where they are in the body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc, lib

from gnomon.core import limits
from gnomon.core.errors import InputMismatch, MalformedRequest

MAGIC = b"ARROW1"
_FILE_HEAD_BYTES = 8  # the magic and two bytes of padding
_FILE_TAIL = struct.Struct("<i6s")  # bytes of the footer before it, the magic
_BLOCK = struct.Struct("<qi4xq")  # of a footer: offset, bytes of the head, bytes of the body
_EXTENSION = b"ARROW:extension:name"

LISTS = frozenset({lib.Type_LIST, lib.Type_LARGE_LIST, lib.Type_FIXED_SIZE_LIST})
TEXTS = frozenset({lib.Type_STRING, lib.Type_LARGE_STRING})
NUMBERS = frozenset(
    {
        *(lib.Type_INT8, lib.Type_INT16, lib.Type_INT32, lib.Type_INT64),
        *(lib.Type_UINT8, lib.Type_UINT16, lib.Type_UINT32, lib.Type_UINT64),
        *(lib.Type_HALF_FLOAT, lib.Type_FLOAT, lib.Type_DOUBLE),
    }
)
# These feed no model, but may stand beside what does.
WRITTEN_OUT = frozenset(
    {
        *(lib.Type_DATE32, lib.Type_DATE64, lib.Type_TIME32, lib.Type_TIME64),
        *(lib.Type_TIMESTAMP, lib.Type_DURATION),
        *(lib.Type_DECIMAL32, lib.Type_DECIMAL64, lib.Type_DECIMAL128, lib.Type_DECIMAL256),
    }
)
_CELLS = TEXTS | NUMBERS | {lib.Type_BOOL}

_OPTIONS = ipc.IpcReadOptions(use_threads=False)
# What one chunk's dictionaries may have in all; each chunk has its own to be checked.
_DICTIONARY_BYTES_MAX = 4 * limits.INFER_BODY_BYTES_MAX
_METADATA_V5 = 4


def is_file(body: bytes) -> bool:
    """Say whether a body is in the file format; else it is a stream, or no Arrow at all."""
    return body.startswith(MAGIC)


def read_table(body: bytes) -> pa.Table:
    """Read an Arrow IPC file or stream.

    Returns:
        A table of one chunk a column, at least one row, and columns that are texts, or numbers,
        booleans and texts in any lists, or one of `WRITTEN_OUT`; any may have nulls.

    Raises:
        MalformedRequest: It is not Arrow, or broken.
        InputMismatch: It has no rows, too much of something, or types that are not taken.
    """
    if not body:
        raise MalformedRequest("The body is empty; an Arrow IPC file or stream was expected.")
    source = pa.py_buffer(body)
    try:
        _check_messages(_file_messages(body) if is_file(body) else _messages(source))
        reader = (ipc.open_file if is_file(body) else ipc.open_stream)(source, options=_OPTIONS)
        _check_schema(reader.schema)
        batches = list(_checked_batches(reader, len(body)))
        table = pa.Table.from_batches(batches, reader.schema)
        if not table.num_rows:
            raise InputMismatch("The request has no rows.")
        table.validate(full=True)
        table = _without_dictionaries(table)
        return table if len(batches) == 1 else table.combine_chunks()
    except (pa.ArrowException, OSError, ValueError, IndexError, struct.error) as error:
        text = " ".join(str(error).split())[:200]
        raise MalformedRequest(f"The body is not an Arrow IPC file or stream: {text}") from error


def _messages(stream: pa.Buffer) -> ipc.MessageReader:
    return ipc.MessageReader.open_stream(stream)


def _file_messages(body: bytes) -> Iterator[ipc.Message]:
    """Yield the messages of a file: what its footer points to."""
    size, magic = _FILE_TAIL.unpack_from(body, len(body) - _FILE_TAIL.size)
    start = len(body) - _FILE_TAIL.size - size
    if magic != MAGIC or size <= 0 or start < _FILE_HEAD_BYTES:
        raise MalformedRequest("The body begins as an Arrow file, but its end is missing.")
    footer = body[start : start + size]
    if _EXTENSION in footer:
        raise InputMismatch("Columns of Arrow extension types are not taken.")
    source = pa.py_buffer(body)
    ipc.open_file(source)  # makes sure that the footer is well-formed
    root = struct.unpack_from("<I", footer)[0]
    for field in (2, 3):  # dictionaries, record batches
        if _entry(footer, root, field) is None:
            continue
        blocks = _table(footer, root, field)
        for number in range(struct.unpack_from("<I", footer, blocks)[0]):
            offset = _BLOCK.unpack_from(footer, blocks + 4 + number * _BLOCK.size)[0]
            message = None
            if _FILE_HEAD_BYTES <= offset < start:
                message = next(_messages(source.slice(offset)), None)
            if message is None:
                raise MalformedRequest("The footer of the Arrow file points to nowhere.")
            yield message


def _check_messages(messages: Iterable[ipc.Message]) -> None:
    """Look at the heads of all messages; Arrow has made sure that these are well-formed."""
    for number, message in enumerate(messages):
        if number >= limits.ARROW_MESSAGES_MAX:
            raise InputMismatch(
                f"The body has more than {limits.ARROW_MESSAGES_MAX} Arrow messages; send larger "
                "record batches."
            )
        head = message.metadata.to_pybytes()
        if message.type == "schema":
            if _EXTENSION in head:
                raise InputMismatch("Columns of Arrow extension types are not taken.")
        elif message.type in ("record batch", "dictionary"):
            _check_batch_head(head, is_dictionary=message.type == "dictionary")
        else:
            raise MalformedRequest(f"A {message.type} is no part of an Arrow table.")


def _check_batch_head(head: bytes, *, is_dictionary: bool) -> None:
    """Refuse what would become larger when it is read: a few bytes may announce gigabytes."""
    message = struct.unpack_from("<I", head)[0]
    version = _entry(head, message, 0)
    if version is None or struct.unpack_from("<h", head, version)[0] < _METADATA_V5:
        # Arrow 0.17 said in the metadata of a message that it is compressed.
        compressed = _entry(head, message, 4) is not None
    else:
        compressed = False
    batch = _table(head, message, 2)
    if is_dictionary:
        delta = _entry(head, batch, 2)
        if delta is not None and head[delta]:
            raise InputMismatch("Arrow dictionaries that come in parts (deltas) are not taken.")
        batch = _table(head, batch, 1)
    if compressed or _entry(head, batch, 3) is not None:
        raise InputMismatch("Compressed Arrow buffers are not taken; send them as they are.")


def _entry(head: bytes, table: int, number: int) -> int | None:
    """Return where the field of a flatbuffers table is; None if it has its default."""
    entries = table - struct.unpack_from("<i", head, table)[0]
    place = 4 + 2 * number
    if entries < 0 or place >= struct.unpack_from("<H", head, entries)[0]:
        return None
    offset: int = struct.unpack_from("<H", head, entries + place)[0]
    return table + offset if offset else None


def _table(head: bytes, table: int, number: int) -> int:
    """Return where the table is that a field of a flatbuffers table points to."""
    entry = _entry(head, table, number)
    if entry is None:
        raise MalformedRequest("The body is not an Arrow IPC file or stream: a batch is empty.")
    place: int = entry + struct.unpack_from("<I", head, entry)[0]
    return place


def _check_schema(schema: pa.Schema) -> None:
    if len(schema) > limits.COLUMNS_PER_REQUEST_MAX:
        raise InputMismatch(
            f"The request has {len(schema)} columns; at most "
            f"{limits.COLUMNS_PER_REQUEST_MAX} are taken."
        )
    if not len(schema):
        raise InputMismatch("The request has no columns.")
    seen: set[str] = set()
    for field in schema:
        if field.name in seen:
            raise InputMismatch(
                f"The column {field.name[:80]!r} stands twice.", column=field.name[:80]
            )
        seen.add(field.name)
        _check_type(field.type, field.name)


def _check_type(declared: pa.DataType, name: str) -> None:
    cell, depth = declared, 1
    while cell.id in LISTS:
        depth += 1
        if depth > limits.TENSOR_RANK_MAX:
            raise InputMismatch(
                f"Column {name[:80]!r} is nested deeper than {limits.TENSOR_RANK_MAX} lists.",
                column=name[:80],
            )
        if cell.id == lib.Type_FIXED_SIZE_LIST and cell.list_size < 1:
            _refuse_type(declared, name)  # any number of rows would take no bytes
        cell = cell.value_type
    taken = _CELLS if depth > 1 else _CELLS | WRITTEN_OUT
    if cell.id == lib.Type_DICTIONARY and depth == 1:
        cell, taken = cell.value_type, TEXTS
    if cell.id not in taken:
        _refuse_type(declared, name)


def _refuse_type(declared: pa.DataType, name: str) -> NoReturn:
    raise InputMismatch(
        f"Column {name[:80]!r} has the Arrow type {str(declared)[:80]}, which is not taken. "
        "Numbers, booleans, strings and lists of them are; dates, times and decimals beside them.",
        column=name[:80],
        found=str(declared)[:80],
    )


def _checked_batches(
    reader: ipc.RecordBatchStreamReader | ipc.RecordBatchFileReader, body_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Yield the batches; refuse buffers that overlap, which would be more than what was sent."""
    referenced = dictionaries = 0
    if isinstance(reader, ipc.RecordBatchFileReader):
        batches = map(reader.get_batch, range(reader.num_record_batches))
    else:
        batches = iter(reader)
    for batch in batches:
        for column in batch.columns:
            referenced += _buffer_bytes(column)
            if column.type.id == lib.Type_DICTIONARY:
                dictionaries += _buffer_bytes(column.dictionary)
        if referenced > body_bytes:
            raise MalformedRequest("The Arrow buffers of the body overlap.")
        if dictionaries > _DICTIONARY_BYTES_MAX:
            raise InputMismatch("The Arrow dictionaries of the body are too large.")
        yield batch


def _buffer_bytes(array: pa.Array) -> int:
    return sum(buffer.size for buffer in array.buffers() if buffer is not None)


def _without_dictionaries(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if field.type.id == lib.Type_DICTIONARY:
            column = table.column(index)
            if sum(map(_written_out_bytes, column.chunks)) > limits.INFER_BODY_BYTES_MAX:
                raise InputMismatch(
                    f"Column {field.name[:80]!r} has more than {limits.INFER_BODY_BYTES_MAX} "
                    "bytes of text.",
                    column=field.name[:80],
                )
            table = table.set_column(index, field.name, column.cast(field.type.value_type))
    return table


def _written_out_bytes(chunk: pa.DictionaryArray) -> int:
    """Return how many bytes the texts take without their dictionary."""
    lengths = pc.binary_length(chunk.dictionary)
    return int(pc.sum(pc.cast(lengths.take(chunk.indices), pa.int64())).as_py() or 0)
