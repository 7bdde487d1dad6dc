"""Writes the answers of a group: all at once where they are plain, else one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gnomon.front import codecs
from gnomon.front.calls import Call
from gnomon.front.codecs import Document, Result
from gnomon.front.members import Members, Part
from gnomon.front.service import Service
from gnomon.front.terms import Terms

Seen = Mapping[int, Sequence[Part]]  # by tag: what challengers did, as far as it is waited for


class Answers:
    """The answers of the requests of one group.

    Args:
        sampled: The challengers that run too, as bits: bit i is the route's i-th.
        document: The body of the only request; None where all have `{"column": rows of floats}`.
    """

    __slots__ = ("_members", "_sampled", "_service", "_terms", "document")

    def __init__(
        self,
        service: Service,
        members: Members,
        terms: Terms,
        sampled: int,
        document: Document | None,
    ) -> None:
        self._service = service
        self._members = members
        self._terms = terms
        self._sampled = sampled
        self.document = document

    def write(self, part: Part, calls: list[Call], seen: Seen) -> None:
        """Answer the requests of a part."""
        if self.document is None and self._write_together(part, calls, seen):
            return
        for position, call in zip(part.positions, calls, strict=True):
            self._write_one(part, position, call, seen)

    def _write_together(self, part: Part, calls: list[Call], seen: Seen) -> bool:
        """Answer plain requests for tensors; False if they are not that plain."""
        shadows = []
        for index, model in enumerate(self._service.route.challengers):
            if self._sampled >> index & 1:
                ended = seen.get(index + 1, ())
                if len(ended) > 1 or (ended and ended[0].positions != part.positions):
                    return False
                shadows.append((model, ended[0].observation if ended else None))
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
        headers = self._log_header()
        for call, body in zip(calls, bodies, strict=True):
            call.answer(200, body, headers=headers)
        return True

    def _log_header(self) -> bytes:
        """Return the header line that says that an answer is not logged, or not yet."""
        log = self._service.log
        if log.trouble is None:
            return b""
        return b"X-Gnomon-Log: dropped\r\n" if log.is_full else b"X-Gnomon-Log: waiting\r\n"

    def _write_one(self, part: Part, position: int, call: Call, seen: Seen) -> None:
        document = self.document or codecs.read(call.body, self._terms.content_type)
        only = range(position, position + 1)
        observations = []
        for index in range(len(self._service.route.challengers)):
            found = None
            for ended in seen.get(index + 1, ()):
                if position in ended.positions:
                    found = self._members.within(ended, only)
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
        headers = answer.headers + self._log_header()
        call.answer(200, answer.body, content_type=answer.content_type, headers=headers)
