"""What is to be reached, and whether it was."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.servers.measuring import Sample

Number = Callable[[Sample], float]
OURS = ("gnomon", "gnomon-async", "gnomon-joined")


@dataclass(frozen=True)
class Goal:
    """One target; `values` has one figure a round, none if something was not measured.

    Attributes:
        at_least: The figure is to be at least the target, not at most.
        stretch: What would be better still.
    """

    name: str
    target: float
    at_least: bool
    values: tuple[float, ...]
    stretch: float | None = None

    @property
    def value(self) -> float | None:
        """Return the median."""
        return statistics.median(self.values) if self.values else None

    @property
    def met(self) -> bool | None:
        """Say whether the target is reached; None: it was not measured."""
        return self._reaches(self.target)

    @property
    def verdict(self) -> str:
        """Return `met`, `MISSED` or `not measured`."""
        if self.met is None:
            return "not measured"
        stretched = self.stretch is not None and self._reaches(self.stretch)
        return ("met, stretch too" if stretched else "met") if self.met else "MISSED"

    def line(self) -> str:
        """Return the goal as a line of the table."""
        value = "-" if self.value is None else f"{self.value:.3g}"
        target = f"{'>=' if self.at_least else '<='} {self.target:g}"
        if self.stretch is not None:
            target += f" (stretch {self.stretch:g})"
        return f"{self.name:<56} {value:>8} {target:<22} {self.verdict}"

    def _reaches(self, target: float) -> bool | None:
        if self.value is None:
            return None
        return self.value >= target if self.at_least else self.value <= target


class Samples:
    """All measurements of a run, and how to compare them.

    Args:
        families: Of each server, by name.
    """

    def __init__(self, samples: Iterable[Sample], families: dict[str, str]) -> None:
        self.all = list(samples)
        self._families = families

    def of(self, server: str, connections: int) -> dict[int, Sample]:
        """Return a server's samples by round."""
        return {
            sample.round: sample
            for sample in self.all
            if (sample.server, sample.connections) == (server, connections)
        }

    def best(self, family: str, connections: int) -> dict[int, Sample]:
        """Return, by round, the sample of the family's setting with the most requests a second."""
        found: dict[int, Sample] = {}
        for sample in self.all:
            if (self._families[sample.server], sample.connections) != (family, connections):
                continue
            if sample.round not in found or found[sample.round].rps < sample.rps:
                found[sample.round] = sample
        return found

    def values(self, server: str, connections: int, number: Number) -> tuple[float, ...]:
        """Return one figure a round."""
        return tuple(number(sample) for sample in self.of(server, connections).values())


def ratios(ours: dict[int, Sample], theirs: dict[int, Sample], number: Number) -> tuple[float, ...]:
    """Return one ratio a round: only what was measured in one round is compared."""
    return tuple(
        number(ours[each]) / number(theirs[each])
        for each in sorted(ours.keys() & theirs.keys())
        if number(theirs[each])
    )


def goals(samples: Samples) -> list[Goal]:
    """Return all targets with what was measured."""
    return [*_throughput(samples), *_crowded(samples), *_alone(samples)]


def _rps(sample: Sample) -> float:
    return sample.rps


def _throughput(samples: Samples) -> list[Goal]:
    ours = samples.of("gnomon", 64)
    peers: Sequence[tuple[str, float, float | None]] = [
        ("uvicorn", 1.8, 2.2),
        ("mosec", 1.2, None),
        ("mlserver", 12, None),
        ("litserve", 40, None),
        ("bentoml", 40, None),
    ]
    found = [
        Goal(
            f"req/s, champion alone / {peer}, 64 connections",
            target,
            True,
            ratios(ours, samples.best(peer, 64), _rps),
            stretch,
        )
        for peer, target, stretch in peers
    ]
    cpu_us = tuple(sample.cpu_us for sample in ours.values())
    found.append(Goal("CPU us a request, champion alone, 64", 20, False, cpu_us, 16))
    for name, target in (("gnomon-async", 0.6), ("gnomon-joined", 0.5)):
        values = ratios(samples.of(name, 64), ours, _rps)
        found.append(Goal(f"req/s, {name} / champion alone, 64", target, True, values))
    unlogged = ratios(ours, samples.of("gnomon-unlogged", 64), _rps)
    found.append(Goal("req/s, log on / log off, champion alone, 64", 0.9, True, unlogged))
    lags_ms = tuple(s.lag_ms for s in ours.values() if s.lag_ms is not None)
    found.append(Goal("ms, p99.9 of the loop's delay, champion alone, 64", 2, False, lags_ms))
    return found


def _crowded(samples: Samples) -> list[Goal]:
    found = [
        Goal(
            f"requests that failed, {name}, 256 connections",
            0,
            False,
            samples.values(name, 256, lambda sample: float(sample.failed)),
        )
        for name in OURS
    ]
    dropped = tuple(
        float(sum(s.counts.get("log dropped", 0) for s in samples.all if s.round == each))
        for each in sorted({s.round for s in samples.all if s.server in OURS})
    )
    pauses_ms = tuple(
        max(told)
        for each in sorted({s.round for s in samples.all})
        if (
            told := [
                s.collector_ms
                for s in samples.all
                if s.round == each and s.collector_ms is not None
            ]
        )
    )
    return [
        *found,
        Goal("entries that the log dropped, all of gnomon", 0, False, dropped),
        Goal("ms, longest collector pause, all of gnomon", 5, False, pauses_ms),
    ]


def _alone(samples: Samples) -> list[Goal]:
    ours, bare = samples.of("gnomon", 1), samples.best("uvicorn", 1)
    longest = tuple(sample.max_ms for sample in ours.values())
    return [
        Goal(
            "p50, champion alone / uvicorn, 1 connection",
            1.4,
            False,
            ratios(ours, bare, lambda sample: sample.p50_ms),
        ),
        Goal(
            "p99, champion alone / uvicorn, 1 connection",
            1.2,
            False,
            ratios(ours, bare, lambda sample: sample.p99_ms),
        ),
        Goal("ms, longest answer, champion alone, 1 connection", 25, False, longest),
    ]
