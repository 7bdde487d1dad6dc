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
    """One measured figure: the median of its runs, and its target, both in `unit`."""

    name: str
    unit: str
    target: float
    runs: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Return the figure to quote."""
        return statistics.median(self.runs)

    @property
    def met(self) -> bool:
        """Say whether the median is at most the target."""
        return self.median <= self.target

    def line(self) -> str:
        """Return the figure as a line of the table."""
        spread = f"{min(self.runs):.4g} .. {max(self.runs):.4g}"
        return (
            f"{self.name:<58} {self.median:>9.4g} {self.unit:<3} (target {self.target:g}, "
            f"{len(self.runs)} runs {spread})  {'met' if self.met else 'MISSED'}"
        )


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
    return sum(not figure.met for figure in figures)
