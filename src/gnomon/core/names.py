"""Names, labels and request ids: what they may look like, decided once."""

from __future__ import annotations

import re
from typing import Literal

from gnomon.core.errors import InvalidName, MalformedRequest

Kind = Literal["workspace", "model", "pipeline"]

_NAME = re.compile(r"[a-zA-Z](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_USER_NAME_CHARS_MAX = 63
_VALIDATION = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,62}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check_name(kind: Kind, name: object) -> str:
    """Return `name` if a `kind` may be called that.

    One letter, or a letter followed by up to 62 letters, digits and dashes, the last one not a
    dash. Pipelines are lower-case, because their names stand in URLs. `_` cannot occur, which
    leaves it to labels (`name_v2`).

    Raises:
        InvalidName: Otherwise; the message shows the name shortened.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        shown = repr(name) if len(repr(name)) <= 80 else repr(name)[:77] + "..."
        raise InvalidName(
            f"Name {shown} is invalid for a {kind}: must be DNS-compatible "
            "(a letter first, then ASCII letters, digits and dashes, no dash at the end, "
            "63 characters at most).",
            kind=kind,
        )
    if kind == "pipeline" and name != name.lower():
        raise InvalidName(
            f"Pipeline name {name!r} must be lower-case, because it stands in URLs: "
            f"try {name.lower()!r}.",
            kind=kind,
        )
    return name


def name_key(name: str) -> str:
    """Return what makes a name unique: two names that differ only in case are one."""
    return name.lower()


def check_user_name(name: str) -> str:
    """Return `name` if somebody may be called that: an e-mail address, or a word.

    Raises:
        InvalidName: It has no or more than 63 characters, a space, a slash, or what is not shown.
    """
    fits = 0 < len(name) <= _USER_NAME_CHARS_MAX and name.isprintable()
    if not fits or " " in name or "/" in name:
        raise InvalidName(
            f"A user's name must have 1 to {_USER_NAME_CHARS_MAX} characters, without spaces and "
            f"slashes, as an e-mail address; got {name[:80]!r}.",
            kind="user",
        )
    return name


def check_validation_name(name: object) -> str:
    """Return `name` if a validation may be called that: it becomes the column `anomaly.<name>`.

    Raises:
        InvalidName: It is no word of 1 to 63 ASCII letters, digits and `_`, or "count".
    """
    is_word = isinstance(name, str) and _VALIDATION.fullmatch(name) is not None
    if not is_word or str(name).lower() == "count":
        raise InvalidName(
            f"A validation cannot be named {str(name)[:80]!r}: it must have 1 to 63 ASCII letters, "
            'digits and "_", begin with no digit, and not be "count", which is the number of '
            "anomalies.",
            kind="validation",
        )
    return str(name)


def check_request_id(request_id: str) -> str:
    """Return the caller's request id if it is 1-64 characters of `[A-Za-z0-9._-]`.

    Raises:
        MalformedRequest: Otherwise.
    """
    if _REQUEST_ID.fullmatch(request_id) is None:
        raise MalformedRequest(
            "X-Gnomon-Request-Id must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'."
        )
    return request_id


def uuid7(time_ms: int, random: bytes) -> str:
    """Make a UUID version 7, whose text sorts by time.

    Args:
        time_ms: Milliseconds since 1970, 48 bits of it are kept.
        random: At least 10 random bytes.

    Source: RFC 9562, section 5.7.
    """
    value = (time_ms & (2**48 - 1)) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
