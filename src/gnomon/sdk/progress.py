"""How far a long run is, as its reader can see it: a bar, dots in a pipe, HTML in a notebook."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, Protocol

from gnomon.sdk.html import Html, cell

_DOTS = 50
_BAR = 30
_REDRAWN_AFTER_S = 0.1


class Display(Protocol):
    """Where it is shown."""

    def show(self, state: Progress) -> None:
        """Show how far it is."""

    def end(self, state: Progress, *, complete: bool) -> None:
        """Show how it ended."""


class Progress:
    """Shows how many rows of a run are done while a block runs.

    Args:
        what: "Inferring", ...
        rows: How many there are in all.
        shown: False shows nothing at all.

    Attributes:
        done: Rows, those that failed among them.
        failed: Rows.
    """

    def __init__(self, what: str, rows: int, *, shown: bool = True) -> None:
        self.what = what
        self.rows = rows
        self.done = 0
        self.failed = 0
        self._display = _display() if shown else None
        self._begun = self._shown_at = time.monotonic()

    def __enter__(self) -> Progress:
        if self._display is not None:
            self._display.show(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._display is not None:
            self._display.end(self, complete=kind is None)

    def add(self, rows: int, *, failed: bool = False) -> None:
        """Say that so many more rows are done."""
        self.done += rows
        self.failed += rows if failed else 0
        now = time.monotonic()
        if self._display is not None and now - self._shown_at >= _REDRAWN_AFTER_S:
            self._shown_at = now
            self._display.show(self)

    def text(self) -> str:
        """Return "420 of 1,001 rows, 10 failed, 3 s left"."""
        parts = [f"{self.done:,} of {self.rows:,} rows"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if 0 < self.done < self.rows:
            took_s = time.monotonic() - self._begun
            parts.append(f"{took_s / self.done * (self.rows - self.done):.0f} s left")
        return ", ".join(parts)


class _Bar:
    """A line of a terminal, drawn again and again."""

    def show(self, state: Progress) -> None:
        full = _BAR * state.done // state.rows
        line = f"{state.what} [{'#' * full}{'.' * (_BAR - full)}] {state.text()}"
        width = shutil.get_terminal_size().columns - 1
        _write("\r" + line[:width].ljust(width))

    def end(self, state: Progress, *, complete: bool) -> None:  # noqa: ARG002
        self.show(state)
        _write("\n")


class _Dots:
    """A line that only grows."""

    def __init__(self) -> None:
        self._dots = -1

    def show(self, state: Progress) -> None:
        if self._dots < 0:
            self._dots = 0
            _write(f"{state.what} {state.rows:,} rows ")
        dots = _DOTS * state.done // state.rows
        if dots > self._dots:
            _write("." * (dots - self._dots))
            self._dots = dots

    def end(self, state: Progress, *, complete: bool) -> None:
        self.show(state)
        if not complete:
            _write(f" ended at {state.text()}\n")
        else:
            _write(f" {state.failed:,} failed\n" if state.failed else " ok\n")


class _Cell:
    """The output of a notebook's cell."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, state: Progress) -> None:
        display = sys.modules["IPython.display"]
        drawn = display.HTML(progress_html(state))
        if self._handle is None:
            self._handle = display.display(drawn, display_id=True)
        else:
            self._handle.update(drawn)

    def end(self, state: Progress, *, complete: bool) -> None:  # noqa: ARG002
        self.show(state)


def progress_html(state: Progress) -> Html:
    """Return a bar with its text."""
    return Html(
        f'<progress value="{state.done}" max="{state.rows}" style="vertical-align:middle">'
        f"</progress> {cell(state.what)}: {cell(state.text())}"
    )


def _display() -> Display:
    # Looked up at each run: a notebook gives each cell its own stdout.
    if hasattr(_shell(), "kernel"):
        return _Cell()
    return _Bar() if sys.stdout.isatty() else _Dots()


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
