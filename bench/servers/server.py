"""What gnomon, floors and peers have in common."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.servers.answers import Expected
from bench.servers.work import Work

START_TIMEOUT_S = 120.0


class Unavailable(Exception):
    """A server cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Machine:
    """Which core does what, and where things are kept.

    Attributes:
        server_core: Every process of the server that is measured.
        client_core: wrk, and the bench itself.
        cache: Where the peers' environments are kept.
        more_cores: The server has these too.
    """

    server_core: int
    client_core: int
    cache: Path
    more_cores: tuple[int, ...] = ()

    @property
    def server_cores(self) -> tuple[int, ...]:
        """Return all that the server has."""
        return (self.server_core, *self.more_cores)


@dataclass(frozen=True)
class Address:
    """Where and what to send, and how to read the answer.

    Attributes:
        number: Takes the model's number out of a parsed answer.
        must: Every answer contains these bytes.
        expected: How a right answer looks, where it holds no number to be found; None: the first
            answer tells.
    """

    url: str
    body: bytes
    number: Callable[[Any], float]
    headers: Mapping[str, str] = field(default_factory=dict)
    must: bytes = b""
    expected: Expected | None = None


@dataclass(frozen=True)
class Running:
    """A server that has started.

    Attributes:
        ended: Gives the exit code, None while it runs.
        settle: Waits until work that goes on after the answers is done.
        counts: What the server itself counts; only differences are used.
        collector_ms: Its longest collector pause so far; None: it does not say.
        lag_ms: 99.9th percentile of how late its event loop was lately; None: it does not say.
    """

    address: Address
    ended: Callable[[], int | None]
    settle: Callable[[], None] = lambda: None
    counts: Callable[[], Mapping[str, int]] = dict
    collector_ms: Callable[[], float | None] = lambda: None
    lag_ms: Callable[[], float | None] = lambda: None


class Server(Protocol):
    """Something to measure.

    Attributes:
        name: Short, for the table and `--only`.
        family: Servers of one family are one product in several settings.
        about: Its settings in a few words.
    """

    name: str
    family: str
    about: str

    def prepare(self, machine: Machine) -> None:
        """Install what is missing.

        Raises:
            Unavailable: It cannot be had here.
        """

    def running(
        self, work: Work, machine: Machine, scratch: Path
    ) -> AbstractContextManager[Running]:
        """Run the server, pinned to its core; may still be starting when this gives it.

        Raises:
            Unavailable: It cannot be started here.
        """


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
