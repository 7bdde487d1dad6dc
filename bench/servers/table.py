"""The figures as text and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from bench.servers.goals import Goal
from bench.servers.measuring import Sample

LIBRARIES = ("gnomon", "onnxruntime", "numpy", "orjson", "uvicorn", "uvloop", "httptools")
QUIET_PERCENT = 5.0
HEADER = (
    f"{'server':<16} {'conn':>4} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8} "
    f"{'RSS MB':>7} {'errors':>6} {'others':>7}"
)


@dataclass(frozen=True)
class Row:
    """The medians of one server at one number of connections; errors are added up."""

    server: str
    connections: int
    rounds: int
    rps: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_us: float
    rss_mb: float
    pss_mb: float
    foreign_percent: float
    failed: int
    notes: str

    def line(self) -> str:
        """Return the row as text."""
        connections = str(self.connections or "-")
        line = (
            f"{self.server:<16} {connections:>4} {self.rps:>8,.0f} {self.p50_ms:>8.3f} "
            f"{self.p99_ms:>8.3f} {self.cpu_us:>8.1f} {self.rss_mb:>7.0f} {self.failed:>6} "
            f"{self.foreign_percent:>5.0f} %"
        )
        return f"{line}  {self.notes}".rstrip()


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Return a row for each server and number of connections, as they were first measured."""
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.server, sample.connections), []).append(sample)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Sample]) -> Row:
    def median(name: str) -> float:
        return statistics.median(getattr(sample, name) for sample in group)

    return Row(
        server=group[0].server,
        connections=group[0].connections,
        rounds=len(group),
        rps=median("rps"),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        max_ms=max(sample.max_ms for sample in group),
        cpu_us=median("cpu_us"),
        rss_mb=median("rss_mb"),
        pss_mb=median("pss_mb"),
        foreign_percent=median("foreign_percent"),
        failed=sum(sample.failed for sample in group),
        notes=notes(group),
    )


def notes(group: Sequence[Sample]) -> str:
    """Say what a figure alone would hide: errors by kind, what challengers and log left out."""
    found: dict[str, int] = {}
    for sample in group:
        for name, number in (*sample.errors.items(), *sample.counts.items()):
            found[name] = found.get(name, 0) + number
    usual = ("champion ok", "champion sampled", "challengers sampled", "log uncommitted")
    return ", ".join(f"{name} {number}" for name, number in found.items() if name not in usual)


def machine() -> dict[str, object]:
    """Describe the machine and how busy it is."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def text(
    before: Mapping[str, object],
    found: Sequence[Row],
    goals: Sequence[Goal],
    skipped: Mapping[str, str],
    about: Mapping[str, str],
) -> str:
    """Return everything that is printed at the end."""
    load = "{:.2f} {:.2f} {:.2f}"
    loads = load.format(*before["load"]), load.format(*os.getloadavg())  # type: ignore[misc]
    lines = [
        f"{before['cores']} cores, {before['machine']}, Python {before['python']}, "
        f"load {loads[0]} before, {loads[1]} after",
        "",
        HEADER,
        *(row.line() for row in found),
        "",
        *(goal.line() for goal in goals),
    ]
    lines += ["", *(f"{name:<16} {about[name]}" for name in dict.fromkeys(r.server for r in found))]
    lines += [f"not measured: {name}: {reason}" for name, reason in skipped.items()]
    noisy = [row.server for row in found if row.foreign_percent > QUIET_PERCENT]
    if noisy:
        lines += ["", "Others used the servers' core (column `others`): believe ratios, roughly."]
    return "\n".join(lines)


def document(
    before: Mapping[str, object],
    samples: Sequence[Sample],
    goals: Sequence[Goal],
    skipped: Mapping[str, str],
    settings: Mapping[str, object],
) -> str:
    """Return everything as JSON."""
    content = {
        "machine": before,
        "load_after": os.getloadavg(),
        "settings": settings,
        "rows": [asdict(row) for row in rows(samples)],
        "goals": [
            {**asdict(goal), "value": goal.value, "met": goal.met, "verdict": goal.verdict}
            for goal in goals
        ],
        "not_measured": dict(skipped),
        "samples": [asdict(sample) for sample in samples],
    }
    return json.dumps(content, indent=1) + "\n"


def write(path: Path, content: str) -> None:
    """Write a file and say so."""
    path.write_text(content)
    print(f"written to {path.name}")
