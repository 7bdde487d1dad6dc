"""What the head of a request says about its inference."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qs

from gnomon.core import limits
from gnomon.core.errors import MalformedRequest
from gnomon.core.routing import Route
from gnomon.front import codecs
from gnomon.front.codecs.wanted import Format, Wanted

_TERMS_KEPT = 1_024


class Terms(NamedTuple):
    """How an inference is to be read and answered; one object for all that ask the same.

    Attributes:
        timeout_s: The champion's, from when the request is here.
        wait_ms: How long the answer waits for challengers, at most.
        content_type: Of the body, if it says one.
        wanted: What the answer shall look like.
        is_plain: A JSON object is taken for named tensors, and answered as such, as a whole.
    """

    timeout_s: float
    wait_ms: int
    content_type: bytes | None
    wanted: Wanted
    is_plain: bool

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes], query: bytes, route: Route) -> Terms:
        """Read a head.

        Args:
            query: Of the target, without the question mark.

        Raises:
            MalformedRequest: A time is none, or a parameter of the query.
        """
        timeout_ms = _milliseconds(
            headers,
            b"x-gnomon-timeout-ms",
            int(limits.INFER_TIMEOUT_S * 1000),
            least=1,
            most=int(limits.INFER_TIMEOUT_MAX_S * 1000),
        )
        wait_ms = _milliseconds(
            headers,
            b"x-gnomon-shadow-wait-ms",
            route.shadow_wait_ms if route.mode == "joined" else 0,
            least=0,
            most=limits.SHADOW_WAIT_MAX_MS,
        )
        parameters = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        return _only(
            timeout_ms / 1000,
            wait_ms if route.challengers else 0,
            headers.get(b"content-type"),
            Wanted.of(headers, parameters),
        )


@lru_cache(maxsize=_TERMS_KEPT)
def _only(timeout_s: float, wait_ms: int, content_type: bytes | None, wanted: Wanted) -> Terms:
    is_plain = (
        codecs.takes_named_tensors(content_type)
        and wanted.format(Format.NAMED_TENSORS) is Format.NAMED_TENSORS
        and wanted.is_whole
    )
    return Terms(timeout_s, wait_ms, content_type, wanted, is_plain)


def _milliseconds(
    headers: Mapping[bytes, bytes], name: bytes, default: int, *, least: int, most: int
) -> int:
    text = headers.get(name)
    if text is None:
        return default
    value = int(text) if text.isdigit() and len(text) <= 9 else -1
    if not least <= value <= most:
        raise MalformedRequest(
            f"{name.decode().title()} must be a whole number from {least} to {most}."
        )
    return value
