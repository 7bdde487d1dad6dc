"""Figures against targets, as a table on the terminal and as JSON in a file."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter


@dataclass
class Figure:
    """One measured figure: the median of its runs, and its target, both in `unit`.

    Attributes:
        target: None: there is none, the figure is for information.
        at_least: The target is the least that is good, not the most.
        missing: Why there are no runs.
    """

    name: str
    unit: str
    target: float | None
    runs: list[float] = field(default_factory=list)
    at_least: bool = False
    missing: str = ""

    @property
    def median(self) -> float | None:
        """Return the figure to quote; None if it was not measured."""
        return statistics.median(self.runs) if self.runs else None

    @property
    def met(self) -> bool | None:
        """Say whether the median is on the right side of the target; None if either is missing."""
        if self.median is None or self.target is None:
            return None
        return self.median >= self.target if self.at_least else self.median <= self.target

    def line(self) -> str:
        """Return the figure as a line of the table."""
        target = "no target"
        if self.target is not None:
            target = f"{'>=' if self.at_least else '<='} {self.target:g}"
        if self.median is None:
            return f"{self.name:<58} {'-':>9} {self.unit:<5} ({target})  {self.missing}".rstrip()
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        spread = f"{min(self.runs):.4g} .. {max(self.runs):.4g}"
        return (
            f"{self.name:<58} {self.median:>9.4g} {self.unit:<5} ({target}, "
            f"{len(self.runs)} runs {spread})  {verdict}"
        ).rstrip()


def timed_s(work: Callable[[], object]) -> float:
    """Return how long `work` takes, in seconds."""
    start = perf_counter()
    work()
    return perf_counter() - start


def show(figures: Sequence[Figure], file: Path) -> int:
    """Print the table, write the JSON; return the number of missed targets."""
    load = os.getloadavg()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}"
    print(f"{machine}, load {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}")
    for figure in figures:
        print(figure.line())
    document = {
        "machine": machine,
        "load": load,
        "figures": [
            {**asdict(figure), "median": figure.median, "met": figure.met} for figure in figures
        ],
    }
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written to {file.name}")
    return sum(figure.met is False for figure in figures)
