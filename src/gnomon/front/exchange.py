"""One deployment: the champion answers, the challengers watch.

Nothing that a challenger, the log or a wait does can change or fail the champion's answer: what
they raise is logged and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from gnomon.core import limits
from gnomon.core.errors import GnomonError, InputMismatch, MalformedRequest, from_code
from gnomon.core.inference import (
    InferenceEntry,
    InferenceLog,
    Observation,
    ObservationEntry,
    Status,
)
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array
from gnomon.front import codecs
from gnomon.front.calls import Call, fail
from gnomon.front.channel import Channel
from gnomon.front.codecs import Document, Result
from gnomon.front.codecs.columns import Columns
from gnomon.front.feeding import Feeding, Plan

_LOG = logging.getLogger("gnomon.front.exchange")
CHAMPION = 0  # the tag of its runs; challenger i has i + 1


@dataclass(slots=True)
class Tally:
    """How the runs of one model of one deployment ended; `pending` are still under way."""

    ok: int = 0
    error: int = 0
    timeout: int = 0
    dropped: int = 0
    schema: int = 0
    skipped: int = 0
    pending: int = 0

    def count(self, status: Status) -> None:
        """Count one more of a status."""
        if status is Status.OK:  # by far the most
            self.ok += 1
        else:
            setattr(self, status.value, getattr(self, status.value) + 1)

    def to_json(self) -> dict[str, int]:
        """Return the counts by status."""
        return asdict(self)


class Exchange:
    """Answers the requests of one route.

    Args:
        channels: By the name of the model's host.
        tallies: By label; they outlive a change of route.
    """

    def __init__(
        self,
        route: Route,
        *,
        channels: Mapping[str, Channel],
        tallies: Mapping[str, Tally],
        log: InferenceLog,
    ) -> None:
        self.route = route
        self.log = log
        self.loop = asyncio.get_running_loop()
        self.channels = tuple(channels[model.host] for model in route.models())
        self.tallies = tuple(tallies[model.label] for model in route.models())
        self._feeding = Feeding(route)
        self._shadow_wait_ms = route.shadow_wait_ms if route.mode == "joined" else 0

    def infer(self, call: Call) -> None:
        """Answer a request when its champion has run.

        Raises:
            MalformedRequest: Body or headers are not what they should be.
            InputMismatch: The columns do not fit the champion.
        """
        headers = call.headers
        timeout_ms = _milliseconds(
            headers,
            b"x-gnomon-timeout-ms",
            int(limits.INFER_TIMEOUT_S * 1000),
            least=1,
            most=int(limits.INFER_TIMEOUT_MAX_S * 1000),
        )
        wait_ms = _milliseconds(
            headers,
            b"x-gnomon-shadow-wait-ms",
            self._shadow_wait_ms,
            least=0,
            most=limits.SHADOW_WAIT_MAX_MS,
        )
        document = codecs.read(call.body, headers.get(b"content-type"))
        columns = document.columns
        try:
            plan = self._feeding.plan(columns, strict=document.strict)
            tensors = self._feeding.champion(columns, plan)
            inputs = self._feeding.logged(columns, plan, tensors)
        except InputMismatch:
            self.tallies[CHAMPION].schema += 1
            raise
        inference = Inference(self, call, document, inputs, _rows(document, tensors), wait_ms)
        now = self.loop.time()
        self.tallies[CHAMPION].pending += 1
        self.channels[CHAMPION].submit(tensors, now + timeout_ms / 1000, inference, CHAMPION)
        if self.route.challengers and not inference.failed:
            patience_s = max(2 * timeout_ms / 1000, limits.CHALLENGER_TIMEOUT_MIN_S)
            self._feed_challengers(inference, columns, plan, tensors, now + patience_s)

    def trusted(self) -> set[int]:
        """Return the tags of the challengers that may be waited for.

        One that failed again and again still runs when it may, and nobody waits for it.
        """
        return {tag for tag, channel in enumerate(self.channels) if tag and channel.trusted}

    def _feed_challengers(
        self,
        inference: Inference,
        columns: Columns,
        plan: Plan,
        champion: tuple[Array, ...],
        deadline: float,
    ) -> None:
        for index, model in enumerate(self.route.challengers):
            tag = index + 1
            self.tallies[tag].pending += 1
            try:
                tensors = self._feeding.challenger(index, columns, plan, champion)
                self.channels[tag].submit(tensors, deadline, inference, tag)
            except InputMismatch as error:
                inference.ended(tag, _not_run(model, Status.SCHEMA, error.message))
            except Exception:
                _LOG.exception("request %s: %s was not fed", inference.request_id, model)
                text = f"{model}: an internal error; it was not run."
                inference.ended(tag, _not_run(model, Status.ERROR, text))


class Inference:
    """One request under way: who waits for it, and which models have ended.

    Attributes:
        failed: The caller has got an error; what the challengers do is counted, not logged.
    """

    __slots__ = (
        "_awaited",
        "_call",
        "_champion",
        "_document",
        "_exchange",
        "_inputs",
        "_observations",
        "_rows",
        "_time_us",
        "_timer",
        "_wait_ms",
        "failed",
        "request_id",
    )

    def __init__(
        self,
        exchange: Exchange,
        call: Call,
        document: Document,
        inputs: Mapping[str, Array],
        rows: int,
        wait_ms: int,
    ) -> None:
        self.request_id = call.request_id
        self.failed = False
        self._exchange = exchange
        self._call: Call | None = call
        self._document: Document | None = document
        self._inputs = inputs
        self._rows = rows
        self._wait_ms = wait_ms
        self._time_us = call.time_ns // 1000
        self._champion: Observation | None = None
        self._observations: list[Observation | None] = [None] * len(exchange.route.challengers)
        self._awaited = exchange.trusted() if wait_ms else set()
        self._timer: asyncio.TimerHandle | None = None

    def ended(self, tag: int, observation: Observation) -> None:
        """Take a model's observation; never raises."""
        tally = self._exchange.tallies[tag]
        tally.pending -= 1
        tally.count(observation.status)
        if tag != CHAMPION:
            try:
                self._awaited.discard(tag)
                self._challenger_ended(tag - 1, observation)
            except Exception:
                _LOG.exception("request %s: an observation was lost", self.request_id)
            return
        try:
            self._champion_ended(observation)
        except GnomonError as error:
            self._refuse(error)
        except Exception:
            self._break()

    def _champion_ended(self, observation: Observation) -> None:
        assert self._document is not None
        if observation.status is not Status.OK:
            raise from_code(observation.code, observation.error or "The model failed.")
        self._document.check_outputs(observation)
        self._champion = observation
        self._log_inference(observation)
        if self._awaited:
            self._timer = self._exchange.loop.call_later(self._wait_ms / 1000, self._answer)
        else:
            self._answer()

    def _challenger_ended(self, index: int, observation: Observation) -> None:
        if self._observations[index] is not None:
            raise RuntimeError("a challenger ended twice")
        self._observations[index] = observation
        if self._champion is None:
            return  # logged after the champion, if that has an answer at all
        self._append(
            ObservationEntry(
                request_id=self.request_id,
                route=self._exchange.route,
                rows=self._rows,
                observation=observation,
            )
        )
        if not self._awaited and self._timer is not None:
            self._answer()

    def _log_inference(self, champion: Observation) -> None:
        route = self._exchange.route
        self._append(
            InferenceEntry(
                request_id=self.request_id,
                time_us=self._time_us,
                route=route,
                inputs=self._inputs,
                rows=self._rows,
                champion=champion,
                sampled=route.challengers,
            )
        )
        self._inputs = {}
        for observation in self._observations:
            if observation is not None:
                self._append(
                    ObservationEntry(
                        request_id=self.request_id,
                        route=route,
                        rows=self._rows,
                        observation=observation,
                    )
                )

    def _append(self, entry: InferenceEntry | ObservationEntry) -> None:
        try:
            self._exchange.log.append(entry)
        except Exception:
            _LOG.exception("request %s: not logged", self.request_id)

    def _answer(self) -> None:
        """Write the answer; the request, its transport and its parsed body are let go."""
        call, document = self._call, self._document
        assert call is not None
        assert document is not None
        assert self._champion is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            answer = document.answer(
                Result(
                    self._exchange.route,
                    self.request_id,
                    self._time_us // 1000,
                    self._champion,
                    tuple(self._observations),
                )
            )
            self._let_go()
            call.answer(200, answer.body, content_type=answer.content_type, headers=answer.headers)
        except Exception:
            self._call = call
            self._break()

    def _refuse(self, error: GnomonError) -> None:
        call = self._call
        self.failed = True
        self._let_go()
        if call is not None:
            call.refuse(error)

    def _break(self) -> None:
        """Answer for the exception being handled, which is a fault of ours."""
        call = self._call
        self.failed = self._champion is None
        self._let_go()
        if call is not None:
            fail(call)

    def _let_go(self) -> None:
        self._call = self._document = None
        self._inputs = {}


def _rows(document: Document, tensors: tuple[Array, ...]) -> int:
    if document.rows is not None:
        return document.rows
    return len(tensors[0]) if tensors and tensors[0].ndim else 1


def _not_run(model: ServedModel, status: Status, text: str) -> Observation:
    return Observation(model=model, status=status, error=text, time_us=time.time_ns() // 1000)


def _milliseconds(
    headers: Mapping[bytes, bytes], name: bytes, default: int, *, least: int, most: int
) -> int:
    text = headers.get(name)
    if text is None:
        return default
    value = int(text) if text.isdigit() and len(text) <= 9 else -1
    if not least <= value <= most:
        raise MalformedRequest(
            f"{name.decode().title()} must be a whole number from {least} to {most}."
        )
    return value
