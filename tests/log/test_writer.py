from __future__ import annotations

import random
import sqlite3
import stat
import weakref
from dataclasses import replace

import numpy as np
import pytest

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.log.flusher import Flusher
from gnomon.log.reader import read
from gnomon.log.segments import encode
from gnomon.log.write_ahead import WriteAhead
from gnomon.log.writer import LogWriter
from tests.log.entries import (
    ALONE,
    SHADOWED,
    child,
    group,
    inference,
    observation,
    requests,
    route,
    values,
)
from tests.waiting import until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a log" / "front-0.sqlite"


@pytest.fixture
def writer(path):
    writer = LogWriter(path)
    yield writer
    writer.close()


def logged(path, limit=1_000):
    """All records of the first pipeline, oldest first."""
    page = read(path.parent, 1, limit=limit)
    assert not page.notices
    return page.records[::-1]


def numbers(path):
    return [int(record.entry.inputs["tensor"][0, 0]) for record in logged(path)]


def test_what_was_appended_is_on_the_disk_after_commit(path, writer):
    entries = [inference(number) for number in range(10)]
    for entry in entries:
        assert writer.append(entry)

    assert writer.commit(10)

    assert [values(record.entry) for record in logged(path)] == [values(e) for e in entries]
    assert writer.stats() == {
        "appended": 10,
        "dropped": 0,
        "uncommitted": 0,
        "undurable": 0,
        "degraded": None,
    }


def test_entries_are_committed_by_themselves_within_the_interval(path, writer):
    writer.commit(10)

    writer.append(inference(1))

    until(lambda: writer.stats()["uncommitted"] == 0)
    assert numbers(path) == [1]


def test_a_commit_with_nothing_to_do_returns_at_once(writer):
    assert writer.commit(0)


def test_many_groups_keep_the_order_of_appending(path, writer):
    for number in range(limits.LOG_COMMIT_ENTRIES_MAX * 2 + 7):
        writer.append(inference(number, rows=number % 3 + 1, time_us=10**15 - number))

    assert writer.commit(30)

    assert numbers(path) == list(
        range(limits.LOG_COMMIT_ENTRIES_MAX * 2 + 7 - 1_000, limits.LOG_COMMIT_ENTRIES_MAX * 2 + 7)
    )


def test_entries_are_let_go_when_they_are_committed(writer):
    def append(number):
        array = np.full((1, 29), number, np.float32)
        writer.append(inference(number, inputs={"tensor": array}))
        return weakref.ref(array)

    first = append(1)
    assert writer.commit(10)

    until(lambda: first() is None)


def test_the_file_and_its_directory_are_the_owners_only(path, writer):
    writer.append(inference(1))
    writer.commit(10)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_the_queue_is_bounded_by_requests_and_by_bytes(tmp_path):
    # Given a log that cannot be written, because a file stands where its directory should be
    (tmp_path / "occupied").write_text("")
    few = LogWriter(tmp_path / "occupied" / "front-0.sqlite", queue_requests_max=3)
    small = LogWriter(tmp_path / "occupied" / "front-1.sqlite", queue_bytes_max=100_000)
    text = np.array([["x" * 60_000]], dtype=object)

    # When more is appended than it may hold
    taken = [few.append(inference(number)) for number in range(5)]
    texts = [small.append(inference(n, inputs={"tensor": text})) for n in range(3)]

    # Then the rest is dropped and counted, and nobody waits for long
    assert taken == [True, True, True, False, False]
    assert texts == [True, False, False]
    assert not few.commit(0.1)
    stats = few.stats()
    assert (stats["appended"], stats["dropped"], stats["uncommitted"]) == (3, 2, 3)
    assert stats["degraded"]
    assert str(tmp_path) not in stats["degraded"]
    few.close(0.1)
    small.close(0.1)
    assert few.stats()["uncommitted"] == 3


def test_after_closing_everything_is_dropped_and_counted(path):
    writer = LogWriter(path)
    writer.append(inference(1))
    writer.close()

    assert not writer.append(inference(2))

    assert writer.stats()["dropped"] == 1
    assert numbers(path) == [1]
    assert writer.commit(0)
    writer.close()


def test_an_entry_that_cannot_be_encoded_is_dropped_and_does_not_stop_the_log(path, writer):
    writer.append(inference(1))
    writer.append(inference(2, inputs={"tensor": np.array([[object()]])}))
    writer.append(inference(3))

    assert writer.commit(10)

    assert numbers(path) == [1, 3]
    assert writer.stats()["dropped"] == 1
    assert writer.stats()["degraded"] is None


def test_a_file_locked_by_another_process_is_waited_for_without_blocking_append(path, writer):
    # Given that somebody else has a write transaction open
    writer.commit(10)
    writer.append(inference(0))
    assert writer.commit(10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    # When entries are appended meanwhile
    for number in range(1, 20):
        assert writer.append(inference(number))
    assert not writer.commit(0.05)
    until(lambda: writer.stats()["degraded"])

    # Then they are committed as soon as the lock is gone, each once
    other.execute("ROLLBACK")
    other.close()
    assert writer.commit(10)
    assert writer.stats()["degraded"] is None
    assert numbers(path) == list(range(20))


def test_a_file_that_is_no_database_is_set_aside(path):
    path.parent.mkdir()
    path.write_bytes(b"this is no database " * 1_000)

    writer = LogWriter(path)
    writer.append(inference(1))
    assert writer.commit(10)
    writer.close()

    [aside] = path.parent.glob("front-0-damaged-*.sqlite")
    assert aside.read_bytes().startswith(b"this is no database")
    page = read(path.parent, 1)
    assert [record.entry.request_id for record in page.records] == ["request-1"]
    [notice] = page.notices
    assert notice.startswith(aside.name)


def test_a_log_whose_file_was_deleted_goes_on_in_a_new_one(path, writer):
    writer.append(inference(1))
    assert writer.commit(10)
    for file in path.parent.iterdir():
        file.unlink()

    writer.append(inference(2))
    assert writer.commit(10)

    assert numbers(path) == [2]


def test_a_group_that_was_committed_although_it_seemed_to_fail_is_not_written_twice(path):
    segments, _ = encode([inference(1)])
    first = WriteAhead(path)
    first.commit(segments, 0)
    first.close()

    again = WriteAhead(path, before=(first.uuid, first.life))
    again.commit(segments, 0, again=True)
    again.close()

    assert (again.uuid, again.life) == (first.uuid, first.life)
    assert len(logged(path)) == 1


def test_sequence_numbers_and_the_uuid_outlive_an_emptied_table(path):
    def stored():
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT seq FROM segments").fetchall()
            [identity] = connection.execute("SELECT uuid FROM write_ahead").fetchone()
        connection.close()
        return identity, [seq for (seq,) in rows]

    def write(number):
        writer = LogWriter(path)
        writer.append(inference(number))
        writer.close()

    write(1)
    identity, [first] = stored()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM segments")
    connection.close()
    write(2)

    assert stored() == (identity, [first + 1])


def test_a_backlog_has_a_greatest_size_and_is_written_again_when_it_moves(path, monkeypatch):
    writer = LogWriter(path, queue_requests_max=50)
    writer.append(inference(0))
    assert writer.commit(10)
    monkeypatch.setattr(limits, "LOG_BACKLOG_BYTES_MAX", 300_000)
    texts = np.array([["x" * 500_000]])

    writer.append(inference(1, inputs={"tensor": texts}))
    assert writer.commit(10)
    writer.append(inference(2))
    assert not writer.commit(0.2)

    assert "full" in writer.stats()["degraded"]
    assert len(logged(path)) == 2
    Flusher(path.parent).flush()
    assert writer.commit(10)
    assert writer.stats()["degraded"] is None
    writer.close()
    assert len(logged(path)) == 3


def test_a_full_disk_costs_what_does_not_fit_the_queue_and_nothing_else(path):
    with child("fill_the_disk", path) as process:
        assert process.wait(60) == 0


def test_a_killed_writer_has_lost_nothing_that_it_had_committed(path):
    choose = random.Random(5)
    written = 0
    for life in range(5):
        # Given a writer that tells what it has committed
        with child("append_and_acknowledge", path) as process:
            for _ in range(choose.randrange(1, 60)):
                acknowledged = int(process.stdout.readline())
            # When it is killed at a moment of no meaning
            process.kill()
            acknowledged = max([acknowledged, *map(int, process.stdout.read().split()[:-1])])

        # Then all of it is there, whole, once, in order, whatever else is there
        records, cursor, more = [], None, True
        while more:
            page = read(path.parent, 1, limit=500, after=cursor)
            assert not page.notices
            records += page.records
            cursor, more = page.next, page.more
        records = records[::-1][written:]
        assert len(records) >= acknowledged, f"life {life}"
        for number, record in enumerate(records):
            assert values(record.entry) == values(inference(number))
        written += len(records)


def test_observations_find_their_inference_across_groups(path, writer):
    entries = [inference(number, SHADOWED) for number in range(20)]
    for entry in entries:
        writer.append(entry)
    assert writer.commit(10)
    zeta, alpha = SHADOWED.challengers
    for entry in reversed(entries):
        writer.append(observation(entry, zeta))
        assert writer.commit(10)
    for entry in entries:
        writer.append(observation(entry, alpha, Status.ERROR))
    assert writer.commit(10)

    for entry, record in zip(entries, logged(path), strict=True):
        assert values(record.entry) == values(entry)
        assert [values(each) for each in record.challengers] == [
            values(observation(entry, alpha, Status.ERROR).observation),
            values(observation(entry, zeta).observation),
        ]


def test_requests_that_ran_together_are_counted_and_observed_one_by_one(path, writer):
    zeta, alpha = SHADOWED.challengers
    first, second = (
        group([inference(number, SHADOWED, rows=number % 3) for number in numbers])
        for numbers in (range(5), range(5, 12))
    )
    part = observation(group([inference(n, SHADOWED, rows=n % 3) for n in (6, 9, 11)]), alpha)
    for entry in (
        first,
        second,
        observation(second, zeta),
        observation(first, zeta, Status.TIMEOUT),
        replace(part, ticket=second.ticket, positions=[1, 4, 6]),
    ):
        writer.append(entry)
    assert writer.commit(10)

    assert writer.stats()["appended"] == 5 + 7 + 7 + 5 + 3
    records = logged(path)
    expected = [*requests(first), *requests(second)]
    assert [values(record.entry) for record in records] == [values(each) for each in expected]
    seen = {
        (record.entry.request_id, each.model.label): each
        for record in records
        for each in record.challengers
        if each.status is not Status.PENDING
    }
    assert len(seen) == 5 + 7 + 3
    for request in requests(observation(second, zeta)):
        assert values(seen[request.request_id, "zeta"]) == values(request.observation)
    for request in requests(part):
        assert values(seen[request.request_id, "alpha"]) == values(request.observation)


def test_an_observation_of_a_request_that_was_dropped_is_in_no_record(path, writer):
    dropped, entry = (group([inference(n, SHADOWED) for n in range(3)]) for _ in range(2))
    writer.append(observation(dropped, SHADOWED.challengers[0]))
    writer.append(entry)
    assert writer.commit(10)

    statuses = {each.status for record in logged(path) for each in record.challengers}
    assert statuses == {Status.PENDING}


def test_several_routes_in_one_group_stay_apart(path, writer):
    other = route(pipeline_id=2)
    for number in range(10):
        writer.append(inference(number, other if number % 2 else ALONE))
    assert writer.commit(10)

    assert numbers(path) == [0, 2, 4, 6, 8]
    assert len(read(path.parent, 2).records) == 5
    assert read(path.parent, 3).records == ()
