"""How a pipeline's requests are to be logged, as a notebook says it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

from gnomon.core.errors import Invalid
from gnomon.core.log_settings import Level, LogSettings, WhenFull


class LogConfiguring:
    """The part of a pipeline that says how its requests are to be logged."""

    _log: LogSettings

    def configure_log(
        self,
        level: Level | None = None,
        when_full: WhenFull | None = None,
        redact: Iterable[str] | None = None,
    ) -> Self:
        """Say how requests are to be logged, from the next `deploy()` on; what is None stays.

        It belongs to the version that is deployed: a pipeline that is fetched has what its newest
        version had, and an older version that is deployed again has its own.

        Args:
            level: "async": an answer does not wait for its entry in the log, which is committed
                within 50 ms. "durable": it waits until the entry is on the disk. "off": nothing
                is logged.
            when_full: What becomes of a request that cannot be logged, because the log or its
                disk is full, or fails. "serve": it is answered, and what the log drops is
                counted. "fail_closed": it is refused with status 507 (`core.errors.NotLogged`).
            redact: Columns that are never stored, as the log's table names them: "in.<field>",
                "out.<field>", "out_<label>.<field>". They are left out of the log altogether, and
                so are the texts of challengers' errors, which may quote them. [] stores all.

        Returns:
            The pipeline itself.

        Raises:
            Invalid: Another word, a column that is none, or "fail_closed" for what is not logged.
                That no model gives an output is found by `deploy()`.
            LimitReached: More columns than can be left out.
        """
        changed: dict[str, Any] = {}
        if level is not None:
            changed["level"] = level
        if when_full is not None:
            changed["when_full"] = when_full
        if redact is not None:
            changed["redact"] = _columns(redact)
        settings = replace(self._log, **changed)
        settings.check()
        self._log = settings
        return self


def _columns(given: Any) -> tuple[Any, ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Iterable):
        raise Invalid(
            f'redact must be a list of columns, as ["in.card"], got {type(given).__name__}.'
        )
    return tuple(given)
