"""Requests that are logged before they are answered: pipelines with a durable or a strict log."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from gnomon.core.errors import InferenceTimeout, NotLogged
from gnomon.core.log_settings import LogSettings
from gnomon.front.group import Group
from gnomon.front.members import Part

_LOG = logging.getLogger("gnomon.front.exchange")

NOT_LOGGED = NotLogged(
    "The request cannot be logged now, and its pipeline answers nothing that is not: the log or "
    "its disk is full, or fails. Try again shortly."
)


class LoggedFirst(Group):
    """A group whose requests are answered when the log has them.

    Level durable: when they are on the disk. Else, with a log that fails closed: when it has taken
    them. What it does not take is answered all the same, or refused if it fails closed.
    """

    def start(self) -> None:
        """Run the models; see `Group`."""
        self._settings: LogSettings = self._service.route.log
        self._deadline = self._service.loop.time() + self._terms.timeout_s
        self._unsettled: dict[int, asyncio.TimerHandle] = {}  # by a part's first position
        super().start()

    def _hand_over(self, part: Part) -> bool:
        log, is_durable = self._service.log, self._settings.level == "durable"
        if self._settings.fails_closed and log.trouble is not None:
            return self._conclude(part, is_kept=False)
        first = part.positions.start
        if is_durable:
            late = self._service.loop.call_at(self._deadline, self._give_up, part)
            self._unsettled[first] = late
        try:
            is_taken = log.append(
                self._entry(part), partial(self._settle, part) if is_durable else None
            )
        except Exception:
            _LOG.exception("requests %s: not logged", self._members.request_ids(part.positions)[:3])
            is_taken = False
        if is_durable and is_taken:
            return True
        if is_durable:
            self._unsettled.pop(first).cancel()
        return self._conclude(part, is_kept=is_taken)

    def _log_inference(self, part: Part) -> None:
        """Do nothing: it has been logged."""

    def _settle(self, part: Part, is_kept: bool) -> None:
        """Take from the log whether requests are on the disk."""
        late = self._unsettled.pop(part.positions.start, None)
        if late is None:
            return  # nobody waits any more
        late.cancel()
        self._conclude(part, is_kept=is_kept)
        if self._due:
            self._answer_or_wait()
        self._let_go()

    def _conclude(self, part: Part, *, is_kept: bool) -> bool:
        """Answer what is kept, or need not be; say whether that is so."""
        if is_kept or not self._settings.fails_closed:
            return super()._hand_over(part)
        for call in self._members.take_calls(part.positions):
            call.refuse(NOT_LOGGED)
        return False

    def _give_up(self, part: Part) -> None:
        """Tell callers that the disk has not answered within their deadline."""
        del self._unsettled[part.positions.start]
        for call in self._members.take_calls(part.positions):
            call.refuse(InferenceTimeout("The log's disk did not answer within the deadline."))
        self._let_go()

    def _let_go(self) -> None:
        if not self._unsettled:
            super()._let_go()


def group_of(settings: LogSettings) -> type[Group]:
    """Return how requests are answered that are logged so."""
    return LoggedFirst if settings.level == "durable" or settings.fails_closed else Group
