"""Formats of requests and answers. What came in decides what goes out."""

from __future__ import annotations

import orjson

from gnomon.core.errors import MalformedRequest
from gnomon.front.codecs.arrow import ArrowTable
from gnomon.front.codecs.document import Answer, Document, Result
from gnomon.front.codecs.json_tensors import NamedTensors
from gnomon.front.codecs.records import Records

__all__ = ["Answer", "Document", "Result", "read"]

_ARROW_STARTS = (b"ARROW1", b"\xff\xff\xff\xff")  # a file, a stream


def read(body: bytes, content_type: bytes | None) -> Document:
    """Read a request's body.

    A JSON object is named tensors, a JSON list is records. Of a key that stands twice in an
    object the last value counts, as in most JSON readers.

    Args:
        content_type: `application/json; format=pandas-records` takes records only; of the others
            none decides, because clients send all kinds of them with JSON. Arrow is known by
            its type or by its first bytes, which no JSON has.

    Raises:
        MalformedRequest: It is not what its format says, or JSON that is neither object nor list.
        InputMismatch: It has no rows, too many columns, or columns of types that are not taken.
    """
    records_only = False
    if content_type is not None and content_type != b"application/json":
        content_type = content_type.lower()
        if content_type.startswith(b"application/vnd.apache.arrow"):
            return ArrowTable(body)
        records_only = b"format=pandas-records" in content_type.replace(b" ", b"")
    if body.startswith(_ARROW_STARTS):
        return ArrowTable(body)
    if not body:
        raise MalformedRequest("The body is empty; JSON was expected.")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _not_json(body, error) from None
    if isinstance(parsed, list):
        return Records(parsed)
    if isinstance(parsed, dict) and not records_only:
        return NamedTensors(parsed, body)
    wanted = "a list of objects" if records_only else "an object or a list of objects"
    found = "an object" if isinstance(parsed, dict) else "a single value"
    raise MalformedRequest(f"The body is {found}; {wanted} was expected.")


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> MalformedRequest:
    hint = ""
    if b"NaN" in body or b"Infinity" in body:
        hint = " NaN and Infinity are not JSON."
    return MalformedRequest(f"The body is not JSON: {error}.{hint}")
