"""The seed tutorial as cells: the code of each, and what it displays, in a form to compare.

A display is compared as a reader sees it: HTML tables row by row, other text line by line, with
uuids, times, elapsed nanoseconds and dots of waiting replaced, because they differ in every run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

IMPORTS = {
    "import wallaroo\n": "import gnomon as wallaroo\n",
    "from wallaroo.object import EntityNotFoundError": (
        "from gnomon.object import EntityNotFoundError"
    ),
}


@dataclass(frozen=True)
class Cell:
    """One python block of the tutorial and the lines it displays there."""

    number: int
    code: str
    shown: tuple[str, ...]


def cells(tutorial: Path) -> list[Cell]:
    """Take the python blocks and their displays out of the tutorial's text."""
    found: list[Cell] = []
    text = (tutorial / "seed_tutorial.md").read_text()
    parts = re.split(r"^```python\n(.*?)^```\n", text, flags=re.MULTILINE | re.DOTALL)
    for number, (code, after) in enumerate(zip(parts[1::2], parts[2::2], strict=True), start=1):
        for line, replacement in IMPORTS.items():
            code = code.replace(line, replacement)
        found.append(Cell(number, code, tuple(lines_of(_display(after)))))
    return found


def _display(text: str) -> str:
    """Return what follows a block up to the next heading or paragraph of prose."""
    taken = []
    inside = False
    for line in text.splitlines():
        inside = inside or line.startswith("<table")
        if not inside and re.match(r"[A-Za-z#`]", line):
            break
        taken.append(line.removeprefix("    ") if not inside else line)
        inside = inside and "</table>" not in line
    return "\n".join(taken).strip()


class _Reader(HTMLParser):
    """Reads HTML as lines: one a table row, one a heading or paragraph."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._cells: list[str] = []
        self._in_row = False
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs) -> None:
        if tag == "tr":
            self._in_row, self._cells = True, []
        elif tag in ("td", "th"):
            self._cells.append("")
        elif tag in ("style", "summary"):
            self._hidden += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self._in_row = False
            self.lines.append(" | ".join(" ".join(cell.split()) for cell in self._cells))
        elif tag in ("style", "summary"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._in_row and self._cells:
            self._cells[-1] += data
        elif data.strip():
            self.lines.append(" ".join(data.split()))


def lines_of(display: str) -> list[str]:
    """Return a display, text or HTML or both, as lines without what changes from run to run."""
    start = re.search(r"<(table|div|h2)\b", display)
    text, html = (display[: start.start()], display[start.start() :]) if start else (display, "")
    reader = _Reader()
    reader.feed(html)
    lines = [line.strip() for line in text.splitlines()] + reader.lines
    return [normalised(line) for line in lines if line.strip(" |")]


def normalised(line: str) -> str:
    """Replace uuids, times, elapsed nanoseconds and the dots of waiting."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", line)
    line = re.sub(
        r"\d{4}-\d{2}-(\d{2}|[A-Z][a-z]{2})[ T]\d{2}:\d{2}:\d{2}(\.\d+)?(\+00:00| UTC)?",
        "<time>",
        line,
    )
    line = re.sub(r"'elapsed': \d+", "'elapsed': <elapsed>", line)
    line = re.sub(r"'time': \d{13}", "'time': <time>", line)
    line = re.sub(r"\| (\d{3,}|[\d.,]+ (ns|µs|ms|s))$", "| <elapsed>", line)
    line = re.sub(r"up to 45s \.* ok", "up to 45s <dots> ok", line)
    return line.rstrip()


@dataclass(frozen=True)
class Difference:
    """One place where gnomon is meant to show something else than the seed.

    Attributes:
        cells: Numbers of the cells it is about.
        runs: Numbers of the runs it is about; empty: all.
        seed: Consecutive lines of the seed's display.
        gnomon: What stands there instead; `...` in a line stands for anything.
    """

    cells: tuple[int, ...]
    runs: tuple[int, ...]
    seed: tuple[str, ...]
    gnomon: tuple[str, ...]

    def applied(self, lines: Sequence[str]) -> list[str]:
        """Replace the seed's lines, wherever they stand; what stands for none comes last."""
        if not self.seed:
            return [*lines, *self.gnomon]
        replaced, at, found = [], 0, False
        while at < len(lines):
            here = lines[at : at + len(self.seed)]
            if len(here) == len(self.seed) and all(map(matches, self.seed, here)):
                replaced += self.gnomon
                at += len(self.seed)
                found = True
            else:
                replaced.append(lines[at])
                at += 1
        assert found, f"a listed difference is not in the seed: {self.seed}"
        return replaced


def differences(path: Path) -> Iterator[Difference]:
    """Read `seed_differences.md`: a heading, `Cells:`, perhaps `Runs:`, the reason, a diff."""
    for section in re.split(r"^## ", path.read_text(), flags=re.MULTILINE)[1:]:
        block = re.search(r"^```diff\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        assert block is not None, section
        lines = block[1].splitlines()
        assert re.search(r"^Reason: \S", section, flags=re.MULTILINE), section
        yield Difference(
            cells=_numbers("Cells", section),
            runs=_numbers("Runs", section),
            seed=tuple(line[1:].strip() for line in lines if line[0] in "- "),
            gnomon=tuple(line[1:].strip() for line in lines if line[0] in "+ "),
        )


def _numbers(name: str, section: str) -> tuple[int, ...]:
    found = re.search(rf"^{name}: (.*)$", section, flags=re.MULTILINE)
    return tuple(map(int, re.findall(r"\d+", found[1]))) if found else ()


def matches(pattern: str, line: str) -> bool:
    """Say whether a line is what a pattern says, `...` standing for anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), line) is not None
