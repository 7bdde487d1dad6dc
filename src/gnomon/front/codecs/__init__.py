"""Formats of requests and answers. What came in decides what goes out, unless Accept says so."""

from __future__ import annotations

import time
from typing import Any

import orjson

from gnomon.core.errors import MalformedRequest
from gnomon.front.codecs.arrow import ArrowTable
from gnomon.front.codecs.document import Document
from gnomon.front.codecs.json_tensors import NamedTensors
from gnomon.front.codecs.records import Records
from gnomon.front.codecs.result import Answer, Result
from gnomon.front.codecs.wanted import DEFAULT, Wanted, is_records

__all__ = ["DEFAULT", "Answer", "Document", "Result", "Wanted", "read", "takes_named_tensors"]

_ARROW_STARTS = (b"ARROW1", b"\xff\xff\xff\xff")  # a file, a stream
_ARROW = b"application/vnd.apache.arrow"
_JSON = b"application/json"


def takes_named_tensors(content_type: bytes | None) -> bool:
    """Say whether a JSON object of this type is named tensors."""
    kind = b"" if content_type is None else content_type.lower()
    return not kind.startswith(_ARROW) and not is_records(kind)


def read(body: bytes, content_type: bytes | None) -> Document:
    """Read a request's body.

    A JSON object is named tensors, a JSON list is records.

    Args:
        content_type: `application/json; format=pandas-records` takes records only; of the others
            none decides, because clients send all kinds of them with JSON. Arrow is known by
            its type or by its first bytes, which no JSON has.

    Raises:
        MalformedRequest: It is not what its format says, JSON that is neither object nor list, or
            an object has a key twice.
        InputMismatch: It has no rows, too many columns, or columns of types that are not taken.
    """
    if body.startswith(b"{") and (content_type is None or content_type == _JSON):
        return NamedTensors(_parsed(body), body)  # by far the most
    started_ns = time.monotonic_ns()
    document = _read(body, b"" if content_type is None else content_type.lower())
    if isinstance(document, ArrowTable | Records):
        document.read_ns = time.monotonic_ns() - started_ns
    return document


def _read(body: bytes, content_type: bytes) -> Document:
    if content_type.startswith(_ARROW) or body.startswith(_ARROW_STARTS):
        return ArrowTable(body)
    if not body:
        raise MalformedRequest("The body is empty; JSON was expected.")
    parsed = _parsed(body)
    if isinstance(parsed, list):
        return Records(parsed, body)
    records_only = is_records(content_type)
    if isinstance(parsed, dict) and not records_only:
        return NamedTensors(parsed, body)
    wanted = "a list of objects" if records_only else "an object or a list of objects"
    found = "an object" if isinstance(parsed, dict) else "a single value"
    raise MalformedRequest(f"The body is {found}; {wanted} was expected.")


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = ""
        if b"NaN" in body or b"Infinity" in body:
            hint = " NaN and Infinity are not JSON."
        raise MalformedRequest(f"The body is not JSON: {error}.{hint}") from None
