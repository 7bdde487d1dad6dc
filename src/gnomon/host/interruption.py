"""Stopping Python code that runs in one thread, from another."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

from gnomon.host.loaded import RunStopped

Value = TypeVar("Value")

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc


class _Interrupted(BaseException):
    """Raised amid the code that is to stop; not to be caught by `except Exception`."""


class Interruptible:
    """Calls functions, one at a time, that another thread may interrupt.

    They end between two steps of theirs; a long one, such as native code, comes to its end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None

    def call(self, function: Callable[[], Value]) -> Value:
        """Return what a function returns.

        Raises:
            RunStopped: `interrupt` was called meanwhile.
        """
        try:
            try:
                self._thread = threading.get_ident()
                return function()
            finally:
                self._over()
        except _Interrupted as interrupted:
            self._over()  # it may have struck amid that; once a call is all that it strikes
            raise RunStopped from interrupted

    def interrupt(self) -> None:
        """Have the call under way raise RunStopped; without one, do nothing."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                _raise_in(ctypes.c_ulong(thread), ctypes.py_object(_Interrupted))

    def _over(self) -> None:
        """Let nothing strike this thread any more."""
        with self._lock:
            self._thread = None
            _raise_in(ctypes.c_ulong(threading.get_ident()), None)
