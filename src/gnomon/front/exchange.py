"""One deployment: the champion answers, the challengers watch.

Nothing that a challenger, the log or a wait does can change or fail the champion's answer: what
they raise is logged and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson

from gnomon.core.errors import GnomonError, InputMismatch, Overloaded
from gnomon.core.inference import Status
from gnomon.core.routing import Route
from gnomon.core.sampling import is_sampled
from gnomon.core.tensors import Array
from gnomon.front import codecs
from gnomon.front.calls import Call, fail
from gnomon.front.codecs import Document, json_text
from gnomon.front.codecs.columns import JsonColumns
from gnomon.front.feeding import Plan
from gnomon.front.group import Group, Inputs
from gnomon.front.refusals import Refusals
from gnomon.front.service import CHAMPION, Service
from gnomon.front.terms import Terms


class Exchange:
    """Answers the requests of one route.

    Those that come within one turn of the loop and ask for the same become one group.

    Args:
        service: The route, and everything by it.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        route = service.route
        self._everyone = (1 << len(route.challengers)) - 1
        self._all_sampled = all(rate >= 1 for rate in route.sampling)
        self._arrived: dict[tuple[int, int, int], _Arrivals] = {}
        self._arriving = 0
        self._room = 0  # for so many, in this turn
        self._refusals = Refusals(
            Overloaded(f"{route.champion}: too many requests wait for it; try again shortly.")
        )

    @property
    def route(self) -> Route:
        """Return the route."""
        return self.service.route

    def infer(self, terms: Terms, call: Call) -> None:
        """Answer a request when its champion has run.

        Raises:
            MalformedRequest: The body is not what it should be.
            InputMismatch: The columns do not fit the champion.
        """
        if not self._arriving:  # the first in this turn of the loop
            is_crowded = call.connection is not None and call.connection.port.is_crowded
            self._room = 0 if is_crowded else self.service.channels[CHAMPION].room
        if self._arriving >= self._room:
            # Looked at before anything else: who is refused must cost little.
            tally = self.service.tallies[CHAMPION]
            tally.began(1)
            tally.ended(Status.DROPPED, 1)
            self._refusals.add(call)
            return
        found = self._float_rows(terms, call.body)
        if found is None:
            self._infer_alone(terms, call)
            return
        plan, values, floats = found
        sampled = self._everyone if self._all_sampled else self._sampled(call.request_id)
        alike = (id(terms), id(plan), sampled)  # equal terms are one object
        arrivals = self._arrived.get(alike)
        if arrivals is None:
            arrivals = self._arrived[alike] = _Arrivals(terms, plan, sampled)
        arrivals.add(call, values, floats)
        self._arriving += 1
        if self._arriving == 1:
            self.service.loop.call_soon(self.start_groups)

    def _sampled(self, request_id: str) -> int:
        """Return which challengers run with a request, as bits."""
        route, bits = self.route, 0
        for index, (model, rate) in enumerate(zip(route.challengers, route.sampling, strict=True)):
            if is_sampled(request_id, model.label, rate):
                bits |= 1 << index
        return bits

    # Rows of floats, as nearly all requests have them

    def _float_rows(self, terms: Terms, body: bytes) -> tuple[Plan, list[Any], int] | None:
        """Read `{"column": [[float, ...], ...]}`.

        Returns:
            How it is fed, the rows, and how many values are floats for certain; None for every
            other body, and where the model takes something else. Whether the rows are rows of
            floats is not yet known.
        """
        if not terms.is_plain or not json_text.has_one_key_and_no_texts(body):
            return None
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(parsed) is not dict:
            return None
        [(name, values)] = parsed.items()
        plan = self.service.feeding.float_rows_plan(name)
        if plan is None or type(values) is not list:
            return None
        # No number has two dots: with a dot for each value all of them are floats.
        return plan, values, json_text.count(body, b".") - name.count(".")

    def start_groups(self) -> None:
        """Make groups of what has come in this turn of the loop, and run them."""
        self._arriving = 0
        arrived, self._arrived = self._arrived, {}
        for arrivals in arrived.values():
            try:
                self._start_group(arrivals)
            except Exception:
                for call in arrivals.calls:
                    fail(call)

    def _start_group(self, arrivals: _Arrivals) -> None:
        values, plan = arrivals.values, arrivals.plan
        rows = values[0] if len(values) == 1 else list(chain.from_iterable(values))
        array = self.service.feeding.float_rows(rows, sum(arrivals.floats))
        if array is None or not all(values):
            self._start_apart(arrivals)
            return
        self.service.tallies[CHAMPION].began(len(values))
        [column] = plan.champion
        columns = None if all(plan.alike) else JsonColumns({column: rows}, b"")
        inputs = Inputs(columns, plan, (array,), {column: array})
        counts = [len(each) for each in values]
        terms, sampled = arrivals.terms, arrivals.sampled
        Group(self.service, arrivals.calls, counts, inputs, terms, sampled, None).start()

    def _start_apart(self, arrivals: _Arrivals) -> None:
        """Some rows are not rows of floats: the others still go together."""
        fit = _Arrivals(arrivals.terms, arrivals.plan, arrivals.sampled)
        for call, values, floats in arrivals.each():
            if self.service.feeding.float_rows(values, floats) is not None:
                fit.add(call, values, floats)
                continue
            try:
                self._infer_alone(arrivals.terms, call)
            except GnomonError as error:
                call.refuse(error)
            except Exception:
                fail(call)
        if len(fit.calls) < len(arrivals.calls):
            if fit.calls:
                self._start_group(fit)
            return
        for call, values, floats in fit.each():  # each fits, and together they do not
            alone = _Arrivals(fit.terms, fit.plan, fit.sampled)
            alone.add(call, values, floats)
            self._start_group(alone)

    # Everything else

    def _infer_alone(self, terms: Terms, call: Call) -> None:
        """Answer a request of any format; it is a group by itself.

        Raises:
            MalformedRequest: The body is not what it should be.
            InputMismatch: The columns do not fit the champion.
        """
        document = codecs.read(call.body, terms.content_type)
        feeding, tally = self.service.feeding, self.service.tallies[CHAMPION]
        columns = document.columns
        try:
            plan = feeding.plan(columns, strict=document.strict)
            tensors = feeding.champion(columns, plan)
            logged = feeding.logged(columns, plan, tensors)
        except InputMismatch:
            tally.began(1)
            tally.ended(Status.SCHEMA, 1)
            raise
        document.check_wanted(terms.wanted, self.route)
        tally.began(1)
        sampled = self._everyone if self._all_sampled else self._sampled(call.request_id)
        inputs = Inputs(columns, plan, tensors, logged)
        rows = [_rows(document, tensors)]
        Group(self.service, [call], rows, inputs, terms, sampled, document).start()


class _Arrivals:
    """Requests of one turn that ask for the same, with rows of floats, or what looks like it."""

    __slots__ = ("calls", "floats", "plan", "sampled", "terms", "values")

    def __init__(self, terms: Terms, plan: Plan, sampled: int) -> None:
        self.terms = terms
        self.plan = plan
        self.sampled = sampled
        self.calls: list[Call] = []
        self.values: list[list[Any]] = []
        self.floats: list[int] = []  # how many values are floats for certain

    def add(self, call: Call, values: list[Any], floats: int) -> None:
        """Take one more."""
        self.calls.append(call)
        self.values.append(values)
        self.floats.append(floats)

    def each(self) -> Iterator[tuple[Call, list[Any], int]]:
        """Return what was added."""
        return zip(self.calls, self.values, self.floats, strict=True)


def _rows(document: Document, tensors: tuple[Array, ...]) -> int:
    if document.rows is not None:
        return document.rows
    return len(tensors[0]) if tensors and tensors[0].ndim else 1
