"""What a connection is used for: RFC 9112, section 9, and RFC 9110, sections 7.8, 9, 10.1.1."""

from __future__ import annotations

from tests.front.rules.framing import IN_CHUNKS, TWO
from tests.front.rules.rule import Rule
from tests.front.twins import HEALTH, get, post
from tests.front.wire import PATH

HTTP_10 = f"POST {PATH} HTTP/1.0"
CONTINUE = "Expect: 100-continue"
UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip


def head(*more: str, **options) -> bytes:
    """Return a HEAD request."""
    return get(*more, line=f"HEAD {HEALTH} HTTP/1.1", **options)


KEPT = [
    Rule("keep-alive is what HTTP/1.1 does", "9112 9.3", post("Connection: keep-alive"),
         "200 open"),
    *(
        Rule(f"a connection that the client has closed by {value!r}", "9112 9.3",
             post(f"Connection: {value}"), "200 closed")
        for value in ("close", "CLOSE", "keep-alive, close", "close, keep-alive", "close , te",
                      ", ,close,")
    ),
    Rule("closed on a line of its own", "9112 9.3",
         post("Connection: keep-alive", "Connection: close"), "200 closed"),
    Rule("another option than close", "9112 9.3", post("Connection: closed"), "200 open"),
    Rule("HTTP/1.0", "9112 9.3", post(line=HTTP_10), "200 closed"),
    Rule("HTTP/1.0 with keep-alive", "9112 9.3", post("Connection: keep-alive", line=HTTP_10),
         "200 open"),
    Rule("HTTP/1.0 with Keep-Alive in capitals", "9112 9.3",
         post("Connection: Keep-Alive", line=HTTP_10), "200 open"),
    Rule("HTTP/1.0 with keep-alive and close", "9112 9.3",
         post("Connection: keep-alive, close", line=HTTP_10), "200 closed"),
    Rule("HTTP/1.0 without a length", "9112 6.3", post(line=HTTP_10, length=None), "400 closed"),
    Rule("what comes after close is not read", "9112 9.6", post("Connection: close") + post(),
         "200 closed"),
    Rule("what comes after HTTP/1.0 is not read", "9112 9.3", post(line=HTTP_10) + post(),
         "200 closed"),
    Rule("answers before a bad request are given, those after it are not", "9112 9.3.2",
         post() + b"NONSENSE\r\n\r\n" + post(), "200 400 closed"),
]  # fmt: skip

EXPECTING = [
    Rule("an expectation is met", "9110 10.1.1", post(CONTINUE), "100 200 open"),
    Rule("an expectation in capitals", "9110 10.1.1", post(CONTINUE.upper()), "100 200 open"),
    Rule("an expectation of a chunked body", "9110 10.1.1",
         post(CONTINUE, IN_CHUNKS, length=None, body=TWO), "100 200 open"),
    Rule("an expectation in HTTP/1.0 is ignored", "9110 10.1.1",
         post(CONTINUE, "Connection: keep-alive", line=HTTP_10), "200 open"),
    Rule("an expectation of what is refused", "9110 10.1.1",
         post(CONTINUE, line="POST /nowhere HTTP/1.1"), "404 closed"),
    Rule("an expectation of a body over the limit", "9110 10.1.1",
         post(CONTINUE, length=2**30, body=b""), "413 closed"),
    Rule("another expectation", "9110 10.1.1", post("Expect: tea"), "417 closed"),
    Rule("another expectation beside it", "9110 10.1.1", post("Expect: 100-continue, tea"),
         "417 closed"),
]  # fmt: skip

OFFERS = [
    Rule("an offer to upgrade is ignored", "9110 7.8", get(*UPGRADE), "200 open"),
    Rule("an offer of a WebSocket is ignored", "9110 7.8", get(*WEBSOCKET), "200 open"),
    Rule("an offer that Connection does not name", "9110 7.8", get("Upgrade: h2c"), "200 open"),
    Rule("an offer of nothing", "9110 7.8", get("Connection: Upgrade"), "200 open"),
    Rule("an offer with a body", "9110 7.8", post(*UPGRADE), "200 closed"),
    Rule("an offer with a chunked body", "9110 7.8",
         post(*UPGRADE, IN_CHUNKS, length=None, body=TWO), "200 closed"),
    Rule("an offer with an expected body", "9110 7.8", post(*UPGRADE, CONTINUE),
         "100 200 closed"),
    Rule("an offer in HTTP/1.0 is ignored", "9110 7.8",
         get("Connection: Upgrade, keep-alive", "Upgrade: h2c", line=f"GET {HEALTH} HTTP/1.0"),
         "200 open"),
    Rule("a request after an offer", "9110 7.8", get(*UPGRADE) + post(), "200 200 open"),
    Rule("an offer after an offer", "9110 7.8", get(*UPGRADE) * 2, "200 200 open"),
]  # fmt: skip

MEANING = [
    Rule("HEAD is GET without a body", "9110 9.3.2", head(), "200 open", "HEAD"),
    Rule("HEAD of an inference", "9110 9.3.2", head().replace(HEALTH.encode(), PATH.encode()),
         "405 open", "HEAD"),
    Rule("HEAD of nothing", "9110 9.3.2", head().replace(HEALTH.encode(), b"/no"), "404 open",
         "HEAD"),
    Rule("HEAD in HTTP/1.0", "9110 9.3.2", head().replace(b"HTTP/1.1", b"HTTP/1.0"),
         "200 closed", "HEAD"),
    Rule("a compressed body", "9110 8.4", post("Content-Encoding: gzip"), "415 open"),
    Rule("a body that is not compressed", "9110 8.4", post("Content-Encoding: identity"),
         "200 open"),
    Rule("trailers are welcome to the client", "9110 10.1.4", post("TE: trailers"), "200 open"),
]  # fmt: skip

CONNECTIONS = [*KEPT, *EXPECTING, *OFFERS, *MEANING]
