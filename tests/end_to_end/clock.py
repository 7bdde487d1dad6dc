"""A clock that is set while a server runs: what its processes take for the time of day, no other.

Nothing of gnomon takes part in it. The library is loaded into the processes before the C library,
which is where Python, SQLite and Delta ask for the time.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

DAY_S = 86_400

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile long long *set_by_s;
static int (*get)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CLOCK_SET_BY"), O_RDONLY | O_CLOEXEC);
    void *shared = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED)
        set_by_s = shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!get)
        get = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = get(clock, now);
    if (!failed && set_by_s && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *set_by_s;
    return failed;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return seconds ? (*seconds = now.tv_sec) : now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
"""


class Clock:
    """The time of day of whatever is started with `environment`.

    Args:
        directory: For what it is made of.

    Attributes:
        environment: Variables of the processes that go by it.
    """

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("there is no C compiler (cc) to make a clock that can be set")
        source, library = directory / "clock.c", directory / "clock.so"
        source.write_text(_SOURCE)
        making = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        subprocess.run(making, check=True)
        self._set_by = directory / "set-by"
        self._set_by.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SET_BY": str(self._set_by)}

    def set_by(self, seconds: int) -> None:
        """Set it so many seconds before or after the true time."""
        with self._set_by.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
