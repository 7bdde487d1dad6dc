"""Requests that came together and travel together: through the models, into answers and the log.

What is done once for a group is not done for each of its requests: one array, one run, one entry
in the log. A batch that fails may split it; then its parts end one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from gnomon.core import limits
from gnomon.core.errors import GnomonError, InputMismatch, from_code
from gnomon.core.inference import (
    InferenceEntry,
    Observation,
    ObservationEntry,
    Status,
    Ticket,
)
from gnomon.core.tensors import Array
from gnomon.front import codecs
from gnomon.front.batches import Run
from gnomon.front.calls import Call, fail
from gnomon.front.codecs import Document, Result
from gnomon.front.codecs.columns import Columns, JsonColumns
from gnomon.front.feeding import Plan
from gnomon.front.members import Members, Part, common
from gnomon.front.outcomes import misfit, not_run
from gnomon.front.service import CHAMPION, Service
from gnomon.front.terms import Terms

_LOG = logging.getLogger("gnomon.front.exchange")


class Inputs(NamedTuple):
    """What the requests of a group give to the models.

    Attributes:
        columns: As sent, the rows of all requests one after the other; None if no challenger
            needs more than the champion's tensors.
        plan: Which of them feed which model.
        tensors: The champion's.
        logged: What the log keeps.
    """

    columns: Columns | None
    plan: Plan
    tensors: tuple[Array, ...]
    logged: Mapping[str, Array]


_NOTHING = Inputs(None, Plan((), (), (), (), ()), (), {})


class Group:
    """Requests of one deployment with the same columns, terms and challengers sampled.

    Args:
        calls: The requests.
        rows: Input rows of each.
        sampled: The challengers that run too, as bits: bit i is the route's i-th.
        document: The body of the only request; None where all have `{"column": rows of floats}`.
    """

    def __init__(
        self,
        service: Service,
        calls: list[Call],
        rows: list[int],
        inputs: Inputs,
        terms: Terms,
        sampled: int,
        document: Document | None,
    ) -> None:
        self._service = service
        self._members = Members(calls, rows)
        self._inputs = inputs
        self._terms = terms
        self._sampled = sampled
        self._document = document
        self._open = len(calls)  # requests that the champion has not ended
        self._unfed = 1 if terms.wait_ms else 0  # times that challengers are still to be fed
        self._answered: list[tuple[range, Ticket]] = []  # what the log has
        self._due: list[Part] = []  # has an answer that still waits for challengers
        self._seen: dict[int, list[Part]] = {}  # by tag: what challengers did, while one waits
        self._early: list[tuple[int, Part]] = []  # what they did before the champion
        self._awaited: dict[int, int] = {}  # by tag: requests that a challenger has not ended
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Run the champion; the challengers beside it if somebody waits for them, else after it."""
        everyone = range(len(self._members))
        now = self._service.loop.time()
        tensors, timeout_s = self._inputs.tensors, self._terms.timeout_s
        if self._terms.wait_ms:
            self._awaited = dict.fromkeys(self._service.trusted(self._sampled), len(everyone))
        self._submit(CHAMPION, tensors, everyone, now + timeout_s)
        if self._terms.wait_ms:
            if self._open or self._answered:
                self._feed_challengers(everyone)
            self._unfed -= 1
            self._let_go()

    def ended(self, tag: int, positions: range, observation: Observation) -> None:
        """Take what a model did with some of the requests; see `batches.Receiver`."""
        self._service.tallies[tag].ended(observation.status, len(positions))
        if tag == CHAMPION:
            self._champion_ended(Part(positions, observation))
        elif self._open:
            self._early.append((tag, Part(positions, observation)))
        else:
            self._challenger_ended(tag, Part(positions, observation))

    # The champion

    def _champion_ended(self, part: Part) -> None:
        self._open -= len(part.positions)
        is_served = self._serve(part)
        if not self._open:
            early, self._early = self._early, []
            for tag, each in early:
                self._challenger_ended(tag, each)
        if self._due:
            self._answer_or_wait()
        if is_served and not self._terms.wait_ms:
            # In the next turn of the loop: what was answered in this one is sent before that.
            self._unfed += 1
            self._service.loop.call_soon(self._go_on, part)
        self._let_go()

    def _go_on(self, part: Part) -> None:
        """Log what has been answered, and run the challengers."""
        self._log_inference(part)
        self._feed_challengers(part.positions)
        self._unfed -= 1
        self._let_go()

    def _serve(self, part: Part) -> bool:
        """Answer and log what there is an answer for; refuse what there is none for."""
        try:
            if part.observation.status is not Status.OK:
                raise from_code(
                    part.observation.code, part.observation.error or "The model failed."
                )
            if self._document is not None:
                self._document.check_outputs(part.observation, self._terms.wanted)
        except GnomonError as error:
            for call in self._members.take_calls(part.positions):
                call.refuse(error)
            return False
        except Exception:
            for call in self._members.take_calls(part.positions):
                fail(call)
            return False
        if self._terms.wait_ms:
            self._log_inference(part)
            self._due.append(part)
        else:
            self._answer(part)
        return True

    def _answer_or_wait(self) -> None:
        if not self._awaited:
            self._answer_due()
        elif self._timer is None:
            self._timer = self._service.loop.call_later(
                self._terms.wait_ms / 1000, self._stop_waiting
            )

    def _let_go(self) -> None:
        """Let go of what no model needs any more: challengers may run for long."""
        if not self._open and not self._unfed and not self._due:
            self._inputs, self._document = _NOTHING, None

    def _log_inference(self, part: Part) -> None:
        """Log what has an answer; whatever is wrong with that, the answer stands."""
        try:
            self._append_inference(part)
        except Exception:
            _LOG.exception("requests %s: not logged", self._members.request_ids(range(3)))

    def _append_inference(self, part: Part) -> None:
        positions, ticket = part.positions, Ticket()
        self._answered.append((positions, ticket))
        members, logged = self._members, self._inputs.logged
        entry = InferenceEntry(
            request_ids=members.request_ids(positions),
            times_us=[time_ns // 1000 for time_ns in members.times_ns(positions)],
            rows=members.rows(positions),
            route=self._service.route,
            inputs={name: members.cut(array, positions) for name, array in logged.items()},
            champion=part.observation,
            sampled=[self._sampled] * len(positions),
            ticket=ticket,
        )
        self._service.log.append(entry)

    # Challengers

    def _feed_challengers(self, positions: range) -> None:
        """Run the sampled challengers; whatever is wrong with that, the champion is not touched."""
        patience_s = max(2 * self._terms.timeout_s, limits.CHALLENGER_TIMEOUT_MIN_S)
        deadline = self._service.loop.time() + patience_s
        for index, model in enumerate(self._service.route.challengers):
            if not self._sampled >> index & 1:
                continue
            try:
                self._feed(index, positions, deadline)
            except Exception:
                _LOG.exception(
                    "requests %s: %s was not fed", self._members.request_ids(range(3)), model
                )
                text = "an internal error; it was not run."
                self._refuse(index, positions, not_run(model, text))

    def _feed(self, index: int, positions: range, deadline: float) -> None:
        columns, plan, tensors, _ = self._inputs
        tensors = tuple([self._members.cut(array, positions) for array in tensors])
        if columns is not None and len(positions) < len(self._members):
            assert isinstance(columns, JsonColumns)
            columns = columns.rows(*self._members.rows_between(positions))
        try:
            tensors = self._service.feeding.challenger(index, columns, plan, tensors)
        except InputMismatch as error:
            if len(positions) == 1 or isinstance(plan.challengers[index], str):
                model = self._service.route.challengers[index]
                self._refuse(index, positions, misfit(model, error))
                return
            for position in positions:  # not all of them may be what does not fit
                self._feed(index, range(position, position + 1), deadline)
        else:
            self._submit(index + 1, tensors, positions, deadline)

    def _refuse(self, index: int, positions: range, observation: Observation) -> None:
        """End what a challenger was not given."""
        tag = index + 1
        self._service.tallies[tag].began(len(positions))
        self.ended(tag, positions, observation)

    def _submit(
        self, tag: int, tensors: tuple[Array, ...], positions: range, deadline: float
    ) -> None:
        rows = self._members.rows(positions)
        if tag != CHAMPION:
            self._service.tallies[tag].began(len(positions))
        self._service.channels[tag].submit(
            Run(tensors, positions, rows, deadline=deadline, receiver=self, tag=tag)
        )

    def _challenger_ended(self, tag: int, part: Part) -> None:
        """Take what a challenger did; whatever is wrong with it, the champion is not touched."""
        try:
            self._log_observation(part)
        except Exception:
            _LOG.exception(
                "requests %s: an observation was lost", self._members.request_ids(range(3))
            )
        elapsed_ns = part.observation.elapsed_ns
        if elapsed_ns:
            self._service.tallies[tag].took([elapsed_ns] * len(part.positions))
        if self._due or self._awaited:
            self._seen.setdefault(tag, []).append(part)
            self._no_longer_await(tag, len(part.positions))

    def _log_observation(self, part: Part) -> None:
        """Log what a challenger did with those requests that have an answer."""
        for answered, ticket in self._answered:
            both = common(answered, part.positions)
            if both:
                entry = ObservationEntry(
                    request_ids=self._members.request_ids(both),
                    rows=self._members.rows(both),
                    route=self._service.route,
                    ticket=ticket,
                    positions=range(both.start - answered.start, both.stop - answered.start),
                    observation=self._members.within(part, both),
                )
                self._service.log.append(entry)

    def _no_longer_await(self, tag: int, count: int) -> None:
        if tag in self._awaited:
            self._awaited[tag] -= count
            if self._awaited[tag] <= 0:
                del self._awaited[tag]
                if not self._awaited:
                    self._stop_waiting()

    def _stop_waiting(self) -> None:
        """Answer what waits, and let nothing wait any more."""
        self._awaited.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._answer_due()
        self._let_go()

    # Answers

    def _answer_due(self) -> None:
        for part in self._due:
            self._answer(part)
        self._due.clear()

    def _answer(self, part: Part) -> None:
        """Write the answers; the callers and what they sent are let go."""
        calls = self._members.take_calls(part.positions)
        try:
            if not self._answer_together(part, calls):
                for position, call in zip(part.positions, calls, strict=True):
                    self._answer_one(part, position, call)
        except Exception:
            for call in calls:
                if call.answer_bytes is None:
                    fail(call)
        now_ns = time.time_ns()
        self._service.tallies[CHAMPION].took(
            [max(0, now_ns - time_ns) for time_ns in self._members.times_ns(part.positions)]
        )

    def _answer_together(self, part: Part, calls: list[Call]) -> bool:
        """Answer plain requests for tensors; False if they are not that plain."""
        if self._document is not None:
            return False
        shadows = []
        for index, model in enumerate(self._service.route.challengers):
            if self._sampled >> index & 1:
                seen = self._seen.get(index + 1, ())
                if len(seen) > 1 or (seen and seen[0].positions != part.positions):
                    return False
                shadows.append((model, seen[0].observation if seen else None))
        bodies = self._service.tensor_answers.bodies(
            [call.body for call in calls],
            self._members.request_ids(part.positions),
            [time_ns // 1_000_000 for time_ns in self._members.times_ns(part.positions)],
            self._members.rows(part.positions),
            part.observation,
            shadows,
        )
        if bodies is None:
            return False
        for call, body in zip(calls, bodies, strict=True):
            call.answer(200, body)
        return True

    def _answer_one(self, part: Part, position: int, call: Call) -> None:
        document = self._document or codecs.read(call.body, self._terms.content_type)
        only = range(position, position + 1)
        observations = []
        for index in range(len(self._service.route.challengers)):
            found = None
            for seen in self._seen.get(index + 1, ()):
                if position in seen.positions:
                    found = self._members.within(seen, only)
            observations.append(found)
        result = Result(
            self._service.route,
            call.request_id,
            call.time_ns // 1_000_000,
            self._members.within(part, only),
            tuple(observations),
            self._terms.wanted,
            self._sampled,
        )
        answer = document.answer(result)
        call.answer(200, answer.body, content_type=answer.content_type, headers=answer.headers)
