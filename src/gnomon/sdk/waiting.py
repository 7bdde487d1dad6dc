"""The lines that tell a user what is being waited for: one dot a second, then " ok"."""

from __future__ import annotations

import sys
import threading

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
        counting: Count the seconds, in a thread. False: the block calls `tick`.
    """

    def __init__(
        self,
        what: str,
        up_to_s: float,
        *,
        at_once: bool = False,
        shown: bool = True,
        counting: bool = True,
    ) -> None:
        self._head = f"Waiting for {what} - this will take up to {up_to_s:.0f}s "
        self._at_once = at_once
        self._shown = shown
        self._begun = False
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None
        if shown and counting:
            self._ticker = threading.Thread(target=self._count, name="gnomon-waiting", daemon=True)

    def __enter__(self) -> Waiting:
        if self._at_once and self._shown:
            self._begin()
        if self._ticker is not None:
            self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._ticker is not None:
            self._ended.set()
            self._ticker.join()
        if self._begun:
            _write("\n" if kind else " ok\n")

    def tick(self) -> None:
        """Show that a second has passed."""
        if self._shown:
            self._begin()
            _write(".")

    def _count(self) -> None:
        while not self._ended.wait(_SECOND):
            self.tick()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            _write(self._head)


def _write(text: str) -> None:
    # Looked up at each call: a notebook gives each cell its own stdout.
    sys.stdout.write(text)
    sys.stdout.flush()
