"""What a head may look like: RFC 9112, sections 2 to 5, and RFC 9110, sections 5, 7 and 9."""

from __future__ import annotations

from gnomon.core import limits
from tests.front.rules.rule import Rule
from tests.front.twins import HEALTH, get, post
from tests.front.wire import BODY, PATH


def line(text: str) -> bytes:
    """Return a request with this request line."""
    return get(line=text)


def target(text: str, method: str = "GET") -> bytes:
    """Return a request with this target, and a body if it is for an inference."""
    whole = f"{method} {text} HTTP/1.1"
    return post(line=whole) if method == "POST" else get(line=whole)


LINES = [
    Rule("an empty line before a request", "9112 2.2", b"\r\n" + get(), "200 open"),
    Rule("empty lines before a request", "9112 2.2", b"\r\n" * 5 + get(), "200 open"),
    Rule("an empty line after a body", "9112 2.2", post() + b"\r\n", "200 open"),
    Rule("a space before a request", "9112 3", b" " + get(), "400 closed"),
    Rule("something else after a body", "9112 2.2", post() + b"junk", "200 400 closed"),
    Rule("all lines ended by LF only", "9112 2.2", get().replace(b"\r\n", b"\n"), "400 closed"),
    Rule("a request line ended by LF only", "9112 2.2", get().replace(b"\r\n", b"\n", 1),
         "400 closed"),
    Rule("a header ended by LF only", "9112 2.2", get("A: b\nC: d"), "400 closed"),
    Rule("a head ended by LF only", "9112 2.2", get()[:-2] + b"\n", "400 closed"),
    Rule("lines ended by CR only", "9112 2.2", get().replace(b"\r\n", b"\r"), "400 closed"),
    Rule("a CR within a header", "9112 2.2", get("A: b\rC: d"), "400 closed"),
    Rule("a header over two lines", "9112 5.2", get("A: b\r\n c"), "400 closed"),
    Rule("a header over two lines, by a tab", "9112 5.2", get("A: b\r\n\tc"), "400 closed"),
    Rule("a Host over two lines", "9112 5.2", get(host="\r\n $HOST"), "400 closed"),
    Rule("a space before the first header", "9112 2.2",
         get().replace(b"\r\nHost", b"\r\n Host"), "400 closed"),
    Rule("a TLS greeting", "9112 2.2", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,
         "400 closed"),
    Rule("an HTTP/2 preface", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 closed"),
]  # fmt: skip

REQUEST_LINES = [
    Rule("a lower-case method is another method", "9110 9.1", line(f"get {HEALTH} HTTP/1.1"),
         "501 closed"),
    Rule("a method nobody knows", "9110 9.1", line(f"BREW {HEALTH} HTTP/1.1"), "501 closed"),
    Rule("a method that is none", "9112 3.1", line(f"G,T {HEALTH} HTTP/1.1"), "400 closed"),
    *(
        Rule(f"the method {method} is not allowed here", "9110 15.5.6",
             target(HEALTH, method), "405 open")
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "LINK")
    ),
    Rule("a GET of an inference", "9110 15.5.6", target(PATH), "405 open"),
    Rule("more than one space in a request line", "9112 3", line(f"GET  {HEALTH}  HTTP/1.1"),
         "200 open"),
    Rule("a tab in a request line", "9112 3", line(f"GET\t{HEALTH} HTTP/1.1"), "400 closed"),
    Rule("a space after the version", "9112 3", line(f"GET {HEALTH} HTTP/1.1 "), "400 closed"),
    Rule("no target", "9112 3.2", line("GET HTTP/1.1"), "400 closed"),
    Rule("no version", "9112 3", line(f"GET {HEALTH}"), "505 closed"),
    Rule("a version in lower case", "9112 2.3", line(f"GET {HEALTH} http/1.1"), "400 closed"),
    Rule("a version with a comma", "9112 2.3", line(f"GET {HEALTH} HTTP/1,1"), "400 closed"),
    Rule("a version with two digits", "9112 2.3", line(f"GET {HEALTH} HTTP/1.10"), "400 closed"),
    Rule("HTTP/0.9", "9110 15.6.6", line(f"GET {HEALTH} HTTP/0.9"), "505 closed"),
    Rule("HTTP/1.2", "9110 6.2", line(f"GET {HEALTH} HTTP/1.2"), "200 open"),
    Rule("HTTP/2.0", "9110 15.6.6", line(f"GET {HEALTH} HTTP/2.0"), "505 closed"),
    Rule("HTTP/3.0", "9110 15.6.6", line(f"GET {HEALTH} HTTP/3.0"), "505 closed"),
]  # fmt: skip

TARGETS = [
    Rule("a query", "9112 3.2.1", target(f"{PATH}?a=b&c", "POST"), "200 open"),
    Rule("a path that leads nowhere", "9110 15.5.5", target("/v1/nowhere"), "404 open"),
    Rule("a target with scheme and host", "9112 3.2.2", target(f"http://$HOST{PATH}", "POST"),
         "200 open"),
    Rule("a scheme in capitals", "9110 4.2.3", target(f"HTTP://$HOST{PATH}", "POST"), "200 open"),
    Rule("a target with the host of another", "9112 3.2.2",
         target(f"http://evil.example{PATH}", "POST"), "421 open"),
    Rule("a target with our host beside the Host of another", "9112 3.2.2",
         post(line=f"POST http://$HOST{PATH} HTTP/1.1", host="evil.example"), "200 open"),
    Rule("a target with a host and no path", "9112 3.2.2", target("http://$HOST"), "404 open"),
    Rule("a target of another scheme", "9110 7.4", target(f"ftp://$HOST{HEALTH}"), "421 open"),
    Rule("a target with a host that cannot be", "9112 3.2", target("http://127.0.0.1:99999/"),
         "400 closed"),
    Rule("a target with a bare path that has no slash", "9112 3.2", target("v1/health"),
         "400 closed"),
    Rule("a target with a fragment", "9112 3.2", target(f"{HEALTH}#x"), "400 closed"),
    Rule("a target with NUL", "9112 3.2", target("/v1/hea\0lth"), "400 closed"),
    Rule("a target that is not ASCII", "9112 3.2", target("/v1/hälth"), "400 closed"),
    Rule("an escape that is none", "9110 4.2", target("/v1/%zz"), "404 open"),
    Rule("an escaped letter in the path of an inference", "9110 4.2.3",
         target(PATH.replace("fraud-7", "%66raud-7"), "POST"), "200 open"),
    Rule("an escaped letter in another path", "9110 4.2.3", target("/v1/%68ealth"), "200 open"),
    Rule("the server as a whole", "9112 3.2.4", target("*", "OPTIONS"), "404 open"),
    Rule("a tunnel", "9110 9.3.6", target("a.example:443", "CONNECT"), "404 closed"),
    Rule("what follows a tunnel's head as its body is no request", "9110 9.3.6",
         post(line="CONNECT a.example:443 HTTP/1.1", length=len(post()), body=post()),
         "404 closed"),
]  # fmt: skip

HEADERS = [
    Rule("an empty header", "9112 5", get("A:"), "200 open"),
    Rule("a header without a space", "9112 5", get("A:b"), "200 open"),
    Rule("a header with a tab", "9110 5.5", get("A: b\tc"), "200 open"),
    Rule("a header that is not ASCII", "9110 5.5", get(b"A: \xe4\xff"), "200 open"),
    *(
        Rule(f"a header of {value!r}", "9110 5.5", get(b"A: " + value), "400 closed")
        for value in (b"b\0c", b"b\x01c", b"b\x7fc")
    ),
    *(
        Rule(f"a header called {name!r}", "9110 5.1", get(name + b": b"), "400 closed")
        for name in (b"", b"A B", b"A ", b"A\0", b"A\x01", b"A(b)", b"\xe4")
    ),
    Rule("a header without a colon", "9112 5", get("nocolon"), "400 closed"),
]  # fmt: skip

HOSTS = [
    Rule("no Host", "9112 3.2", get(host=None), "400 open"),
    Rule("no Host in HTTP/1.0", "9112 3.2", get(line=f"GET {HEALTH} HTTP/1.0", host=None),
         "200 closed"),
    Rule("two Hosts", "9112 3.2", get("Host: $HOST"), "400 open"),
    Rule("two Hosts that differ", "9112 3.2", get("Host: evil.example"), "400 open"),
    Rule("two Hosts, ours the second", "9112 3.2", get("Host: $HOST", host="evil.example"),
         "400 open"),
    Rule("a Host that is a list", "9112 3.2", get(host="$HOST, $HOST"), "400 open"),
    Rule("a Host that cannot be", "9112 3.2", get(host="a b"), "400 open"),
    Rule("an empty Host", "9110 7.4", get(host=""), "421 open"),
    Rule("the Host of another", "9110 7.4", get(host="evil.example"), "421 open"),
    Rule("a Host in capitals", "9110 4.2.3", get(host="LOCALHOST"), "200 open"),
]  # fmt: skip

_URL = "/" + "a" * limits.URL_BYTES_MAX
_FEW = 3  # headers that every request has, with one to spare

LIMITS = [
    Rule("the longest URL", "9112 3", target(_URL[:-1]), "404 open"),
    Rule("a URL over the limit", "9110 15.5.15", target(_URL), "414 closed"),
    Rule("a URL far over the limit", "9110 15.5.15", target(_URL * 20), "414 closed"),
    Rule("a long header", "9110 5.4", get("A: " + "a" * (limits.HEAD_BYTES_MAX - 500)),
         "200 open"),
    Rule("a header over the limit", "6585 5", get("A: " + "a" * limits.HEAD_BYTES_MAX),
         "431 closed"),
    Rule("a header far over the limit", "6585 5", get("A: " + "a" * 2**20), "431 closed"),
    Rule("a header's name over the limit", "6585 5", get("A" * limits.HEAD_BYTES_MAX + ": b"),
         "431 closed"),
    Rule("as many headers as may be", "9110 5.4", get(*["A: b"] * (limits.HEADERS_MAX - _FEW)),
         "200 open"),
    Rule("too many headers", "6585 5", get(*["A: b"] * limits.HEADERS_MAX), "431 closed"),
    Rule("10,000 headers", "6585 5", get(*["A: b"] * 10_000), "431 closed"),
    Rule("a length over the limit", "9110 15.5.14", post(length=limits.INFER_BODY_BYTES_MAX + 1),
         "413 closed"),
    Rule("a length of 2^63", "9110 15.5.14", post(length=2**63), "413 closed"),
    Rule("a trailer over the limit", "9112 7.1.2",
         post("Transfer-Encoding: chunked", length=None,
              body=b"18\r\n" + BODY + b"\r\n0\r\nA: " + b"a" * 4 * limits.HEAD_BYTES_MAX
              + b"\r\n\r\n"), "431 closed"),
    Rule("a trailer that never ends", "9112 7.1.2",
         post("Transfer-Encoding: chunked", length=None,
              body=b"18\r\n" + BODY + b"\r\n0\r\nA: " + b"a" * 2**19), "413 closed"),
    Rule("a trailer whose name never ends", "9112 7.1.2",
         post("Transfer-Encoding: chunked", length=None,
              body=b"18\r\n" + BODY + b"\r\n0\r\n" + b"a" * 2**19), "413 closed"),
    Rule("a chunk extension that never ends", "9112 7.1.1",
         post("Transfer-Encoding: chunked", length=None, body=b"18;" + b"a" * 2**19),
         "413 closed"),
    Rule("a chunk size that never ends", "9112 7.1",
         post("Transfer-Encoding: chunked", length=None, body=b"0" * 2**19), "413 closed"),
]  # fmt: skip

HEADS = [*LINES, *REQUEST_LINES, *TARGETS, *HEADERS, *HOSTS, *LIMITS]
