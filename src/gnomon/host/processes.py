"""Keeping this process, and what it runs, from making others."""

from __future__ import annotations

import errno

from gnomon.host.seccomp import ANY_BIT, Refusal, refuse

_CLONE_THREAD = 0x00010000
_CALLS = (
    Refusal(
        numbers={"x86_64": 56, "aarch64": 220},  # clone
        error=errno.EPERM,
        unless=(ANY_BIT, _CLONE_THREAD),
    ),
    # clone3, whose arguments cannot be looked at: the C library then takes clone
    Refusal(numbers={"x86_64": 435, "aarch64": 435}, error=errno.ENOSYS),
    Refusal(numbers={"x86_64": 57}, error=errno.EPERM),  # fork
    Refusal(numbers={"x86_64": 58}, error=errno.EPERM),  # vfork
    Refusal(numbers={"x86_64": 59, "aarch64": 221}, error=errno.EPERM),  # execve
    Refusal(numbers={"x86_64": 322, "aarch64": 281}, error=errno.EPERM),  # execveat
)


def stay_alone() -> bool:
    """Have the kernel refuse every new process and program; say whether it does.

    Threads can still be started.
    """
    return refuse(_CALLS, error=errno.EPERM)
