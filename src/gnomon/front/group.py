"""Requests that came together and travel together: through the models, into answers and the log.

What is done once for a group is not done for each of its requests: one array, one run, one entry
in the log. A batch that fails may split it; then its parts end one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
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
from gnomon.front.answering import Answers
from gnomon.front.batches import Run
from gnomon.front.calls import Call, fail
from gnomon.front.codecs import Document
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


Feed = Callable[[int, range, float], None]  # of which challenger, which requests, by when

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
        self._answers = Answers(service, self._members, terms, sampled, document)
        self._open = len(calls)  # requests that the champion has not ended
        self._unfed = 1 if terms.wait_ms else 0  # times that challengers are still to be fed
        self._answered: list[tuple[range, Ticket]] = []  # what the log has
        self._due: list[Part] = []  # has an answer that still waits for challengers
        self._seen: dict[int, list[Part]] = {}  # by tag: what challengers did, while one waits
        self._early: list[tuple[int, Part]] = []  # what they did before the champion
        self._awaited: dict[int, int] = {}  # by tag: requests that a challenger has not ended
        self._timer: asyncio.TimerHandle | None = None
        self._is_fed = False  # no model will be given anything any more

    def start(self) -> None:
        """Run the champion; the challengers beside it if somebody waits for them, else after it."""
        self._service.under_way.groups += 1
        everyone = range(len(self._members))
        now = self._service.loop.time()
        tensors, timeout_s = self._inputs.tensors, self._terms.timeout_s
        if self._terms.wait_ms:
            self._awaited = dict.fromkeys(self._service.trusted(self._sampled), len(everyone))
        self._submit(CHAMPION, tensors, everyone, now + timeout_s)
        if self._terms.wait_ms:
            if self._open or self._answered:
                self._feed_first(everyone)
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

    def request_ids(self, positions: range) -> list[str]:
        """Return the ids of these requests; see `batches.Receiver`."""
        return self._members.request_ids(positions)

    # The champion

    def _champion_ended(self, part: Part) -> None:
        self._open -= len(part.positions)
        part = self._checked(part)
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
        elif self._service.later:
            self._feed_later(part)
        self._let_go()

    def _go_on(self, part: Part) -> None:
        """Log what has been answered, and run the challengers."""
        self._log_inference(part)
        self._feed_first(part.positions)
        if self._service.later:
            self._feed_later(part)
        self._unfed -= 1
        self._let_go()

    def _checked(self, part: Part) -> Part:
        """Add what the validations say; whatever is wrong with them, the answer stands."""
        checking = self._service.checking
        if checking is None or part.observation.status is not Status.OK:
            return part
        members, logged = self._members, self._inputs.logged
        inputs = {name: members.cut(array, part.positions) for name, array in logged.items()}
        try:
            rows = sum(members.rows(part.positions))
            return Part(part.positions, checking.checked(part.observation, inputs, rows))
        except Exception:
            _LOG.exception("requests %s: not validated", members.request_ids(range(3)))
            return part

    def _serve(self, part: Part) -> bool:
        """Answer and log what there is an answer for; refuse what there is none for."""
        try:
            if part.observation.status is not Status.OK:
                raise from_code(
                    part.observation.code, part.observation.error or "The model failed."
                )
            if self._answers.document is not None:
                self._answers.document.check_outputs(part.observation, self._terms.wanted)
        except GnomonError as error:
            for call in self._members.take_calls(part.positions):
                call.refuse(error)
            return False
        except Exception:
            for call in self._members.take_calls(part.positions):
                fail(call)
            return False
        return self._hand_over(part)

    def _hand_over(self, part: Part) -> bool:
        """Answer, or let the answers wait for challengers; say whether there are any."""
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
        if self._open or self._unfed:
            return
        if not self._is_fed:
            self._is_fed = True
            self._service.under_way.groups -= 1
        if not self._due:
            self._inputs, self._answers.document = _NOTHING, None

    def _log_inference(self, part: Part) -> None:
        """Log what has an answer; whatever is wrong with that, the answer stands."""
        try:
            self._service.log.append(self._entry(part))
        except Exception:
            _LOG.exception("requests %s: not logged", self._members.request_ids(range(3)))

    def _entry(self, part: Part) -> InferenceEntry:
        positions, ticket = part.positions, Ticket()
        self._answered.append((positions, ticket))
        members, logged = self._members, self._inputs.logged
        return InferenceEntry(
            request_ids=members.request_ids(positions),
            times_us=[time_ns // 1000 for time_ns in members.times_ns(positions)],
            rows=members.rows(positions),
            route=self._service.route,
            inputs={name: members.cut(array, positions) for name, array in logged.items()},
            champion=part.observation,
            sampled=[self._sampled] * len(positions),
            ticket=ticket,
        )

    # Challengers

    def _feed_first(self, positions: range) -> None:
        """Run the challengers that take what the requests gave."""
        self._feed_each(self._service.first, self._feed, positions)

    def _feed_later(self, part: Part) -> None:
        """Run the challengers behind the first stage; without an answer they have no input."""
        if part.observation.status is Status.OK:
            self._feed_each(
                self._service.later, lambda *to: self._feed_passed(part, *to), part.positions
            )
            return
        for index in self._service.later:
            self._no_longer_await(index + 1, len(part.positions))

    def _feed_each(self, indices: range, feed: Feed, positions: range) -> None:
        """Run the sampled challengers; whatever is wrong with that, the champion is not touched."""
        patience_s = max(2 * self._terms.timeout_s, limits.CHALLENGER_TIMEOUT_MIN_S)
        deadline = self._service.loop.time() + patience_s
        for index in indices:
            if not self._sampled >> index & 1:
                continue
            model = self._service.route.challengers[index]
            try:
                feed(index, positions, deadline)
            except Exception:
                _LOG.exception(
                    "requests %s: %s was not fed", self._members.request_ids(range(3)), model
                )
                text = "an internal error; it was not run."
                self._refuse(index, positions, not_run(model, text))

    def _feed_passed(self, part: Part, index: int, positions: range, deadline: float) -> None:
        try:
            tensors = self._service.feeding.passed(index, part.observation)
        except InputMismatch as error:
            model = self._service.route.challengers[index]
            self._refuse(index, positions, misfit(model, error))
        else:
            self._submit(index + 1, tensors, positions, deadline)

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
            self._answers.write(part, calls, self._seen)
        except Exception:
            for call in calls:
                if call.answer_bytes is None:
                    fail(call)
        self._service.tallies[CHAMPION].took(self._members.took_ns(part.positions))
