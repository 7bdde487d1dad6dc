"""Callers that never pause and look at every answer, in threads with a connection each."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from tests.waiting import until

Answer = list[dict[str, Any]]


def first_output(answer: Answer) -> npt.NDArray:
    """Return the champion's first output of a tensor answer, with dtype and shape."""
    [(kind, tensor)] = answer[0]["outputs"][0].items()
    dtype = {"Float": np.float32, "Double": np.float64, "Int64": np.int64}[kind]
    return np.array(tensor["data"], dtype=dtype).reshape(tensor["dim"])


@dataclass
class Heard:
    """What callers heard so far.

    Attributes:
        failures: Requests without an answer of status 200, by status and code or by exception.
        wrong: Answers that are not what they should be.
        refused: Callers that found nobody at the address any more.
    """

    answers: int = 0
    again: int = 0
    refused: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[Answer] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    def latency_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent)) * 1_000


class Callers:
    """Ask from several threads, one keep-alive connection each, as long as the block runs.

    Args:
        bodies: JSON documents, asked in turn.
        is_right: Says of the body's index and the answer whether they belong together.
        pause_s: Seconds that each caller waits between two requests.
        most: So many requests, and no more.
        retries: A request that got no answer, or 429 or 503, is sent a second time, on a new
            connection. A caller whose connection is refused stops: nobody is there.
    """

    def __init__(
        self,
        url: str,
        token: str,
        bodies: Sequence[dict[str, Any]],
        is_right: Callable[[int, Answer], bool] = lambda index, answer: True,
        *,
        threads: int = 4,
        pause_s: float = 0.0,
        most: int | None = None,
        retries: bool = False,
        **headers: str,
    ) -> None:
        parts = urlsplit(url)
        self._address, self._path = (parts.hostname, parts.port), parts.path
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self._bodies = [json.dumps(body).encode() for body in bodies]
        self._is_right = is_right
        self._tickets = itertools.count() if most is None else iter(range(most))
        self._pause_s = pause_s
        self._attempts = 2 if retries else 1
        self._over = threading.Event()
        self._mutex = threading.Lock()
        self._threads = [
            threading.Thread(target=self._call, args=(first,)) for first in range(threads)
        ]
        self.heard = Heard()

    def __enter__(self) -> Heard:
        for thread in self._threads:
            thread.start()
        until(lambda: self.heard.answers >= 3 * len(self._threads))
        return self.heard

    def __exit__(self, kind: object, *_: object) -> None:
        heard = self.heard
        if kind is None:
            before = heard.answers
            until(lambda: heard.answers > before + 3 or not self.calling)
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def calling(self) -> bool:
        """Say whether any caller still calls."""
        return any(thread.is_alive() for thread in self._threads)

    def _call(self, index: int) -> None:
        connection = self._connection()
        try:
            while not self._over.is_set() and self._may_ask():
                index = (index + 1) % len(self._bodies)
                if self._pause_s:
                    self._over.wait(self._pause_s)
                start = time.monotonic()
                for attempt in range(self._attempts):
                    trouble = self._ask(connection, index, start)
                    if trouble is None:
                        break
                    self.heard.again += attempt
                    connection.close()
                    connection = self._connection()
                else:
                    with self._mutex:
                        self.heard.failures[trouble] += 1
        except ConnectionRefusedError:
            self.heard.refused += 1
        finally:
            connection.close()

    def _may_ask(self) -> bool:
        with self._mutex:
            return next(self._tickets, None) is not None

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=20)

    def _ask(self, connection: http.client.HTTPConnection, index: int, start: float) -> str | None:
        """Ask once; return what went wrong."""
        try:
            if connection.sock is None:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.request("POST", self._path, self._bodies[index], self._headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except ConnectionRefusedError:
            raise
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        if response.status != 200:
            return f"{response.status} {answer['error_code']}"
        with self._mutex:
            self.heard.answers += 1
            self.heard.latencies_s.append(time.monotonic() - start)
            if not self._is_right(index, answer):
                self.heard.wrong.append(answer)
        return None
