"""Where a server does otherwise than the rules say, and why: nothing else may differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.front.rules.rule import Rule


class Difference(NamedTuple):
    """What a server gives instead, and the reason."""

    gives: str
    reason: str


def expected(server: str, rule: Rule) -> str:
    """Return the outcome that a server is known to give."""
    for table in (FAULTS, DIFFERENCES):
        difference = table.get((server, rule.name))
        if difference is not None:
            return difference.gives
    return rule.gives


_PARSER = "both use one parser, which is stricter than it has to be; no client sends this"
_ENCODING = "it believes the last of several encodings; ours takes chunked alone"
_NO_LIMIT = "it has no such limit"
_HOST = "it leaves the Host to the application"
_ONE_HOST = "every Host but exactly one of ours is answered alike: by 421, as that of another"
_VERSION = "it takes any version that the parser takes"
_UPGRADE = "it takes what follows the head of an offer for the new protocol, and loses it"
_NOT_AFTER = "it answers by 400 at once, over the heads of the answers that are due"
_OLD = "it never keeps a connection of HTTP/1.0"


def _of_both(gives: str, reason: str, *names: str) -> Iterator[tuple[tuple[str, str], Difference]]:
    for name in names:
        yield ("ours", name), Difference(gives, reason)
        yield ("uvicorn", name), Difference(gives, reason)


def _of(
    server: str, gives: str, reason: str, *names: str
) -> Iterator[tuple[tuple[str, str], Difference]]:
    for name in names:
        yield (server, name), Difference(gives, reason)


DIFFERENCES: dict[tuple[str, str], Difference] = dict(
    [
        *_of_both("400 closed", _PARSER, "spaces after the encoding",
                  "spaces around a chunk extension", "HTTP/1.2", "HTTP/3.0"),
        *_of_both("400 closed", "the parser knows no further method, and 501 is a SHOULD",
                  "a lower-case method is another method", "a method nobody knows"),
        *_of_both("200 open", "only the Host is looked at, which no page can forge",
                  "a target with the host of another", "a target of another scheme"),
        # Ours alone
        *_of("ours", "421 open", _ONE_HOST, "no Host", "two Hosts", "two Hosts that differ",
             "two Hosts, ours the second", "a Host that is a list", "a Host that cannot be",
             "a target with our host beside the Host of another"),
        *_of("ours", "421 closed", _ONE_HOST, "no Host in HTTP/1.0"),
        *_of("ours", "404 open", "what cannot be a path is one that leads nowhere",
             "a target with a host that cannot be", "a target with a fragment"),
        *_of("ours", "404 open", "only URLs that hold a pipeline's name can hold escapes",
             "an escaped letter in another path"),
        # uvicorn alone
        *_of("uvicorn", "200 open", _ENCODING, "an encoding of 'gzip, chunked'",
             "an encoding of 'identity, chunked'", "an encoding of ',chunked'",
             "an encoding beside another on a line of its own"),
        *_of("uvicorn", "200 closed", "it reads a chunked body of HTTP/1.0",
             "an encoding in HTTP/1.0"),
        *_of("uvicorn", "200 then nothing", "it takes nothing more, and leaves the connection open",
             "a trailer that says close"),
        *_of("uvicorn", "200 open", _HOST, "no Host", "two Hosts", "two Hosts that differ",
             "two Hosts, ours the second", "a Host that is a list", "a Host that cannot be",
             "an empty Host", "the Host of another"),
        *_of("uvicorn", "200 closed", _VERSION, "no version", "HTTP/0.9", "HTTP/2.0"),
        *_of("uvicorn", "400 closed", _NOT_AFTER, "something else after a body",
             "answers before a bad request are given, those after it are not"),
        *_of("uvicorn", "400 closed", "it asks every target for a path",
             "a target with a host and no path", "a tunnel",
             "what follows a tunnel's head as its body is no request"),
        *_of("uvicorn", "200 open", "it leaves the fragment out", "a target with a fragment"),
        *_of("uvicorn", "200 open", _NO_LIMIT, "a header over the limit", "too many headers",
             "a header far over the limit", "a header's name over the limit", "10,000 headers",
             "a trailer over the limit"),
        *_of("uvicorn", "404 open", _NO_LIMIT, "a URL over the limit"),
        *_of("uvicorn", "400 closed", "it gives a URL up at 64 KiB", "a URL far over the limit"),
        *_of("uvicorn", "nothing", _NO_LIMIT, "a length over the limit", "a length of 2^63",
             "a trailer that never ends", "a trailer whose name never ends",
             "a chunk extension that never ends", "a chunk size that never ends"),
        *_of("uvicorn", "200 closed", _OLD, "HTTP/1.0 with keep-alive",
             "HTTP/1.0 with Keep-Alive in capitals", "an offer in HTTP/1.0 is ignored"),
        *_of("uvicorn", "100 200 closed", f"it knows no version here; and {_OLD}",
             "an expectation in HTTP/1.0 is ignored"),
        *_of("uvicorn", "404 open", "it reads the body after the answer",
             "an expectation of what is refused"),
        *_of("uvicorn", "200 open", "it ignores what it cannot meet", "another expectation",
             "another expectation beside it"),
        *_of("uvicorn", "100 then nothing", _NO_LIMIT, "an expectation of a body over the limit"),
        *_of("uvicorn", "100 400 open", _UPGRADE, "an offer with an expected body"),
        *_of("uvicorn", "400 open", _UPGRADE, "an offer with a body",
             "an offer with a chunked body"),
        *_of("uvicorn", "200 open", _UPGRADE, "a request after an offer",
             "an offer after an offer"),
        *_of("uvicorn", "200 open", "it leaves the encoding to the application",
             "a compressed body"),
    ]
)  # fmt: skip

# What is wrong with ours and has to be mended. An empty table is a good table.
FAULTS: dict[tuple[str, str], Difference] = {}
