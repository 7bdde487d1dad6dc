"""System calls that the kernel refuses from now on, to this process and to all that it makes."""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
# machine -> AUDIT_ARCH, number of seccomp()
_MACHINES = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}
_X32_CALLS = 0x40000000
# Classic BPF, and where things are in struct seccomp_data.
_LOAD, _AT_LEAST, _RETURN = 0x20, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
EQUAL, ANY_BIT = 0x15, 0x45

_Step = tuple[int, int, int, int]  # operation, skipped if true, skipped if false, operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A system call that is to be refused.

    Attributes:
        numbers: Of the call, by machine; it is not on those that are not there.
        error: What it fails with, an errno.
        unless: EQUAL or ANY_BIT, and with what its first argument then passes.
    """

    numbers: Mapping[str, int]
    error: int
    unless: tuple[int, int] | None = None

    def steps(self) -> list[_Step]:
        """Return what is done with the call."""
        refuse = (_RETURN, 0, 0, _REFUSE | self.error)
        if self.unless is None:
            return [refuse]
        test, operand = self.unless
        load = (_LOAD, 0, 0, _FIRST_ARGUMENT)
        return [load, (test, 0, 1, operand), (_RETURN, 0, 0, _ALLOW), refuse]


def refuse(refusals: Sequence[Refusal], *, error: int) -> bool:
    """Have the kernel refuse system calls to all threads; say whether it does.

    What was refused before stays so.

    Args:
        error: What calls for another architecture fail with, an errno: all are refused.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        return False
    architecture, seccomp = _MACHINES[machine]
    refused = (_RETURN, 0, 0, _REFUSE | error)
    steps: list[_Step] = [
        *((_LOAD, 0, 0, _ARCHITECTURE), (EQUAL, 1, 0, architecture), refused),
        *((_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32_CALLS), refused),
    ]
    for refusal in refusals:
        if machine in refusal.numbers:
            then = refusal.steps()
            steps += [(EQUAL, 0, len(then), refusal.numbers[machine]), *then]
    steps.append((_RETURN, 0, 0, _ALLOW))
    program = b"".join(struct.pack("<HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    header = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return int(libc.syscall(seccomp, _SET_MODE_FILTER, _ALL_THREADS, header)) == 0
