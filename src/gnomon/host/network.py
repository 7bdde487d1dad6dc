"""Taking the network away from this process and from all that it forks."""

from __future__ import annotations

import ctypes
import errno
from typing import Literal

from gnomon.host.seccomp import EQUAL, Refusal, refuse

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_AF_UNIX = 1
_CALLS = (
    Refusal(
        numbers={"x86_64": 41, "aarch64": 198},  # socket
        error=errno.EACCES,
        unless=(EQUAL, _AF_UNIX),
    ),
    # io_uring_setup: it makes sockets too
    Refusal(numbers={"x86_64": 425, "aarch64": 425}, error=errno.EACCES),
)

Isolation = Literal["namespace", "filter", "none"]


def cut_off() -> Isolation:
    """Take the network away for good; unix sockets that are there or have a path go on working.

    Call it while the process has one thread.

    Returns:
        How: "namespace", an empty network namespace; "filter", where the kernel or a container
        allows no namespace, system calls that make network sockets are refused; "none", neither
        is allowed here.
    """
    if _leave(_CLONE_NEWNET) or _leave(_CLONE_NEWUSER | _CLONE_NEWNET):
        return "namespace"
    return "filter" if filter_calls() else "none"


def _leave(flags: int) -> bool:
    return int(ctypes.CDLL(None).unshare(flags)) == 0


def filter_calls() -> bool:
    """Have the kernel refuse every socket that is no unix socket; say whether it does."""
    return refuse(_CALLS, error=errno.EACCES)
