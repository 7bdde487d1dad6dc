"""What each case came to, against the targets, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.isolation.load import Seen

ALONE = "alone"
AGAIN = "alone-again"
P99_FACTOR = 1.3
P99_EXTRA_MS = 2.0
_VOLATILE = ("challengers", "elapsed", "request_id", "shadow_data", "time")
HEADER = (
    f"{'challenger':<12} {'asked':>7} {'success':>9} {'identical':>9} {'p50 ms':>8} {'p99 ms':>8} "
    f"{'max ms':>8} {'client':>7}  {'verdict':<7} the challenger's runs"
)


@dataclass(frozen=True)
class Result:
    """One case.

    Attributes:
        answered: With status 200.
        identical: Of these, how many say of the champion what it says alone.
        client_busy: The share of its core that the client used: near 1 it measured itself.
        runs: The challenger's, by status.
    """

    name: str
    asked: int
    answered: int
    identical: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    client_busy: float
    failures: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)

    def missed(self, alone_p99_ms: float) -> list[str]:
        """Return which targets were missed."""
        found = []
        if not self.asked or self.answered < self.asked:
            found.append("success")
        if self.identical < self.answered:
            found.append("identical")
        if self.p99_ms > P99_FACTOR * alone_p99_ms + P99_EXTRA_MS:
            found.append("p99")
        return found

    def line(self, alone_p99_ms: float) -> str:
        """Return the case as a line of the table."""
        missed = self.missed(alone_p99_ms)
        counts = {**self.runs, **self.failures}
        notes = ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "-"
        if missed:
            notes += f"  (missed: {', '.join(missed)})"
        return (
            f"{self.name:<12} {self.asked:>7,} {share(self.answered, self.asked):>9} "
            f"{share(self.identical, self.answered):>9} {self.p50_ms:>8.2f} {self.p99_ms:>8.2f} "
            f"{self.max_ms:>8.2f} {self.client_busy:>6.0%}   {'MISSED' if missed else 'met':<7} "
            f"{notes}"
        )


def share(part: int, whole: int) -> str:
    """Return a share in percent that is rounded down: 100 % is all of them."""
    if not whole:
        return "-"
    return "100 %" if part == whole else f"{part * 100_000 // whole / 1_000:.3f} %"


def of_champion(answer: bytes) -> str:
    """Return what an answer says of the champion, times and ids left out."""
    (content,) = json.loads(answer)
    return json.dumps({key: value for key, value in content.items() if key not in _VOLATILE})


def result(name: str, seen: Seen, expected: str, runs: Mapping[str, int]) -> Result:
    """Sum a load up.

    Args:
        expected: What the champion says alone, as `of_champion` returns it.
        runs: The challenger's, by status.
    """
    said = Counter(of_champion(answer) for answer in seen.answers)
    return Result(
        name=name,
        asked=seen.asked,
        answered=len(seen.answers),
        identical=said[expected],
        p50_ms=seen.latency_ms(50),
        p99_ms=seen.latency_ms(99),
        max_ms=seen.latency_ms(100),
        client_busy=seen.busy,
        failures=seen.failures,
        runs=dict(runs),
    )


def missed(results: Sequence[Result]) -> int:
    """Return how many targets were missed, those of the champion alone again left out."""
    alone_p99_ms = results[0].p99_ms
    return sum(len(each.missed(alone_p99_ms)) for each in results if each.name != AGAIN)


def text(results: Sequence[Result]) -> str:
    """Return the table; the first result is the champion alone."""
    alone_p99_ms = results[0].p99_ms
    allowed_ms = P99_FACTOR * alone_p99_ms + P99_EXTRA_MS
    return "\n".join(
        [
            HEADER,
            *(each.line(alone_p99_ms) for each in results),
            f"targets: success 100 %, identical 100 %, p99 at most {P99_FACTOR} x alone + "
            f"{P99_EXTRA_MS:g} ms = {allowed_ms:.2f} ms; '{AGAIN}' shows how steady the machine is",
        ]
    )


def document(results: Sequence[Result], settings: Mapping[str, Any]) -> str:
    """Return everything as JSON."""
    alone_p99_ms = results[0].p99_ms
    rows = [{**asdict(each), "missed": each.missed(alone_p99_ms)} for each in results]
    return json.dumps({**settings, "results": rows}, indent=1) + "\n"
