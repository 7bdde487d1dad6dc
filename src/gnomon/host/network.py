"""Taking the network away from this process and from all that it forks."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from typing import Literal

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22
_SECCOMP_MODE_FILTER = 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_AF_UNIX = 1
_IO_URING_SETUP = 425  # it makes sockets too
# machine -> AUDIT_ARCH, number of socket()
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32_CALLS = 0x40000000

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
    if platform.machine() not in _MACHINES:
        return False
    program = _program(*_MACHINES[platform.machine()])
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return int(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)) == 0


def _program(architecture: int, socket_call: int) -> bytes:
    """Return the filter in classic BPF, over struct seccomp_data: u32 call, u32 architecture,
    u64 instruction, u64 x 6 arguments."""
    steps = [  # operation, skipped if true, skipped if false, operand
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, 7, architecture),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 5, 0, _X32_CALLS),
        (_EQUAL, 4, 0, _IO_URING_SETUP),
        (_EQUAL, 0, 2, socket_call),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
