"""The nursery: one single-threaded process that has imported onnxruntime and forks hosts.

A fork costs milliseconds and shares the imported pages; a fresh process would cost a second. It
makes no session itself: a fork of a process with threads hangs. Our own instead of
multiprocessing's forkserver, which unpickles what it is sent. It has no network, so its hosts have
none.

Run as `python -I -m gnomon.host.nursery ORDERS LIFELINE [--allow-python-models]` with two inherited
descriptors.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Final

# Before all of gnomon: a host that writes to a page has it for itself, and what it uses of gnomon
# lies on fewer pages behind this than scattered through it.
import onnxruntime  # noqa: F401

from gnomon.core import limits
from gnomon.core.model import PYTHON_NOT_ALLOWED
from gnomon.host.network import cut_off
from gnomon.host.probing import Probing
from gnomon.host.process import Descriptors, HostOrder, Work, become
from gnomon.host.serving import Serving

ORDER_BYTES_MAX: Final = 64 * limits.KIB
ALLOW_PYTHON: Final = "--allow-python-models"


def main() -> None:
    """Serve the supervisor's orders until it closes the socket or dies."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    lifeline = int(sys.argv[2])
    allow_python = ALLOW_PYTHON in sys.argv[3:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    network = cut_off()
    gc.collect()
    gc.freeze()
    while True:
        ready, _, _ = select.select([orders.fileno(), lifeline], [], [])
        if lifeline in ready:
            os._exit(0)
        message, received, _, _ = socket.recv_fds(orders, ORDER_BYTES_MAX, 3)
        if not message:
            os._exit(0)
        answer: dict[str, int | str]
        try:
            order = HostOrder.from_bytes(message)
            if order.declared is not None and not allow_python:
                answer = {"refused": PYTHON_NOT_ALLOWED}
            else:
                answer = {"pid": _fork(order, received, orders, lifeline), "network": network}
        except OSError as error:
            answer = {"error": error.strerror or "fork failed"}
        finally:
            for descriptor in received:
                os.close(descriptor)
        orders.send(json.dumps(answer).encode())


def _fork(order: HostOrder, received: list[int], orders: socket.socket, lifeline: int) -> int:
    """Fork a host that is the supervisor's child, and return its pid.

    Forked twice: the one in between ends at once, so the kernel gives the host to the nearest
    subreaper, the supervisor, which then reaps it and sees how it died, even after the nursery.
    """
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads in the nursery; a fork would hang"
    read_end, write_end = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            pid = os.fork()
            if pid:
                os.write(write_end, str(pid).encode())
                os._exit(0)
            orders.close()
            os.close(read_end)
            os.close(write_end)
            become(order, Descriptors(*received), lifeline, _make_work)
        finally:
            os._exit(1)
    os.close(write_end)
    try:
        answer = os.read(read_end, 32)
    finally:
        os.close(read_end)
        os.waitpid(between, 0)
    if not answer:
        raise OSError(0, "the host could not be forked")
    return int(answer)


def _make_work(order: HostOrder, descriptors: Descriptors) -> Work:
    return Probing(order, descriptors) if order.mode == "probe" else Serving(order, descriptors)


if __name__ == "__main__":
    main()
