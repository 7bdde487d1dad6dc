"""How a pipeline's requests are logged, as its definition says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gnomon.core import limits
from gnomon.core.errors import Invalid, LimitReached

Level = Literal["async", "durable", "off"]
WhenFull = Literal["serve", "fail_closed"]

_GROUPS = ("in.", "out.", "out_")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How a pipeline's requests are logged.

    Attributes:
        level: "async": an answer does not wait for its entry. "durable": it waits until the entry
            is on the disk. "off": nothing is logged.
        when_full: What becomes of a request that cannot be logged, because the disk or the log is
            full. "serve": it is answered. "fail_closed": it is refused.
        redact: Columns that are never stored, as the log's table names them.
    """

    level: Level = "async"
    when_full: WhenFull = "serve"
    redact: tuple[str, ...] = ()

    @property
    def fails_closed(self) -> bool:
        """Say whether nothing is answered that cannot be logged."""
        return self.when_full == "fail_closed"

    def check(self) -> None:
        """Refuse what cannot be done; whether a model gives an output is not known here.

        Raises:
            Invalid: A word is none of those above, a column is none or stands twice, or what is
                not logged at all is to fail closed.
            LimitReached: More columns than can be left out.
        """
        _check_word("level", self.level, get_args(Level))
        _check_word("when_full", self.when_full, get_args(WhenFull))
        if self.level == "off" and self.fails_closed:
            raise Invalid(
                'With level="off" nothing is logged, and when_full="fail_closed" answers nothing '
                'that is not logged: set when_full="serve" too.'
            )
        if len(self.redact) > limits.LOG_REDACTED_COLUMNS_MAX:
            raise LimitReached(
                f"redact names {len(self.redact)} columns; at most "
                f"{limits.LOG_REDACTED_COLUMNS_MAX} can be left out."
            )
        for column in self.redact:
            _check_column(column)
        [(column, count)] = Counter(self.redact).most_common(1) or [("", 1)]
        if count > 1:
            raise Invalid(f"redact names {column[:80]!r} {count} times.")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, without those that are usual."""
        values: dict[str, Any] = {}
        if self.level != USUAL_LOG.level:
            values["level"] = self.level
        if self.when_full != USUAL_LOG.when_full:
            values["when_full"] = self.when_full
        if self.redact:
            values["redact"] = list(self.redact)
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LogSettings:
        """Read what `to_json` wrote."""
        return cls(**{**value, "redact": tuple(value.get("redact", ()))})

    def text(self) -> str:
        """Return the settings in a line: "durable, fail_closed, without in.card"."""
        words: list[str] = [self.level]
        if self.fails_closed:
            words.append(self.when_full)
        if self.redact:
            words.append(f"without {', '.join(self.redact)}")
        return ", ".join(words)


USUAL_LOG = LogSettings()


def _check_word(name: str, found: object, known: tuple[str, ...]) -> None:
    if found not in known:
        words = ", ".join(f'"{word}"' for word in known)
        raise Invalid(f"{name} must be one of {words}, got {str(found)[:80]!r}.")


def _check_column(column: object) -> None:
    if isinstance(column, str) and column.startswith(_GROUPS):
        _, dot, field = column.partition(".")
        if dot and field:
            return
    raise Invalid(
        'redact takes columns of the log: "in.<field>", "out.<field>" or "out_<label>.<field>", '
        f"got {str(column)[:80]!r}."
    )
