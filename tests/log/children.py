"""What the tests of the log run in processes of their own, to kill, starve or outrun them."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from gnomon.core import limits
from gnomon.host.seccomp import Refusal, refuse
from gnomon.log.flusher import Flusher, Keep
from gnomon.log.places import directory_of, table_paths
from gnomon.log.reader import read
from gnomon.log.table import LogTable
from gnomon.log.writer import LogWriter
from tests.log.entries import ALONE, SHADOWED, inference, observation, values
from tests.log.files import all_records, table_and_more
from tests.waiting import until


def append_and_acknowledge(path: str) -> None:
    """Append without end; print how many entries are committed whenever that is known."""
    writer = LogWriter(Path(path))
    number = 0
    while True:
        for _ in range(number % 37 + 1):
            assert writer.append(inference(number))
            number += 1
        assert writer.commit(30)
        print(number, flush=True)


def append_durably(path: str, first: str) -> None:
    """Append without end; print each entry's number when it is said to be on the disk."""
    writer = LogWriter(Path(path))
    number, room = int(first), threading.Semaphore(64)

    def told(which: int, is_kept: bool) -> None:
        assert is_kept
        print(which, flush=True)
        room.release()

    while True:
        room.acquire()
        assert writer.append(inference(number), partial(told, number))
        number += 1


def append_shadowed(path: str, first: str) -> None:
    """Append shadowed inferences without end, each with its observations in a later group.

    Prints the number of the last one that is committed with its observations.
    """
    writer = LogWriter(Path(path))
    number, before = int(first), []
    while True:
        entries = [inference(each, SHADOWED) for each in range(number, number + number % 37 + 1)]
        for entry in (*entries, *before):
            assert writer.append(entry)
        before = [observation(entry, model) for entry in entries for model in SHADOWED.challengers]
        assert writer.commit(30)
        number += len(entries)
        print(number - len(entries) - 1, flush=True)


def flush_without_end(directory: str, cell_bytes_max: str) -> None:
    """Move and tidy, as often as that goes; tensors above a size stand beside the tables."""
    limits.LOG_CELL_BYTES_MAX = int(cell_bytes_max)
    flusher = Flusher(Path(directory), Keep(seconds=1e12))
    print("begun", flush=True)
    while True:
        flusher.flush()
        flusher.tidy()


def flush_often(directory: str, *counts: str) -> None:
    """Move a second's requests as often as said, with a tidy-up a minute as they were 5 s apart.

    Prints memory and threads after each of the counts.
    """
    writer = LogWriter(Path(directory) / "front-0.sqlite")
    flusher, process = Flusher(Path(directory)), psutil.Process()
    for commits in range(1, int(counts[-1]) + 1):
        for _ in range(10):
            assert writer.append(inference(commits, rows=100, time_us=time.time_ns() // 1_000))
        assert writer.commit(30)
        flusher.flush()
        if commits % 12 == 0:
            flusher.tidy()
        pa.default_memory_pool().release_unused()
        if str(commits) in counts:
            rss_mb = process.memory_info().rss / 1e6
            print(json.dumps({"rss_mb": rss_mb, "threads": process.num_threads()}), flush=True)


def append_and_stop(path: str, count: str) -> None:
    """Append `count` shadowed inferences with their observations in small groups, then end."""
    writer = LogWriter(Path(path))
    for number in range(int(count)):
        entry = inference(number, SHADOWED)
        assert writer.append(entry)
        for model in SHADOWED.challengers:
            assert writer.append(observation(entry, model))
        if number % 50 == 0:
            assert writer.commit(30)
    writer.close()


def leave_a_challenger_running(path: str) -> None:
    """Commit an inference whose challengers never end, say so, and wait to be killed."""
    writer = LogWriter(Path(path))
    writer.append(inference(1, SHADOWED))
    assert writer.commit(30)
    print("committed", flush=True)
    sys.stdin.read()


def fill_the_disk(path: str) -> None:
    """Write until no file may grow; then let files grow again. Ends with 0 if all went well."""
    file = Path(path)
    writer = LogWriter(file, queue_requests_max=500)
    assert writer.append(inference(0))
    assert writer.commit(30)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, hard))
    number, deadline, slowest_s = 1, time.monotonic() + 60, 0.0
    kept = [0]
    while not writer.stats()["dropped"]:
        assert time.monotonic() < deadline, writer.stats()
        before = time.perf_counter()
        if writer.append(inference(number)):
            kept.append(number)
        slowest_s = max(slowest_s, time.perf_counter() - before)
        if number % 100 == 0:
            writer.commit(0.2)
        number += 1
    full = writer.stats()
    assert full["degraded"], full
    assert full["uncommitted"] == 500, full
    assert full["appended"] + full["dropped"] == number, full
    assert slowest_s < 1.0, "append waited for the disk"
    assert not writer.commit(0.2)
    assert read(file.parent, ALONE.pipeline_id).records

    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert writer.commit(30), writer.stats()
    assert writer.stats()["degraded"] is None
    assert writer.append(inference(number))
    kept.append(number)
    writer.close()
    found, cursor, more = [], None, True
    while more:
        page = read(file.parent, ALONE.pipeline_id, after=cursor)
        found += [int(record.entry.inputs["tensor"][0, 0]) for record in page.records]
        cursor, more = page.next, page.more
    assert found[::-1] == kept, "something that was accepted was lost, doubled or moved"


def wait_for_a_full_disk(path: str) -> None:
    """Wait for each entry until no file may grow; then let files grow again."""
    file = Path(path)
    writer = LogWriter(file, queue_requests_max=500)
    told: dict[int, bool] = {}

    def append(number: int) -> bool:
        assert writer.append(inference(number, rows=20), partial(told.__setitem__, number))
        until(lambda: number in told, every_s=0.001)
        return told[number]

    assert append(0)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, hard))
    full = next(number for number in itertools.count(1) if not append(number))
    # Full: who comes now is told at once, and what is not kept yet is kept in memory
    assert writer.trouble
    begun = time.monotonic()
    for number in range(full + 1, full + 100):
        assert not append(number)
    assert time.monotonic() - begun < 1.0
    assert writer.stats()["undurable"] == sum(not is_kept for is_kept in told.values())

    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert writer.commit(30), writer.stats()
    assert writer.trouble is None
    assert append(full + 100)
    writer.close()
    found = [int(record.entry.inputs["tensor"][0, 0]) for record in all_records(file.parent, 1)]
    assert sorted(found) == sorted(told)


def move_to_a_full_disk(path: str) -> None:
    """Move while no file may grow beyond a size, a larger one each time, until that is enough.

    Ends with 0 if all went well.
    """
    file = Path(path)
    append_and_stop(path, "300")
    before = [values(record) for record in all_records(file.parent, 1)]
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    flusher = Flusher(file.parent, Keep(seconds=1e12))
    failures, rows = 0, 0
    for size in range(0, 1_000_000, 1_500):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        flusher.flush()
        flusher.tidy()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert [values(record) for record in all_records(file.parent, 1)] == before
        tables = [LogTable(table) for table in table_paths(directory_of(file.parent, 1, 1))]
        rows = sum(file.rows for table in tables for file in table.files())
        if rows:
            break
        failures += 1
    assert rows == 300, rows
    assert failures > 5, failures


def commit_to_a_disk_that_fills_at_each_write(path: str) -> None:
    """Log while no file may grow beyond a size, a larger one each time, and then without it.

    Ends with 0 if all went well.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = 0
    for step in range(40):
        file = Path(path) / str(step) / "front-0.sqlite"
        resource.setrlimit(resource.RLIMIT_FSIZE, (step * 3 * limits.LOG_PAGE_BYTES // 8, hard))
        writer = LogWriter(file)
        for number in range(20):
            assert writer.append(inference(number))
        failed = not writer.commit(0.05)
        failures += failed
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert writer.commit(30), writer.stats()
        writer.close()
        found = [values(record.entry) for record in all_records(file.parent, 1)]
        assert found[::-1] == [values(inference(number)) for number in range(20)], step
    assert 5 < failures < 40, failures


def log_to_a_disk_that_fails_to_sync(path: str) -> None:
    """Log and move, then go on while the kernel says of each fsync that it failed.

    Says "cannot" if the kernel does not do so. Ends with 0 if all went well.
    """
    file = Path(path)
    writer, flusher = LogWriter(file), Flusher(file.parent, Keep(seconds=1e12))
    for number in range(50):
        assert writer.append(inference(number))
    assert writer.commit(30)
    flusher.flush()
    for number in range(50, 60):
        assert writer.append(inference(number))
    assert writer.commit(30)
    calls = [{"x86_64": 74, "aarch64": 82}, {"x86_64": 75, "aarch64": 83}]  # fsync, fdatasync
    refusals = [Refusal(numbers=numbers, error=errno.EIO) for numbers in calls]
    if not refuse(refusals, error=errno.EPERM):
        print("cannot", flush=True)
        return
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.fsync(0)
    for number in range(60, 70):
        writer.append(inference(number))
    assert not writer.commit(0.5), "it was said to be on the disk"
    assert writer.stats()["degraded"]
    flusher.flush()
    found = [int(record.entry.inputs["tensor"][0, 0]) for record in all_records(file.parent, 1)]
    assert found[-60:] == list(range(59, -1, -1)), found
    print("synced", flush=True)
    os._exit(0)  # as if killed: nothing is tried again


def write_and_read(path: str) -> None:
    """Write and read a log; fails if pandas was imported, as it would stall a front."""
    assert "pandas" not in sys.modules
    append_and_stop(path, "3")
    table, more = table_and_more(Path(path).parent, SHADOWED.pipeline_id)
    assert (table.num_rows, more) == (3, False)
    assert "pandas" not in sys.modules
