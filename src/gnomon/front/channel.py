"""The way to one model host: requests in, observations out, never a crash of the front.

A host runs model code, so everything it says is checked; when anything is wrong the connection is
dropped, what was under way ends with an error, and a new connection is made.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from math import inf
from pathlib import Path

from gnomon.core import errors, limits
from gnomon.core.frames import Frame, FrameError, Kind
from gnomon.core.inference import Observation, Status
from gnomon.core.routing import ServedModel
from gnomon.front.batches import Batch, Run, gather, join, split
from gnomon.front.breaker import Breaker
from gnomon.front.dialing import Dialer
from gnomon.front.link import Link
from gnomon.front.outcomes import check_outputs, code_of, failed, not_run

_LOG = logging.getLogger("gnomon.front.channel")


class SocketChannel:
    """One connection to one host over its unix socket.

    Whenever the host is idle it gets everything that waits, as one batch: no timer waits for a
    batch to fill. A batch that fails with an error of the model is run again in halves, so that
    one bad row fails only its own request.

    Args:
        model: The version that the host must say it has.
        path: The host's socket; nothing need listen there yet.
        wedged: Told the host's name when a batch is so late that the host's own watchdog must
            have failed (a stopped process, say).

    Attributes:
        spare: Takes what still waits when the host ends, if the model has other hosts.
    """

    def __init__(
        self, model: ServedModel, path: Path, wedged: Callable[[str], None] = lambda _: None
    ) -> None:
        self.model = model
        champion = model.role == "champion"
        self._requests_max = (
            limits.CHAMPION_QUEUE_REQUESTS_MAX if champion else limits.CHALLENGER_QUEUE_REQUESTS_MAX
        )
        self._bytes_max = (
            limits.CHAMPION_QUEUE_BYTES_MAX if champion else limits.CHALLENGER_QUEUE_BYTES_MAX
        )
        self._name = str(model)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Run] = deque()
        self._again: deque[list[Run]] = deque()  # parts of a batch that failed
        self._batch: Batch | None = None  # at the host
        self._takes_batches = model.signature.row_wise
        self._rows_max = limits.BATCH_ROWS_MAX  # smaller while batches fail
        self.breaker = Breaker(inf if champion else limits.BREAKER_FAILURES)
        self.spare: Callable[[Run], None] | None = None
        self._pump_due = False
        self._count = 0  # of requests, wherever they are
        self._bytes = 0
        self._number = 0
        self._next_deadline = inf
        self._connected = asyncio.Event()
        self._retired: Callable[[], bool] | None = None
        self._closed = False
        self._complained = False
        self._wedged = wedged
        self._dialer = Dialer(path, self)
        self._dialer.dial()

    @property
    def connected(self) -> bool:
        """Say whether the host is there and has the right model version."""
        link = self._dialer.link
        return link is not None and link.greeted

    @property
    def idle(self) -> bool:
        """Say whether nobody waits for anything."""
        return not any(run.receiver for run in self._runs())

    @property
    def closed(self) -> bool:
        """Say whether it was closed, or has drained after it was retired."""
        return self._closed

    @property
    def trusted(self) -> bool:
        """Say whether the breaker is closed."""
        return self.breaker.state == "closed"

    @property
    def room(self) -> int:
        """Return how many more requests it takes."""
        return self._requests_max - self._count

    async def wait_connected(self) -> None:
        """Wait until the host is there."""
        await self._connected.wait()

    def submit(self, run: Run) -> None:
        """Run the model; see `service.Channel`."""
        refusal = self._refusal()
        if refusal is not None:
            run.end(refusal)
            return
        bytes_left = self._bytes_max - self._bytes if self._count else run.bytes
        room = run.fitting(self.room, bytes_left)
        if room < len(run):
            run.part(room, len(run)).end(self._dropped())
            if room == 0:
                return
            run = run.part(0, room)
        self._count += len(run)
        self._bytes += run.bytes
        if run.deadline < self._next_deadline:
            self._next_deadline = run.deadline
        self._waiting.append(run)
        self._pump_soon()

    def _refusal(self) -> Observation | None:
        """Return why nothing can be run now; None if it can."""
        if not self.connected:
            return not_run(self.model, "its host is not running; try again shortly.")
        if self.breaker.allows(self._loop.time()):
            return None
        left_s = self.breaker.pause_left_s(self._loop.time())
        text = (
            f"it was not run, after {self.breaker.failures} failed runs in a row; "
            f"the next try is in {left_s:.0f} s."
        )
        return not_run(self.model, text, status=Status.SKIPPED)

    def _dropped(self) -> Observation:
        text = f"its queue is full ({self._count} requests); try again shortly."
        return not_run(self.model, text, status=Status.DROPPED, error=errors.Overloaded)

    def sweep(self, now: float) -> None:
        """Give up the runs whose deadline is over; called often."""
        link = self._dialer.link
        if link is not None and not link.greeted and now >= link.hello_due:
            link.drop("said nothing")
        batch = self._batch
        if batch is not None and now > batch.replace_at:
            batch.replace_at = inf
            self._wedged(self.model.host)
        if self._retired:
            self._close_if_drained()
        if now < self._next_deadline:
            return
        self._next_deadline = inf
        for run in self._runs():
            if run.receiver is None:
                continue
            if run.deadline <= now:
                self._time_out(run)
            else:
                self._next_deadline = min(self._next_deadline, run.deadline)
        if batch is not None and not any(run.receiver for run in batch.runs):
            self._note_failure(batch)
        for given_up in [run for run in self._waiting if run.receiver is None]:
            self._waiting.remove(given_up)
            self._forget(given_up)

    def retire(self, unused: Callable[[], bool]) -> None:
        """Close as soon as nothing is under way, and nothing more will be submitted.

        Args:
            unused: Says whether that is so.
        """
        self._retired = unused
        self._close_if_drained()

    def close(self) -> None:
        """Close now; what is under way ends with an error."""
        self._closed = True
        self._dialer.close()
        self._lose("the server is stopping")

    # Sending

    def _runs(self) -> list[Run]:
        at_host = [] if self._batch is None else self._batch.runs
        return [*at_host, *(run for part in self._again for run in part), *self._waiting]

    def _forget(self, run: Run) -> None:
        """Count a run no more: it is neither at the host nor waits."""
        self._count -= len(run)
        self._bytes -= run.bytes

    def _pump_soon(self) -> None:
        """Send what waits after this turn of the loop, together with what comes within it."""
        if not self._pump_due and self._batch is None:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        link = self._dialer.link
        while self._batch is None and (self._again or self._waiting):
            if link is None or not link.writable:
                return
            runs = self._in_time(self._next_runs())
            if runs:
                self._send(link, runs)

    def _next_runs(self) -> list[Run]:
        if self._again:
            return self._again.popleft()
        if not self._takes_batches:
            run = self._waiting.popleft()
            if len(run) > 1:
                self._waiting.appendleft(run.part(1, len(run)))
                run = run.part(0, 1)
            return [run]
        return gather(self._waiting, rows_max=self._rows_max, bytes_max=limits.BATCH_BYTES_MAX)

    def _in_time(self, runs: list[Run]) -> list[Run]:
        """Return the runs that are wanted and not too late to start."""
        now = self._loop.time()
        wanted = [run for run in runs if run.receiver is not None and run.deadline > now]
        if len(wanted) < len(runs):
            for run in runs:
                if run.receiver is None or run.deadline <= now:
                    self._forget(run)
                    self._time_out(run)
        return wanted

    def _send(self, link: Link, runs: list[Run]) -> None:
        self._number += 1
        # The latest deadline: a run that is late must not take the others with it.
        deadline = max([run.deadline for run in runs])
        try:
            link.run(self._number, int(deadline * 1e9), join(runs))
        except FrameError as error:
            for run in runs:
                self._forget(run)
                text = f"the inputs are too large: {error}."
                run.end(not_run(self.model, text, error=errors.BodyTooLarge))
            return
        self._batch = Batch(self._number, runs, deadline + limits.REPLACE_AFTER_DEADLINE_S)

    # What the link calls

    def greeted(self, link: Link, uuid: str) -> None:
        """Take the host's first frame.

        Raises:
            FrameError: It has another model version.
        """
        if uuid != self.model.uuid:
            raise FrameError(f"has version {uuid[:64]!r} where {self.model.uuid} was expected")
        link.greeted = True
        self._dialer.met()
        self._complained = False
        self._connected.set()

    def received(self, frame: Frame) -> None:
        """Take an answer.

        Raises:
            FrameError: It answers nothing that was asked, or not as the signature says.
        """
        batch = self._batch
        if batch is None or frame.request != batch.number:
            raise FrameError("answered a request that was not under way")
        if frame.number >= 2**63:
            raise FrameError("stated an impossible time")
        if frame.kind is Kind.RESULT:
            check_outputs(self.model, frame.tensors)
        self._batch = None
        if frame.kind is Kind.RESULT:
            self._succeed(batch, frame)
        else:
            self._fail(batch, frame)
        self._pump_soon()

    def replies_read(self) -> None:
        """Go on after the answers of one read have been taken."""
        if self._retired:
            self._close_if_drained()

    def writable_again(self) -> None:
        """Go on sending."""
        self._pump_soon()

    def lost(self, link: Link, reason: str) -> None:
        """Note that a connection has ended."""
        if link is self._dialer.link:
            self._lose(f"its host ended ({reason})" if reason else "its host ended")

    # Endings

    def _note_failure(self, batch: Batch) -> None:
        """Count a run that failed, once."""
        if not batch.failed:
            self.breaker.failed(self._loop.time())
        batch.failed = True

    def _succeed(self, batch: Batch, frame: Frame) -> None:
        if not batch.failed:
            self.breaker.succeeded()
        parts = split(frame.tensors, batch.runs)
        if parts is None:
            # Its first axis is not the row, whatever it declares: each request by itself from now.
            self._takes_batches = False
            self._again.extend([run] for run in batch.singles())
            self._forget_ended(batch)
            return
        self._rows_max = min(2 * self._rows_max, limits.BATCH_ROWS_MAX)
        time_us = time.time_ns() // 1000
        for run, outputs in zip(batch.runs, parts, strict=True):
            self._forget(run)
            observation = Observation(
                model=self.model,
                status=Status.OK,
                outputs=outputs,
                elapsed_ns=frame.number,
                time_us=time_us,
            )
            run.end(observation)

    def _fail(self, batch: Batch, frame: Frame) -> None:
        if code_of(frame) != errors.ModelFailed.code:
            self._note_failure(batch)
        elif len(batch) > 1:
            self._halve(batch)
            return
        elif not batch.failed:
            self.breaker.succeeded()  # the model answered: what is bad is the row
        for run in batch.runs:
            self._forget(run)
            run.end(failed(self.model, frame))

    def _halve(self, batch: Batch) -> None:
        """Run a failed batch again in two parts: the host lives, one of the rows is bad.

        A model that fails on most rows would run each several times over: the next batch is
        smaller, and larger again after one that went well.
        """
        self._rows_max = max(1, self._rows_max // 2)
        self._forget_ended(batch)
        self._again.extendleft(part for part in reversed(batch.halves()) if part)

    def _forget_ended(self, batch: Batch) -> None:
        """Forget the runs of a batch that was given up; the others run again."""
        for run in batch.runs:
            if run.receiver is None:
                self._forget(run)

    def _time_out(self, run: Run) -> None:
        text, error = "no answer within the deadline.", errors.InferenceTimeout
        run.end(not_run(self.model, text, status=Status.TIMEOUT, error=error))

    def _lose(self, reason: str) -> None:
        """Drop the connection, end what is under way, and connect again."""
        link = self._dialer.let_go()
        self._connected.clear()
        if self._batch is not None and not self._closed:
            self._note_failure(self._batch)
            ids = self._batch.request_ids(limits.REQUEST_IDS_LOGGED_MAX)
            if ids:  # one of them may be what the host died of
                _LOG.warning("%s: %s with requests %s", self._name, reason, ", ".join(ids))
        spare = None if self._closed else self.spare
        spared: list[Run] = []
        if spare is not None:
            spared, self._waiting = list(self._waiting), deque()
        runs = self._runs()
        self._batch = None
        self._again.clear()
        self._waiting.clear()
        self._count = self._bytes = 0
        self._next_deadline = inf
        for run in runs:
            run.end(not_run(self.model, f"{reason} while the request was under way."))
        if spare is not None:
            for run in spared:
                spare(run)
        if link is not None and not self._closed and not self._complained:
            self._complained = True
            _LOG.warning("%s: %s", self._name, reason)
        if self._retired:
            self._close_if_drained()
        else:
            self._dialer.dial_later()

    def _close_if_drained(self) -> None:
        assert self._retired is not None
        if self.idle and not self._closed and self._retired():
            self.close()
