"""The local backend's part with the fronts, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gnomon import unix_sockets
from gnomon.backends.local import LocalBackend
from gnomon.core import limits
from gnomon.core.errors import ServerUnreachable
from gnomon.core.routing import RoutingTable
from gnomon.core.stats import FrontStats, ModelStats
from gnomon.front.client import FrontClient
from gnomon.supervisor.client import SupervisorClient
from tests.waiting import until

TABLE = RoutingTable(version=7, token_hashes={"a" * 64: 1})

Answering = Callable[[dict[str, Any]], dict[str, Any] | None]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[[str, Answering], FrontClient]]:
    """Let a socket answer as a front does; None: it takes the order and does not answer."""
    listeners: list[socket.socket] = []
    held: list[socket.socket] = []

    def serve(listener: socket.socket, answer: Answering) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                order = json.loads(connection.makefile("rb").readline())
                said = answer(order)
                if said is not None:
                    connection.sendall(json.dumps(said).encode() + b"\n")

    def start(name: str, answer: Answering) -> FrontClient:
        path = tmp_path / f"{name}.sock"
        listener = unix_sockets.listen(path)
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        return FrontClient(path)

    yield start
    for listener in [*listeners, *held]:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def backend_over(tmp_path: Path) -> Callable[..., LocalBackend]:
    supervisor = SupervisorClient(tmp_path / "supervisor.sock")
    return lambda **fronts: LocalBackend(supervisor, fronts, tmp_path / "routing.json")


def test_a_table_is_written_for_its_owner_only_and_told_to_every_front(
    tmp_path, front, backend_over
):
    told: list[dict[str, Any]] = []

    def takes(order: dict[str, Any]) -> dict[str, Any]:
        written = json.loads((tmp_path / "routing.json").read_text())
        assert written == order["table"], "a front that starts now finds the same"
        told.append(order)
        return {"ok": True, "version": 7}

    backend_over(a=front("a", takes), b=front("b", takes)).publish(TABLE)
    assert [order["op"] for order in told] == ["route", "route"]
    assert RoutingTable.from_json(told[0]["table"]) == TABLE
    assert (tmp_path / "routing.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("*routing*")] == ["routing.json"]


def test_a_front_that_is_away_is_an_error_and_the_others_are_told(tmp_path, front, backend_over):
    told: list[dict[str, Any]] = []

    def takes(order: dict[str, Any]) -> dict[str, Any]:
        told.append(order)
        return {"ok": True, "version": 7}

    away = FrontClient(tmp_path / "nothing.sock")
    with pytest.raises(ServerUnreachable):
        backend_over(away=away, there=front("there", takes)).publish(TABLE)
    assert len(told) == 1
    assert json.loads((tmp_path / "routing.json").read_text())["version"] == 7


def test_a_front_that_does_not_commit_in_time_is_named(front, backend_over):
    backend = backend_over(
        good=front("good", lambda order: {"ok": True}),
        slow=front("slow", lambda order: None),
        full=front("full", lambda order: {"ok": False, "error": "disk"}),
    )
    began = time.monotonic()
    assert backend.commit_logs() == ["slow", "full"]
    assert time.monotonic() - began < limits.LOG_COMMIT_WAIT_S + 1.0


def test_a_front_that_does_not_commit_keeps_no_table_waiting(front, backend_over):
    def answer(order: dict[str, Any]) -> dict[str, Any] | None:
        return {"ok": True, "version": 7} if order["op"] == "route" else None

    backend = backend_over(front=front("front", answer))
    assert backend.commit_logs() == ["front"]
    began = time.monotonic()
    backend.publish(TABLE)
    assert time.monotonic() - began < 1.0


def test_a_front_that_is_away_says_so_in_the_stats(tmp_path, front, backend_over):
    champion = ModelStats(sampled=3, ok=3)
    counted = {
        "ok": True,
        "requests": 3,
        "log": {"appended": 3, "degraded": "disk full"},
        "models": {"7": {"champ": champion.to_json()}},
    }
    backend = backend_over(
        a=front("a", lambda order: counted),
        b=FrontClient(tmp_path / "nothing.sock"),
        c=front("c", lambda order: {"ok": False, "error": "no"}),
    )
    assert backend.front_stats() == [
        FrontStats(
            front="a",
            answers=True,
            requests=3,
            log={"appended": 3},
            log_trouble="disk full",
            models={7: {"champ": champion}},
        ),
        FrontStats(front="b", answers=False),
        FrontStats(front="c", answers=False),
    ]


def test_a_front_that_hangs_is_waited_for_only_a_moment_and_asked_again_later(front, backend_over):
    asked: list[threading.Event] = []

    def hangs(order: dict[str, Any]) -> dict[str, Any]:
        release = threading.Event()
        asked.append(release)
        release.wait(10)
        return {"ok": True, "requests": len(asked), "log": {}, "models": {}}

    backend = backend_over(a=front("a", hangs))
    began = time.monotonic()
    for _ in range(3):
        assert [stats.answers for stats in backend.front_stats()] == [False]
    assert time.monotonic() - began < 3 * limits.FRONT_STATS_WAIT_S + 1.0
    assert len(asked) == 1, "no second call while the first one hangs"

    asked[0].set()
    [stats] = until(lambda: [s for s in backend.front_stats() if s.answers])
    assert stats.requests == 1
    asked[-1].set()


def test_a_supervisor_that_is_away_is_unreachable(backend_over):
    backend = backend_over()
    for call in (backend.hosts, backend.processes, lambda: backend.stop_host("x")):
        with pytest.raises(ServerUnreachable):
            call()
