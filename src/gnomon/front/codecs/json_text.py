"""What the text of a JSON body tells and its reader does not: doubled keys, integers made floats.

The reader, orjson, takes the last of two equal keys and the nearest float of an integer that fits
no 64-bit type. Reading again with more care would cost more than everything else, so each check
begins with a count that most bodies pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sized
from typing import Any

import numpy as np

from gnomon.core.errors import InputMismatch, MalformedRequest

_SMALL_BYTES = 4_096  # up to here bytes.count is quicker than numpy
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_LONG_INTEGER = re.compile(rb"(?<![\d.eE+-])-?\d{19,}+(?![.eE])")


def has_one_key_and_no_texts(body: bytes) -> bool:
    """Say whether an object is nothing but numbers under one key, or at least looks like that.

    Args:
        body: Well-formed JSON, an object.
    """
    return body.rfind(b'"') < body.find(b":")


def count(body: bytes, char: bytes) -> int:
    """Return how often a character stands in a body."""
    if len(body) <= _SMALL_BYTES:
        return body.count(char)
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(char)))


def refuse_doubled_keys(body: bytes, objects: Iterable[Sized]) -> None:
    """Refuse a body with an object that has a key twice.

    Args:
        body: Well-formed JSON.
        objects: Those that were read from it, but for objects in them.

    Raises:
        MalformedRequest: The message names the key.
    """
    # Each key has a colon, so a body with as many colons as keys were read has no further key.
    keys = sum(map(len, objects))
    if count(body, b":") == keys or _colons_after_keys(body) == keys:
        return
    try:
        json.loads(body, object_pairs_hook=_refuse_twice)
    except RecursionError as error:
        raise MalformedRequest("The body is nested too deeply.") from error


def _colons_after_keys(body: bytes) -> int:
    """Count the colons behind a quote or white space: all that end a key, and some in texts."""
    chars = np.frombuffer(body, np.uint8)
    before, colons = chars[:-1], chars[1:] == ord(":")
    return int(np.count_nonzero(colons & ((before == ord('"')) | (before <= ord(" ")))))


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise MalformedRequest(f"The key {key[:80]!r} stands twice in one object of the body.")
        seen.add(key)


def refuse_long_integers(body: bytes) -> None:
    """Refuse a body with an integer that fits no 64-bit type.

    Args:
        body: Well-formed JSON.

    Raises:
        InputMismatch: The message shows the integer.
    """
    for found in _LONG_INTEGER.finditer(_TEXT.sub(b'""', body)):
        text = found.group().decode()
        if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
            shown = text if len(text) <= 40 else text[:37] + "..."
            raise InputMismatch(
                f"The body holds the integer {shown}, which fits no 64-bit type. Send it as text, "
                "or, if it may be rounded, with a decimal point."
            )
