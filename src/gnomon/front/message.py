"""A request while it is being received, and how large it may become."""

from __future__ import annotations

from enum import Enum

from httptools import HttpRequestParser

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, GnomonError
from gnomon.front.calls import Call, Head, Refused
from gnomon.front.framing import body_too_large, head_too_large


class Phase(Enum):
    """What a connection does."""

    IDLE = "between requests"
    HEAD = "receiving a head"
    BODY = "receiving a body"
    ENDED = "no further request is taken"


_HEEDED_BY_THE_PARSER = frozenset(
    {b"connection", b"proxy-connection", b"content-length", b"transfer-encoding", b"upgrade"}
)


class Message:
    """What has come of one request.

    Attributes:
        call: From when its head is complete.
        target: As far as it has come.
        headers: Lower-case name to value; several of one name joined by ", ".
        body: As far as it has come, unless the request is refused.
        body_bytes: Of the body, also those not kept.
        refusal: Why it is refused when its body, unread, has passed by.
        is_body_to_come: The parser takes the body of an upgrade for the new protocol.
    """

    __slots__ = (
        "_chunks",
        "_head_bytes",
        "_headers_count",
        "_other_bytes",
        "body",
        "body_bytes",
        "call",
        "headers",
        "is_body_to_come",
        "refusal",
        "target",
    )

    def __init__(self) -> None:
        self.call: Call | None = None
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.body: bytes | bytearray = b""
        self.body_bytes = 0
        self.refusal: GnomonError | Refused | None = None
        self.is_body_to_come = False
        self._head_bytes = 0
        self._headers_count = 0
        self._chunks = 0
        self._other_bytes = 0

    def add_target(self, piece: bytes) -> None:
        """Take a piece of the target.

        Raises:
            Refused: It is too long.
        """
        self.target += piece
        if len(self.target) > limits.URL_BYTES_MAX:
            raise Refused(414, f"The URL has more than {limits.URL_BYTES_MAX} bytes.")

    def add_header(self, name: bytes, value: bytes) -> None:
        """Take a header.

        Raises:
            Refused: They are too many, or too large.
        """
        self._count_field(name, value)
        name = name.lower()
        if name in self.headers:
            value = self.headers[name] + b", " + value
        self.headers[name] = value

    def add_trailer(self, name: bytes, value: bytes) -> None:
        """Take a field behind the body: it is ignored.

        Raises:
            Refused: They are too many, or too large.
        """
        self._count_field(name, value)
        if self.call is not None and name.lower() in _HEEDED_BY_THE_PARSER:
            self.call.keep_alive = False  # the parser takes it for a header, and nothing after it

    def _count_field(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        self._headers_count += 1
        if self._head_bytes > limits.HEAD_BYTES_MAX or self._headers_count > limits.HEADERS_MAX:
            raise head_too_large()

    def add_body(self, piece: bytes) -> None:
        """Take a piece of the body.

        Raises:
            BodyTooLarge: It is too large.
        """
        self.body_bytes += len(piece)
        if self.body_bytes > limits.INFER_BODY_BYTES_MAX:
            raise body_too_large()
        if self.refusal is not None:
            return
        if not self.body:
            self.body = piece
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += piece

    def add_chunk(self) -> None:
        """Count a chunk.

        Raises:
            BodyTooLarge: They are too many.
        """
        self._chunks += 1
        if self._chunks > limits.BODY_CHUNKS_MAX:
            raise BodyTooLarge(f"The body has more than {limits.BODY_CHUNKS_MAX} chunks.")

    def add_other(self, count: int) -> Refused | BodyTooLarge | None:
        """Count what was given to the parser beside the body; return a refusal if it is too much.

        The parser keeps what has not ended, a header or a chunk's extension, and tells only then.
        """
        self._other_bytes += count
        if self.call is None and self._other_bytes > 2 * limits.HEAD_BYTES_MAX:
            return head_too_large()
        return body_too_large() if self._other_bytes > limits.BODY_FRAMING_BYTES_MAX else None

    def head(self, parser: HttpRequestParser, *, http_10: bool, keep_alive: bool) -> Head:
        """Return what has come of the head."""
        method = parser.get_method() if self.target else b""
        return Head(method, self.target, self.headers, http_10=http_10, keep_alive=keep_alive)
