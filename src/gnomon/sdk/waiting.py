"""The lines that tell a user what is being waited for: one dot a second, then " ok"."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

_SECOND = 1.0


class Waiting:
    """Prints "Waiting for ... - this will take up to 45s ..... ok" while a block runs.

    The same text goes to a terminal, a notebook and a pipe. If the block raises, the line ends
    without " ok".

    Args:
        what: "deployment", "inference response", ...
        up_to_s: Seconds after which the block gives up.
        at_once: Print the line when the block begins; else only if it takes over a second.
        shown: False prints nothing at all.
    """

    def __init__(
        self, what: str, up_to_s: float, *, at_once: bool = False, shown: bool = True
    ) -> None:
        self._head = f"Waiting for {what} - this will take up to {up_to_s:.0f}s "
        self._at_once = at_once
        self._shown = shown
        self._begun = False
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="gnomon-waiting", daemon=True)

    def __enter__(self) -> None:
        if not self._shown:
            return
        if self._at_once:
            self._begin()
        self._ticker.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._shown:
            return
        self._ended.set()
        self._ticker.join()
        if self._begun:
            _write("\n" if kind else " ok\n")

    def _tick(self) -> None:
        while not self._ended.wait(_SECOND):
            self._begin()
            _write(".")

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            _write(self._head)


def _write(text: str) -> None:
    # Looked up at each call: a notebook gives each cell its own stdout.
    sys.stdout.write(text)
    sys.stdout.flush()
