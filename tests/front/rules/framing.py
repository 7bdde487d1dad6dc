"""Where a message's body ends: RFC 9112, sections 6 and 7, and RFC 9110, sections 6.5 and 8.6.

A server that is not certain of it takes one client's bytes for another's request behind a proxy
that reads them otherwise (request smuggling). So what is not certain is refused, and the
connection closed.
"""

from __future__ import annotations

from tests.front.rules.rule import Rule
from tests.front.twins import chunked, get, post
from tests.front.wire import BODY, PATH

IN_CHUNKS = "Transfer-Encoding: chunked"
HTTP_10 = f"POST {PATH} HTTP/1.0"
TWO = chunked(BODY[:10], BODY[10:])
ENDS = b"\r\n0\r\n\r\n"


def encoded(value: str | bytes, body: bytes = TWO) -> bytes:
    """Return a request whose body has this transfer encoding."""
    value = value if isinstance(value, bytes) else value.encode()
    return post(b"Transfer-Encoding: " + value, length=None, body=body)


def in_chunks(body: bytes) -> bytes:
    """Return a request with this chunked body, good or bad."""
    return encoded("chunked", body)


def with_trailer(*lines: str) -> bytes:
    """Return a request in chunks with fields after the last."""
    end = "\r\n".join(["0", *lines, "", ""]).encode()
    return in_chunks(chunked(BODY, end=end))


def sized(length: str) -> bytes:
    """Return a request with this Content-Length."""
    return post(f"Content-Length: {length}", length=None)


TAKEN = [
    Rule("a body of a stated length", "9112 6.2", post(), "200 open"),
    Rule("spaces around the length", "9112 5.1", sized(" \t24 \t"), "200 open"),
    Rule("a length with zeros before it", "9110 8.6", sized("0024"), "200 open"),
    Rule("neither length nor encoding is no body", "9112 6.3", post(length=None, body=b""),
         "400 open"),
    Rule("a length of zero", "9112 6.3", post(length=0, body=b""), "400 open"),
    Rule("a GET with a body", "9110 9.3.1", get("Content-Length: 5", body=b"hello"), "200 open"),
    Rule("a GET with a chunked body", "9110 9.3.1", get(IN_CHUNKS, body=TWO), "200 open"),
    Rule("a chunked body", "9112 7.1", in_chunks(TWO), "200 open"),
    Rule("a chunk for every byte", "9112 7.1",
         in_chunks(chunked(*(BODY[at : at + 1] for at in range(len(BODY))))), "200 open"),
    Rule("a chunked body without a byte", "9112 7.1", in_chunks(b"0\r\n\r\n"), "400 open"),
    Rule("an encoding in any case", "9112 7", encoded("ChunKeD"), "200 open"),
    Rule("spaces before the encoding", "9112 5.1", encoded(" \tchunked"), "200 open"),
    Rule("spaces after the encoding", "9112 5.1", encoded("chunked \t"), "200 open"),
    Rule("chunk sizes in capitals", "9112 7.1",
         in_chunks(b"1A\r\n" + BODY + b"  " + ENDS), "200 open"),
    Rule("chunk sizes with zeros before them", "9112 7.1",
         in_chunks(b"0" * 20 + b"18\r\n" + BODY + b"\r\n000\r\n\r\n"), "200 open"),
    Rule("an underscore is another header", "9110 5.1", post("Transfer_Encoding: chunked"),
         "200 open"),
]  # fmt: skip

EXTENDED = [
    Rule("a chunk extension is passed over", "9112 7.1.1",
         in_chunks(b"18;a=b;c\r\n" + BODY + b"\r\n0;d\r\n\r\n"), "200 open"),
    Rule("a quoted chunk extension is passed over", "9112 7.1.1",
         in_chunks(b'18;a="b;c\\"d"\r\n' + BODY + ENDS), "200 open"),
    Rule("spaces around a chunk extension", "9112 7.1.1",
         in_chunks(b"18 ; a = b\r\n" + BODY + ENDS), "200 open"),
    Rule("a trailer is passed over", "9112 7.1.2", with_trailer("X-Sum: 1"), "200 open"),
    Rule("a trailer does not count as a header: a timeout", "9110 6.5.1",
         with_trailer("X-Gnomon-Timeout-Ms: never"), "200 open"),
    Rule("a trailer does not count as a header: a type", "9110 6.5.1",
         with_trailer("Content-Type: application/vnd.apache.arrow.file"), "200 open"),
    Rule("a trailer does not count as a header: an expectation", "9110 6.5.1",
         with_trailer("Expect: tea"), "200 open"),
    Rule("a trailer does not count as a header: who asks", "9110 6.5.1",
         with_trailer("Authorization: Bearer gno_of-another", "Host: evil.example"), "200 open"),
    Rule("a trailer that says close", "9112 9.6", with_trailer("Connection: close"),
         "200 closed"),
    Rule("a trailer may not frame: a length", "9110 6.5.1", with_trailer("Content-Length: 3"),
         "400 closed"),
    Rule("a trailer may not frame: an encoding", "9110 6.5.1", with_trailer(IN_CHUNKS),
         "400 closed"),
    Rule("a trailer that is no field", "9112 7.1.2", with_trailer("no colon"), "400 closed"),
]  # fmt: skip

NOT_CERTAIN = [
    Rule("a length, and then an encoding", "9112 6.3", post(IN_CHUNKS, body=TWO), "400 closed"),
    Rule("an encoding, and then a length", "9112 6.3",
         post(IN_CHUNKS, "Content-Length: 24", length=None, body=TWO), "400 closed"),
    Rule("an encoding, and a length of zero", "9112 6.3",
         post(IN_CHUNKS, "Content-Length: 0", length=None, body=TWO), "400 closed"),
    Rule("an encoding in HTTP/1.0", "9112 6.1",
         post(IN_CHUNKS, line=HTTP_10, length=None, body=TWO), "400 closed"),
    Rule("two lengths that differ", "9110 8.6", post("Content-Length: 3"), "400 closed"),
    Rule("two lengths that are the same", "9110 8.6", post("Content-Length: 24"), "400 closed"),
    *(
        Rule(f"a length of {length!r}", "9110 8.6", sized(length), "400 closed")
        for length in ("-1", "+24", "0x18", "24a", "2 4", "", "24,24", "24, 25", "24;", "24.0",
                       "1e1", "٢٤", "18446744073709551640", "9" * 30)
    ),
    Rule("a length over two lines", "9112 5.2", sized("\r\n 24"), "400 closed"),
    *(
        Rule(f"an encoding of {value!r}", "9112 6.1", encoded(value), "400 closed")
        for value in ("identity", "gzip", "chunked, chunked", "chunked, identity", "gzip, chunked",
                      "identity, chunked", "xchunked", "chunked;q=1", "chunked,", ",chunked", "",
                      "\x0bchunked", '"chunked"', "chunked\0")
    ),
    Rule("an encoding on two lines", "9112 6.1", post(IN_CHUNKS, IN_CHUNKS, length=None, body=TWO),
         "400 closed"),
    Rule("an encoding beside another on a line of its own", "9112 6.1",
         post("Transfer-Encoding: identity", IN_CHUNKS, length=None, body=TWO), "400 closed"),
    Rule("an encoding beside an empty one", "9112 6.1",
         post("Transfer-Encoding:", IN_CHUNKS, length=None, body=TWO), "400 closed"),
    Rule("a space before the colon", "9112 5.1",
         post("Transfer-Encoding : chunked", length=None, body=TWO), "400 closed"),
    Rule("an encoding over two lines", "9112 5.2", encoded("\r\n chunked"), "400 closed"),
]  # fmt: skip

BAD_CHUNKS = [
    *(
        Rule(f"a chunk size of {size!r}", "9112 7.1",
             in_chunks(size.encode() + b"\r\n" + BODY + ENDS), "400 closed")
        for size in ("", "xyz", "0x18", "-18", "+18", " 18", "18 ", "1 8", "f" * 17)
    ),
    Rule("a chunk with more than its size says", "9112 7.1", in_chunks(b"17\r\n" + BODY + ENDS),
         "400 closed"),
    Rule("a chunk that is not ended", "9112 7.1", in_chunks(b"18\r\n" + BODY + b"0\r\n\r\n"),
         "400 closed"),
    Rule("a bare LF after a chunk size", "9112 7.1", in_chunks(b"18\n" + BODY + ENDS),
         "400 closed"),
    Rule("a bare LF after a chunk", "9112 7.1", in_chunks(b"18\r\n" + BODY + b"\n0\r\n\r\n"),
         "400 closed"),
    Rule("a bare LF after a chunk extension", "9112 7.1", in_chunks(b"18;a\n" + BODY + ENDS),
         "400 closed"),
    Rule("a bare CR after a chunk size", "9112 7.1", in_chunks(b"18\r" + BODY + ENDS),
         "400 closed"),
    Rule("a line within a quoted chunk extension", "9112 7.1",
         in_chunks(b'18;a="\r\n' + BODY + ENDS), "400 closed"),
]  # fmt: skip

FRAMING = [*TAKEN, *EXTENDED, *NOT_CERTAIN, *BAD_CHUNKS]
