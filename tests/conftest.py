"""What all tests share."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Have Ctrl-C do what it usually does, also where a shell that runs this in the background
    has it ignored: processes that tests start inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
