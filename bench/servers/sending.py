"""A server that is sent something else than the usual row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.servers.answers import Expected
from bench.servers.server import Machine, Running, Server
from bench.servers.work import Work


@dataclass(frozen=True)
class Sending:
    """A server and what it is sent.

    Attributes:
        query: Behind the URL, with its question mark.
        answer: Bytes that every right answer contains; empty: the model's number is looked for.
    """

    server: Server
    name: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    answer: bytes = b""

    @property
    def family(self) -> str:
        """Return the server's."""
        return self.server.family

    @property
    def about(self) -> str:
        """Return the server's."""
        return self.server.about

    def prepare(self, machine: Machine) -> None:
        """Install the server."""
        self.server.prepare(machine)

    @contextlib.contextmanager
    def running(self, work: Work, machine: Machine, scratch: Path) -> Iterator[Running]:
        """Run the server."""
        expected = Expected(0.0, b"", self.answer, b"") if self.answer else None
        with self.server.running(work, machine, scratch) as running:
            address = replace(
                running.address,
                url=running.address.url + self.query,
                body=self.body,
                headers={**running.address.headers, **self.headers},
                expected=expected,
            )
            yield replace(running, address=address)
