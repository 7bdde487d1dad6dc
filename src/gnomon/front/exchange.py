"""One deployment: the champion answers, the challengers watch.

Nothing that a challenger, the log or a wait does can change or fail the champion's answer: what
they raise is logged and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from gnomon.core.errors import GnomonError, InputMismatch, Overloaded
from gnomon.core.inference import InferenceLog, Status
from gnomon.core.routing import Route
from gnomon.core.sampling import is_sampled
from gnomon.core.tensors import Array
from gnomon.front import codecs
from gnomon.front.calls import Call, fail
from gnomon.front.codecs import Document, float_bodies
from gnomon.front.codecs.columns import JsonColumns
from gnomon.front.feeding import Plan
from gnomon.front.group import Inputs
from gnomon.front.logged_first import NOT_LOGGED, group_of
from gnomon.front.refusals import Refusals
from gnomon.front.service import CHAMPION, Channel, Service, UnderWay
from gnomon.front.tallies import Tally
from gnomon.front.terms import Terms
from gnomon.front.ways import Ways


class Exchange:
    """Answers the requests of one route.

    Those that come within one turn of the loop and ask for the same become one group.

    Args:
        service: The route, and everything by it.
        ways: The services of a route with a split: which one, each request decides.
    """

    def __init__(self, service: Service, ways: Ways | None = None) -> None:
        self.service = service
        self._ways = ways
        route = self.route
        self._everyone = (1 << len(route.challengers)) - 1
        self._all_sampled = all(rate >= 1 for rate in route.sampling)
        self._floats = float_bodies.Columns()
        self._arrived: dict[tuple[int, int, int], _Arrivals] = {}
        self._arriving = 0
        self._room = 0  # for so many, in this turn
        self._refusals = Refusals(
            Overloaded(f"{route.champion}: too many requests wait for it; try again shortly.")
        )
        self._unlogged = Refusals(NOT_LOGGED)
        self._group = group_of(route.log)
        self._fails_closed = route.log.fails_closed

    @classmethod
    def of(
        cls,
        route: Route,
        *,
        channels: Mapping[str, Channel],
        tallies: Mapping[str, Tally],
        log: InferenceLog,
    ) -> Exchange:
        """Return the exchange of a route; the arguments are those of `Service`."""
        service = partial(
            Service, channels=channels, tallies=tallies, log=log, under_way=UnderWay()
        )
        if not route.stages:
            return cls(service(route))
        ways = Ways(route, channels, tallies, service)
        return cls(ways.usual, ways if route.has_splits else None)

    @property
    def route(self) -> Route:
        """Return the route."""
        return self.service.route if self._ways is None else self._ways.route

    @property
    def is_idle(self) -> bool:
        """Say whether no request that was taken will go to a model any more."""
        return not self._arriving and not self.service.under_way.groups

    def infer(self, terms: Terms, call: Call) -> None:
        """Answer a request when its champion has run.

        Raises:
            MalformedRequest: The body is not what it should be.
            InputMismatch: The columns do not fit the champion.
        """
        if not self._arriving:  # the first in this turn of the loop
            is_crowded = call.connection is not None and call.connection.port.is_crowded
            self._room = 0 if is_crowded else self.service.channels[CHAMPION].room
            if self._fails_closed and self.service.log.trouble is not None:
                self._drop(call, self._unlogged)
                return
        if self._arriving >= self._room:
            # Looked at before anything else: who is refused must cost little.
            self._drop(call, self._refusals)
            return
        service = self.service
        if self._ways is not None:
            if self._ways.needs_columns:
                self._infer_alone(terms, call)
                return
            service = self._ways.of(call.request_id, {})
        name = self._floats.column(call.body) if terms.is_plain else None
        plan = None if name is None else service.feeding.float_rows_plan(name)
        if plan is None:
            self._infer_alone(terms, call)
            return
        sampled = self._everyone if self._all_sampled else self._sampled(call.request_id)
        alike = (id(terms), id(plan), sampled)  # equal terms are one object; a plan is a service's
        arrivals = self._arrived.get(alike)
        if arrivals is None:
            arrivals = self._arrived[alike] = _Arrivals(service, terms, plan, sampled, [])
        arrivals.calls.append(call)
        self._arriving += 1
        if self._arriving == 1:
            self.service.loop.call_soon(self.start_groups)

    def _drop(self, call: Call, refusals: Refusals) -> None:
        tally = self.service.tallies[CHAMPION]
        tally.began(1)
        tally.ended(Status.DROPPED, 1)
        refusals.add(call)

    def _sampled(self, request_id: str) -> int:
        """Return which challengers run with a request, as bits."""
        route, bits = self.route, 0
        for index, (model, rate) in enumerate(zip(route.challengers, route.sampling, strict=True)):
            if is_sampled(request_id, model.label, rate):
                bits |= 1 << index
        return bits

    # Rows of floats, as nearly all requests have them

    def start_groups(self) -> None:
        """Make groups of what has come in this turn of the loop, and run them."""
        self._arriving = 0
        arrived, self._arrived = self._arrived, {}
        for arrivals in arrived.values():
            self._start_group(arrivals)

    def _start_group(self, arrivals: _Arrivals) -> None:
        try:
            found = _read(arrivals)
            if found is None:
                self._start_apart(arrivals)
            else:
                self._run_together(arrivals, *found)
        except GnomonError as error:
            for call in arrivals.calls:
                call.refuse(error)
        except Exception:
            for call in arrivals.calls:
                fail(call)

    def _run_together(
        self, arrivals: _Arrivals, rows: list[Any], counts: list[int], array: Array
    ) -> None:
        service, terms, plan, sampled, calls = arrivals
        service.tallies[CHAMPION].began(len(calls))
        [column] = plan.champion
        columns = None if all(plan.alike) else JsonColumns({column: rows}, b"")
        inputs = Inputs(columns, plan, (array,), {column: array})
        self._group(service, calls, counts, inputs, terms, sampled, None).start()

    def _start_apart(self, arrivals: _Arrivals) -> None:
        """Some are not rows of floats: the others still go together."""
        calls = arrivals.calls
        if len(calls) == 1:
            self._infer_alone(arrivals.terms, calls[0])
            return
        fit: list[Call] = []
        apart: list[Call] = []
        for call in calls:
            alone = _read(arrivals._replace(calls=[call]))
            (apart if alone is None else fit).append(call)
        if apart and fit:
            self._start_group(arrivals._replace(calls=fit))
        for call in apart or fit:  # if each of them fits, then not together
            self._start_group(arrivals._replace(calls=[call]))

    # Everything else

    def _infer_alone(self, terms: Terms, call: Call) -> None:
        """Answer a request of any format; it is a group by itself.

        Raises:
            MalformedRequest: The body is not what it should be.
            InputMismatch: The columns do not fit the champion.
        """
        document = codecs.read(call.body, terms.content_type)
        columns, service = document.columns, self.service
        tally = service.tallies[CHAMPION]
        try:
            if self._ways is not None:
                service = self._ways.of(call.request_id, columns)
                tally = service.tallies[CHAMPION]
            feeding = service.feeding
            plan = feeding.plan(columns, strict=document.strict)
            tensors = feeding.champion(columns, plan)
            logged = feeding.logged(columns, plan, tensors)
        except InputMismatch:
            tally.began(1)
            tally.ended(Status.SCHEMA, 1)
            raise
        document.check_wanted(terms.wanted, service.route)
        tally.began(1)
        sampled = self._everyone if self._all_sampled else self._sampled(call.request_id)
        inputs = Inputs(columns, plan, tensors, logged)
        rows = [_rows(document, tensors)]
        self._group(service, [call], rows, inputs, terms, sampled, document).start()


class _Arrivals(NamedTuple):
    """Requests of one turn that ask for the same, with rows of floats, or what looks like it."""

    service: Service
    terms: Terms
    plan: Plan
    sampled: int
    calls: list[Call]


def _rows(document: Document, tensors: tuple[Array, ...]) -> int:
    if document.rows is not None:
        return document.rows
    return len(tensors[0]) if tensors and tensors[0].ndim else 1


def _read(arrivals: _Arrivals) -> tuple[list[Any], list[int], Array] | None:
    """Return the rows of requests, how many each has, and what the champion takes of them.

    Returns:
        None if they are not rows of floats, each of them.
    """
    [column] = arrivals.plan.champion
    found = float_bodies.read([call.body for call in arrivals.calls], column)
    if found is None:
        return None
    rows, counts, floats = found
    array = arrivals.service.feeding.float_rows(rows, floats)
    return None if array is None else (rows, counts, array)
