"""What the tests of the log run in processes of their own, to kill, starve or outrun them."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from gnomon.log.flusher import Flusher, Keep
from gnomon.log.places import directory_of, table_paths
from gnomon.log.reader import read
from gnomon.log.table import LogTable
from gnomon.log.writer import LogWriter
from tests.log.entries import ALONE, SHADOWED, inference, observation, values
from tests.log.files import all_records, table_and_more


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


def flush_without_end(directory: str) -> None:
    """Move and tidy, as often as that goes."""
    flusher = Flusher(Path(directory), Keep(seconds=1e12))
    print("begun", flush=True)
    while True:
        flusher.flush()
        flusher.tidy()


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


def move_to_a_full_disk(path: str) -> None:
    """Move while no file may grow; then let files grow again. Ends with 0 if all went well."""
    file = Path(path)
    append_and_stop(path, "300")
    before = [values(record) for record in all_records(file.parent, 1)]
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    flusher = Flusher(file.parent, Keep(seconds=1e12))
    for size in (0, 1_000, 5_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        flusher.flush()
        flusher.tidy()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert [values(record) for record in all_records(file.parent, 1)] == before
        for table in table_paths(directory_of(file.parent, 1, 1)):
            assert not LogTable(table).files()

    flusher.flush()
    assert [values(record) for record in all_records(file.parent, 1)] == before
    [table] = table_paths(directory_of(file.parent, 1, 1))
    assert sum(file.rows for file in LogTable(table).files()) == 300


def write_and_read(path: str) -> None:
    """Write and read a log; fails if pandas was imported, as it would stall a front."""
    assert "pandas" not in sys.modules
    append_and_stop(path, "3")
    table, more = table_and_more(Path(path).parent, SHADOWED.pipeline_id)
    assert (table.num_rows, more) == (3, False)
    assert "pandas" not in sys.modules
