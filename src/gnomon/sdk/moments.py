"""Times as users give them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gnomon.core.errors import Invalid


def moment(name: str, given: Any) -> str | None:
    """Return a time as the server takes it; None for None.

    Args:
        name: What it is called where it was given.
        given: A time, or a text as "2026-11-23T08:00:00+01:00". Without a zone it is UTC.

    Raises:
        Invalid: It is no time.
    """
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given if isinstance(given, str) else given.isoformat())
    except (ValueError, AttributeError, TypeError):
        raise Invalid(
            f'{name} must be a time, as datetime.now(UTC) or "2026-11-23T08:00:00+01:00"; got '
            f"{str(given)[:80]!r}."
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()
