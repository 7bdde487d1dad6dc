"""Processes of a server killed under load, and what its log must hold afterwards.

Callers ask two pipelines, whose answers wait for the disk or do not, under request ids of their
own. What they ask says who asked and how often, and what a model answers is known, so that every
answer and every logged request can be judged by itself.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import secrets
import signal
import sqlite3
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gnomon.core.errors import GnomonError
from tests import hostile_models
from tests.end_to_end.conftest import Server
from tests.waiting import until

FACTORS = {"champion": 2.0, "rival": 3.0}
LEVELS = ("durable", "async")
ON_THE_WAY_S = 0.25  # an answer that had left may be read so long after the kill
BACK_WITHIN_S = 70.0  # who dies often is started again after a pause of up to a minute


def deploy(server: Server, scratch: Path) -> dict[str, Any]:
    """Deploy a pipeline for each level, with a challenger, and return them."""
    client = server.client()
    versions = []
    for name, factor in FACTORS.items():
        path = scratch / f"{name}.onnx"
        path.write_bytes(hostile_models.doubling(factor=factor))
        versions.append(client.upload_model(name, path))
    champion, rival = versions
    return {
        level: client.build_pipeline(level)
        .add_shadow_deploy(champion, [rival])
        .configure_log(level)
        .deploy()
        for level in LEVELS
    }


@dataclass
class History:
    """What callers sent and heard, of each pipeline.

    Attributes:
        name: What their request ids begin with.
        sent: Request ids.
        answered: When each answer was read, by the monotonic clock.
        wrong: Answers that are not what the champion says.
        failures: Requests without an answer, by what happened.
        kills: Who was killed when.
    """

    name: str = field(default_factory=lambda: secrets.token_hex(4))
    sent: dict[str, set[str]] = field(default_factory=lambda: {level: set() for level in LEVELS})
    answered: dict[str, dict[str, float]] = field(
        default_factory=lambda: {level: {} for level in LEVELS}
    )
    wrong: list[object] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    kills: list[tuple[str, float]] = field(default_factory=list)

    def count(self) -> int:
        """Return how many answers there were."""
        return sum(map(len, self.answered.values()))

    def longest_gap_s(self, start: float, end: float) -> float:
        """Return the longest time without any answer between two moments."""
        every = [when for each in self.answered.values() for when in list(each.values())]
        moments = sorted([start, *(when for when in every if start < when < end), end])
        return max(after - before for before, after in pairwise(moments))


@contextlib.contextmanager
def asked(
    server: Server, pipelines: dict[str, Any], *, callers: int = 4, pause_s: float = 0.0
) -> Iterator[History]:
    """Ask the pipelines in turn, from several threads, for as long as the block runs."""
    history, over = History(), threading.Event()
    urls = {level: pipeline.url() for level, pipeline in pipelines.items()}
    threads = [
        threading.Thread(target=_ask, args=(history, over, urls, server.token, number, pause_s))
        for number in range(callers)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: history.count() > 10 * callers)
        yield history
        before = history.count()
        until(lambda: history.count() > before + 10 * callers)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _ask(
    history: History,
    over: threading.Event,
    urls: dict[str, str],
    token: str,
    caller: int,
    pause_s: float,
) -> None:
    address = urlsplit(next(iter(urls.values())))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    for number in itertools.count():
        level = LEVELS[number % len(LEVELS)]
        request_id = f"{history.name}.{caller}.{number}"
        if over.wait(pause_s) if pause_s else over.is_set():
            break
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Gnomon-Request-Id": request_id,
        }
        body = json.dumps({"x": [[caller, number]]})
        history.sent[level].add(request_id)
        try:
            connection.request("POST", urlsplit(urls[level]).path, body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            history.failures[type(error).__name__] += 1
            connection.close()
            over.wait(0.01)
            continue
        if response.status != 200:
            history.failures[f"{response.status} {answer['error_code']}"] += 1
            over.wait(0.01)
            continue
        history.answered[level][request_id] = time.monotonic()
        if answer[0]["outputs"][0]["Float"]["data"] != [2.0 * caller, 2.0 * number]:
            history.wrong.append(answer)
    connection.close()


def kill(
    server: Server,
    history: History,
    victims: Sequence[str],
    choose: random.Random,
    *,
    pause_s: float,
) -> None:
    """Kill processes one after the other, each at a random moment, and wait until it is back.

    Args:
        pause_s: Before each, on average.
    """
    for victim in victims:
        before = history.count()
        until(lambda count=before: history.count() > count + 20, within_s=BACK_WITHIN_S)
        threading.Event().wait(2 * pause_s * choose.random())
        pid = server.pids(BACK_WITHIN_S)[victim]  # what dies often is restarted after a pause
        assert pid is not None
        history.kills.append((victim, time.monotonic()))
        os.kill(pid, signal.SIGKILL)
        until(
            lambda of=victim, was=pid: server.pids(BACK_WITHIN_S).get(of) not in (None, was),
            within_s=BACK_WITHIN_S,
        )


@contextlib.contextmanager
def database_locked(server: Server) -> Iterator[None]:
    """Hold the lock of the metadata database, as another program would that writes it."""
    with contextlib.closing(
        sqlite3.connect(server.home / "metadata.sqlite", isolation_level=None, timeout=5.0)
    ) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@dataclass
class Findings:
    """What is wrong in the log of one pipeline.

    Attributes:
        requests: How many it holds.
        lost: Answered and not in it.
        lost_before_s: How long before the kill of a front the oldest of these was answered.
        doubled: In it more than once.
        torn: Not as they were asked or answered.
        unknown: That nobody sent.
        open: With a challenger that is pending.
    """

    requests: int = 0
    lost: list[str] = field(default_factory=list)
    lost_before_s: float = 0.0
    doubled: list[str] = field(default_factory=list)
    torn: list[object] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    open: int = 0


def check(history: History, level: str, pipeline: Any) -> Findings:
    """Compare what callers of a pipeline heard with what its log holds."""
    found, entries = Findings(), until(lambda: _log(pipeline), within_s=BACK_WITHIN_S)
    seen: Counter[str] = Counter()
    for entry in entries:
        name, *numbers = entry.request_id.split(".")
        if name != history.name:
            continue
        seen[entry.request_id] += 1
        caller, number = map(int, numbers)
        expected = [[FACTORS[entry.label] * caller, FACTORS[entry.label] * number]]
        outputs = [array.tolist() for array in entry.output]
        found.open += entry.status == "pending"
        is_whole = entry.input == [[caller, number]] and outputs == (
            [expected] if entry.status == "ok" else []
        )
        if not is_whole or (entry.label == "champion" and entry.status != "ok"):
            found.torn.append(entry)
    found.requests = len(seen)
    found.doubled = [each for each, count in seen.items() if count > len(FACTORS)]
    found.torn += [each for each, count in seen.items() if count < len(FACTORS)]
    found.unknown = sorted(seen.keys() - history.sent[level])
    found.lost = sorted(history.answered[level].keys() - seen.keys())
    fronts = [when for victim, when in history.kills if victim.startswith("front")]
    for request_id in found.lost:
        when = history.answered[level][request_id]
        ages = [kill - when for kill in fronts if kill > when - ON_THE_WAY_S]
        found.lost_before_s = max(found.lost_before_s, min(ages, default=float("inf")))
    return found


def _log(pipeline: Any) -> Any:
    """Return the whole log, or None while a front that was killed does not answer yet."""
    with contextlib.suppress(GnomonError, UserWarning), warnings.catch_warnings():
        warnings.simplefilter("error")
        entries = pipeline.logs(limit=10_000_000)
        if all(entry.status != "pending" for entry in entries):
            return entries
    return None
