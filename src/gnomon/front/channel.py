"""The way to one model host: requests in, observations out, never a crash of the front.

A host runs model code, so everything it says is checked; when anything is wrong the connection is
dropped, what was under way ends with an error, and a new connection is made.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from math import inf
from pathlib import Path
from typing import Protocol

from gnomon.core import errors, limits
from gnomon.core.frames import Frame, FrameError, Kind, encode
from gnomon.core.inference import Observation, Status
from gnomon.core.routing import ServedModel
from gnomon.core.tensors import Array, dtype_name
from gnomon.front.link import Link
from gnomon.unix_sockets import connect

_LOG = logging.getLogger("gnomon.front.channel")
_CONTROL_CHARACTERS = dict.fromkeys((*range(32), 127), " ")
_CODES_OF_HOSTS = frozenset(
    error.code
    for error in (
        errors.InputMismatch,
        errors.ModelFailed,
        errors.LimitReached,
        errors.InferenceTimeout,
    )
)


class Receiver(Protocol):
    """Who is told how a run ended."""

    def ended(self, tag: int, observation: Observation) -> None:
        """Take the observation; `tag` is what was given to `submit`. Called once for each run."""


class Channel(Protocol):
    """Runs requests on one model, in the order they come, within their deadlines.

    Every `submit` is followed by exactly one `ended`, whatever happens; it may come before
    `submit` returns.
    """

    model: ServedModel

    @property
    def connected(self) -> bool:
        """Say whether the model's host is there."""

    def submit(
        self, tensors: tuple[Array, ...], deadline: float, receiver: Receiver, tag: int
    ) -> None:
        """Run the model.

        Args:
            tensors: One array per input, as the signature declares them.
            deadline: Loop time after which the run is given up.
            receiver: Told how it ended: ok; dropped, when the queue is full; timeout; error.
            tag: Handed back to the receiver.
        """


class _Run:
    """A request on its way through a channel. `receiver` is None once it has been told."""

    __slots__ = ("bytes", "deadline", "number", "receiver", "tag", "tensors")

    def __init__(
        self, number: int, tensors: tuple[Array, ...], deadline: float, receiver: Receiver, tag: int
    ) -> None:
        self.number = number
        self.tensors = tensors
        self.deadline = deadline
        self.receiver: Receiver | None = receiver
        self.tag = tag
        self.bytes = sum(map(_size, tensors))


class SocketChannel:
    """One connection to one host over its unix socket, a request a frame.

    Args:
        model: The version that the host must say it has.
        path: The host's socket; nothing need listen there yet.
    """

    def __init__(self, model: ServedModel, path: Path) -> None:
        self.model = model
        champion = model.role == "champion"
        self._requests_max = (
            limits.CHAMPION_QUEUE_REQUESTS_MAX if champion else limits.CHALLENGER_QUEUE_REQUESTS_MAX
        )
        self._bytes_max = (
            limits.CHAMPION_QUEUE_BYTES_MAX if champion else limits.CHALLENGER_QUEUE_BYTES_MAX
        )
        self._path = path
        self._name = str(model)
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._waiting: deque[_Run] = deque()
        self._sent: dict[int, _Run] = {}  # also those given up: the host may still answer them
        self._bytes = 0
        self._number = 0
        self._next_deadline = inf
        self._retry_s = limits.HOST_RECONNECT_MIN_S
        self._retry: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._retired = self._closed = False
        self._complained = False
        self._dial()

    # Use

    @property
    def connected(self) -> bool:
        """Say whether the host is there and has the right model version."""
        return self._link is not None and self._link.greeted

    @property
    def idle(self) -> bool:
        """Say whether nobody waits for anything."""
        return not any(run.receiver for run in (*self._sent.values(), *self._waiting))

    @property
    def closed(self) -> bool:
        """Say whether it was closed, or has drained after it was retired."""
        return self._closed

    async def wait_connected(self) -> None:
        """Wait until the host is there."""
        await self._connected.wait()

    def submit(
        self, tensors: tuple[Array, ...], deadline: float, receiver: Receiver, tag: int
    ) -> None:
        """Run the model; see `Channel`."""
        self._number += 1
        run = _Run(self._number, tensors, deadline, receiver, tag)
        count = len(self._sent) + len(self._waiting)
        full = count >= self._requests_max or (
            count > 0 and self._bytes + run.bytes > self._bytes_max
        )
        if not self.connected:
            self._tell(run, errors.HostUnavailable, "its host is not running; try again shortly")
        elif full:
            text = f"its queue is full ({count} requests); try again shortly"
            self._tell(run, errors.Overloaded, text, status=Status.DROPPED)
        else:
            self._bytes += run.bytes
            self._next_deadline = min(self._next_deadline, deadline)
            self._waiting.append(run)
            self._pump()

    def sweep(self, now: float) -> None:
        """Give up the runs whose deadline is over; called often."""
        if self._link is not None and not self._link.greeted and now >= self._link.hello_due:
            self._drop("said nothing")
        if now < self._next_deadline:
            return
        self._next_deadline = inf
        for run in (*self._sent.values(), *self._waiting):
            if run.receiver is None:
                continue
            if run.deadline <= now:
                self._time_out(run)
            else:
                self._next_deadline = min(self._next_deadline, run.deadline)
        given_up = [run for run in self._waiting if run.receiver is None]
        self._bytes -= sum(run.bytes for run in given_up)
        self._waiting = deque(run for run in self._waiting if run.receiver is not None)
        if self._retired:
            self._close_if_drained()

    def retire(self) -> None:
        """Close as soon as nothing is under way; nothing more is submitted."""
        self._retired = True
        self._close_if_drained()

    def close(self) -> None:
        """Close now; what is under way ends with an error."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._lose("the server is stopping")

    # Sending

    def _pump(self) -> None:
        link = self._link
        while self._waiting and len(self._sent) < limits.CHANNEL_WINDOW_REQUESTS:
            if link is None or not link.writable:
                return
            run = self._waiting.popleft()
            if run.receiver is None:  # given up within a sweep
                self._bytes -= run.bytes
                continue
            left_ms = int((run.deadline - self._loop.time()) * 1000)
            if left_ms < 1:  # too late to start
                self._bytes -= run.bytes
                self._time_out(run)
                continue
            try:
                frame = encode(Frame(Kind.RUN, run.number, left_ms, run.tensors))
            except FrameError as error:
                self._bytes -= run.bytes
                self._tell(run, errors.BodyTooLarge, f"the inputs are too large: {error}")
                continue
            run.tensors = ()
            self._sent[run.number] = run
            link.write(frame)

    # What the link calls

    def greeted(self, link: Link, uuid: str) -> None:
        """Take the host's first frame.

        Raises:
            FrameError: It has another model version.
        """
        if uuid != self.model.uuid:
            raise FrameError(f"has version {uuid[:64]!r} where {self.model.uuid} was expected")
        link.greeted = True
        self._retry_s = limits.HOST_RECONNECT_MIN_S
        self._complained = False
        self._connected.set()

    def received(self, frame: Frame) -> None:
        """Take an answer.

        Raises:
            FrameError: It answers nothing that was asked, or not as the signature says.
        """
        run = self._sent.get(frame.request)
        if run is None:
            raise FrameError("answered a request that was not under way")
        if frame.number >= 2**63:
            raise FrameError("stated an impossible time")
        if frame.kind is Kind.RESULT:
            self._check_outputs(frame.tensors)
        del self._sent[frame.request]
        self._bytes -= run.bytes
        if frame.kind is Kind.RESULT:
            observation = Observation(
                model=self.model,
                status=Status.OK,
                outputs=frame.tensors,
                elapsed_ns=frame.number,
                time_us=time.time_ns() // 1000,
            )
            self._deliver(run, observation)
        else:
            self._fail(run, frame)

    def replies_read(self) -> None:
        """Go on after the answers of one read have been taken."""
        if self._waiting:
            self._pump()
        elif self._retired:
            self._close_if_drained()

    def writable_again(self) -> None:
        """Go on sending."""
        self._pump()

    def lost(self, link: Link, reason: str) -> None:
        """Note that a connection has ended."""
        if link is self._link:
            self._lose(f"its host ended ({reason})" if reason else "its host ended")

    # Endings

    def _check_outputs(self, outputs: tuple[Array, ...]) -> None:
        specs = self.model.signature.outputs
        if len(outputs) != len(specs):
            raise FrameError(f"gave {len(outputs)} outputs where {len(specs)} are declared")
        for array, spec in zip(outputs, specs, strict=True):
            if dtype_name(array) != spec.dtype:
                raise FrameError(f"gave {dtype_name(array)} where {spec.dtype} is declared")

    def _fail(self, run: _Run, frame: Frame) -> None:
        code, _, message = frame.text.partition(": ")
        if code not in _CODES_OF_HOSTS:
            code = errors.ModelFailed.code
        timeout = code == errors.InferenceTimeout.code
        text = message.translate(_CONTROL_CHARACTERS)[: limits.ERROR_TEXT_CHARS_MAX]
        observation = Observation(
            model=self.model,
            status=Status.TIMEOUT if timeout else Status.ERROR,
            error=f"{self._name}: {text or 'the model failed'}",
            elapsed_ns=frame.number,
            time_us=time.time_ns() // 1000,
            code=code,
        )
        self._deliver(run, observation)

    def _time_out(self, run: _Run) -> None:
        text = "no answer within the deadline"
        self._tell(run, errors.InferenceTimeout, text, status=Status.TIMEOUT)

    def _tell(
        self,
        run: _Run,
        error: type[errors.GnomonError],
        text: str,
        *,
        status: Status = Status.ERROR,
    ) -> None:
        observation = Observation(
            model=self.model,
            status=status,
            error=f"{self._name}: {text}.",
            time_us=time.time_ns() // 1000,
            code=error.code,
        )
        self._deliver(run, observation)

    def _deliver(self, run: _Run, observation: Observation) -> None:
        receiver, run.receiver = run.receiver, None
        run.tensors = ()
        if receiver is None:  # given up before
            return
        try:
            receiver.ended(run.tag, observation)
        except Exception:
            _LOG.exception("%s: an observation was not taken", self._name)

    # Connecting

    def _dial(self) -> None:
        self._retry = None
        if self._link is None and not self._closed:
            self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            # Without a timeout, which on a unix socket means: at once or not at all.
            connection = connect(self._path, timeout_s=0.0)
            self._link = link = Link(self)
            await self._loop.create_unix_connection(lambda: link, sock=connection)
        except OSError:
            self._link = None
            self._dial_later()
        finally:
            self._connecting = None

    def _dial_later(self) -> None:
        if self._closed or self._retry is not None:
            return
        self._retry = self._loop.call_later(self._retry_s, self._dial)
        self._retry_s = min(self._retry_s * 2, limits.HOST_RECONNECT_MAX_S)

    def _drop(self, reason: str) -> None:
        if self._link is not None:
            self._link.drop(reason)

    def _lose(self, reason: str) -> None:
        """Drop the connection, end what is under way, and connect again."""
        link, self._link = self._link, None
        if link is not None:
            link.abandon()
        self._connected.clear()
        runs = [*self._sent.values(), *self._waiting]
        self._sent.clear()
        self._waiting.clear()
        self._bytes = 0
        self._next_deadline = inf
        for run in runs:
            self._tell(run, errors.HostUnavailable, f"{reason} while the request was under way")
        if link is not None and not self._closed and not self._complained:
            self._complained = True
            _LOG.warning("%s: %s", self._name, reason)
        if self._retired:
            self._close_if_drained()
        else:
            self._dial_later()

    def _close_if_drained(self) -> None:
        if self.idle and not self._closed:
            self.close()


def _size(array: Array) -> int:
    if array.dtype.kind == "O":
        return sum(map(len, array.flat)) + 4 * array.size
    return array.nbytes
