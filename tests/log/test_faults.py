"""Kills at moments of no meaning, and damage, while requests move from write-ahead to table."""

from __future__ import annotations

import random
import threading

import polars as pl
import pytest

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.log import blobs, flusher, table, tables, upkeep
from gnomon.log.flusher import Flusher, Keep
from gnomon.log.places import directory_of, table_paths
from gnomon.log.query import LogQuery
from gnomon.log.reader import read
from tests.log.entries import (
    SHADOWED,
    child,
    endless,
    inference,
    observation,
    requests,
    route,
    values,
)
from tests.log.files import all_records, ids, shadowed, statuses, write

OLDEST_FIRST = LogQuery(oldest_first=True)
FOR_EVER = Keep(seconds=1e12)  # the requests of these tests are of long ago


@pytest.fixture
def path(tmp_path):
    return tmp_path / "front-0.sqlite"


def check(path, acknowledged, numbers):
    """Check that the log has what was acknowledged, each once, whole, and nothing made up."""
    found = all_records(path.parent, limit=1_000)
    assert len(found) == len(numbers)
    for number, record in zip(numbers, found[::-1], strict=True):
        expected = inference(number, SHADOWED)
        [request] = requests(expected)
        assert values(record.entry) == values(request)
        for seen in record.challengers:
            if seen.status is Status.OK:
                assert values(seen) == values(observation(expected, seen.model).observation)
            else:
                assert seen.status in (Status.PENDING, Status.LOST)
                assert number not in acknowledged


@pytest.mark.parametrize(("seed", "cell_bytes_max"), [(0, limits.LOG_CELL_BYTES_MAX), (1, 100)])
def test_fronts_and_flushers_that_are_killed_lose_and_double_nothing(path, seed, cell_bytes_max):
    choose = random.Random(seed)
    numbers: list[int] = []
    acknowledged: set[int] = set()
    for life in range(3):
        # Given a front that logs and a flusher that moves
        first = (life + 1) * 100_000
        with (
            endless("append_shadowed", path, first) as front,
            endless("flush_without_end", path.parent, cell_bytes_max) as mover,
        ):
            assert mover.stdout.readline() == "begun\n"
            for _ in range(choose.randrange(5, 80)):
                last = int(front.stdout.readline())
            # When both are killed, one after the other
            for victim in choose.sample([front, mover], 2):
                threading.Event().wait(choose.random() * 0.05)
                victim.kill()
            last = max([last, *map(int, front.stdout.read().split()[:-1])])

        # Then all that was acknowledged is there once, with what was seen of it
        acknowledged |= set(range(first, last + 1))
        found = ids(read(path.parent, 1, limit=1).records)
        numbers += range(first, int(found[0]) + 1)
        check(path, acknowledged, numbers)

    Flusher(path.parent).flush()
    check(path, acknowledged, numbers)
    [place] = table_paths(directory_of(path.parent, 1, 1))
    frame = pl.read_delta(str(place))
    assert frame.select("metadata.log", "metadata.place").is_unique().all()
    assert not frame.filter(pl.col("metadata.out_zeta.status") == "pending").height


def test_a_reader_beside_writer_and_flusher_sees_each_request_once_and_in_order(path):
    with (
        endless("append_shadowed", path, 0) as front,
        endless("flush_without_end", path.parent, limits.LOG_CELL_BYTES_MAX) as mover,
    ):
        assert mover.stdout.readline() == "begun\n"
        seen = 0
        while seen < 1_000:
            committed = int(front.stdout.readline())
            page = read(path.parent, 1, limit=300)
            numbers = [int(each) for each in ids(page)]
            assert not page.notices
            assert numbers == list(range(numbers[0], max(numbers[0] - 300, -1), -1))
            assert numbers[0] >= committed >= seen - 1
            for number, record in zip(numbers, page.records, strict=True):
                assert number > committed or set(statuses(record).values()) == {"ok"}
            oldest = [int(n) for n in ids(read(path.parent, 1, limit=20, query=OLDEST_FIRST))]
            assert oldest == list(range(len(oldest)))
            assert len(oldest) >= min(20, numbers[0] + 1)
            seen = committed + 1


class Died(BaseException):
    """As a kill, but in this process."""


MOVING = {
    "description": (table.LogTable, "describe"),
    "large tensor": (blobs.Blobs, "keep"),
    "names of large tensors": (blobs.Blobs, "sync"),
    "beginning of a table": (tables.LogTables, "_create"),
    "rows": (table.LogTable, "write_file"),
    "transaction": (table.LogTable, "commit"),
    "fsync": (table.LogTable, "sync"),
    "delete": (flusher, "delete_moved"),
}
MERGING = {
    "merged file": (table.LogTable, "write_file"),
    "replacement": (table.LogTable, "commit"),
    "fsync": (table.LogTable, "sync"),
}


def dying(step, when):
    """A step before or after which the process ends."""
    do = getattr(*step)

    def die(*given, **named):
        if when == "after":
            do(*given, **named)
        raise Died

    return die


def check_table(directory, records):
    """Check that the tables have the rows of the records, each once."""
    found = table_paths(directory_of(directory, 1, 1))
    places = pl.concat([pl.read_delta(str(each))["metadata.place"] for each in found])
    assert places.n_unique() == len(records)
    assert len(places) == sum(record.entry.rows for record in records)


@pytest.mark.parametrize("step", MOVING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_flusher_may_die_before_and_after_each_step_of_moving(path, monkeypatch, step, when):
    if "tensor" in step:
        monkeypatch.setattr(limits, "LOG_CELL_BYTES_MAX", 100)  # of 29 floats
    groups = shadowed(range(1, 60))
    write(path, *groups[:4])
    before = [values(record) for record in all_records(path.parent)]
    with monkeypatch.context() as patch:
        patch.setattr(*MOVING[step], dying(MOVING[step], when))
        with pytest.raises(Died):
            Flusher(path.parent, FOR_EVER).flush()

    assert [values(record) for record in all_records(path.parent)] == before
    write(path, *groups[4:])
    before = [values(record) for record in all_records(path.parent)]
    write(path, [inference(100, SHADOWED)])  # ends the life of the one before
    Flusher(path.parent, FOR_EVER).flush()

    records = all_records(path.parent)[1:]
    assert [values(r.entry) for r in records] == [entry for entry, _ in before]
    check_table(path.parent, records)


@pytest.mark.parametrize("step", MERGING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_flusher_may_die_before_and_after_each_step_of_merging(path, monkeypatch, step, when):
    monkeypatch.setattr(upkeep, "_TIER", 4)
    moving = Flusher(path.parent, FOR_EVER)
    for number in range(4):
        write(path, [inference(number)])
        moving.flush()
    with monkeypatch.context() as patch:
        patch.setattr(*MERGING[step], dying(MERGING[step], when))
        with pytest.raises(Died):
            Flusher(path.parent, FOR_EVER).tidy()

    assert ids(all_records(path.parent)) == ["3", "2", "1", "0"]
    Flusher(path.parent, FOR_EVER).tidy()
    write(path, [inference(4)])
    Flusher(path.parent, FOR_EVER).flush()

    assert ids(all_records(path.parent)) == ["4", "3", "2", "1", "0"]
    check_table(path.parent, all_records(path.parent))


def test_what_is_wrong_with_one_pipeline_holds_up_no_other(path, monkeypatch, caplog):
    other = route(pipeline_id=2)
    moving = Flusher(path.parent, FOR_EVER)
    write(path, [inference(1)], [inference(2, other)])
    moving.flush()
    [place] = table_paths(directory_of(path.parent, 1, 1))
    for log in (place / "_delta_log").glob("*.json"):
        log.write_bytes(b"{")
    write(path, [inference(3)], [inference(4, other)])

    for _ in range(2):
        again = Flusher(path.parent, FOR_EVER)
        again.flush()
        again.tidy()

    assert ids(read(path.parent, 2)) == ["4", "2"]
    assert ids(read(path.parent, 1)) == ["3"]
    assert "the table of pipeline 1 cannot be written now" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(table.LogTable, "write_file", lambda *_: 1 / 0)
        write(path, [inference(5, other)])
        Flusher(path.parent, FOR_EVER).flush()
    assert "ZeroDivisionError" in caplog.text
    assert ids(read(path.parent, 2)) == ["5", "4", "2"]


def test_a_full_disk_holds_up_the_flusher_and_costs_nothing(path):
    with child("move_to_a_full_disk", path) as process:
        assert process.wait(100) == 0


def test_a_disk_that_is_full_at_any_write_of_a_commit_costs_nothing(tmp_path):
    with child("commit_to_a_disk_that_fills_at_each_write", tmp_path) as process:
        assert process.wait(100) == 0


def test_what_a_disk_fails_to_sync_is_never_said_to_be_kept_and_hurts_nothing_that_was(path):
    with child("log_to_a_disk_that_fails_to_sync", path) as process:
        said = process.stdout.read()
        assert process.wait(100) == 0
    if said == "cannot\n":
        pytest.skip("this kernel refuses no system calls")
    assert said == "synced\n"

    # When a disk is there again
    write(path, [inference(70)])
    Flusher(path.parent, FOR_EVER).flush()

    # Then what was kept before is there once, and nothing by halves
    found = all_records(path.parent)
    numbers = sorted(int(each) for each in ids(found))
    assert numbers[:60] == list(range(60))
    assert len(set(numbers)) == len(numbers)
    for number, record in zip(numbers, sorted(found, key=lambda r: r.entry.time_us), strict=True):
        assert values(record.entry) == values(inference(number))
    check_table(path.parent, found)


def test_a_table_that_cannot_be_read_is_named_and_the_rest_is_shown(path):
    moving = Flusher(path.parent)
    write(path, [inference(1)])
    moving.flush()
    write(path, [inference(2)])
    moving.flush()
    write(path, [inference(3)])
    [place] = table_paths(directory_of(path.parent, 1, 1))
    files = sorted(place.glob("metadata.log=*/*.parquet"), key=lambda file: file.stat().st_mtime_ns)

    files[0].write_bytes(files[0].read_bytes()[:100])
    page = read(path.parent, 1)
    assert ids(page) == ["3", "2"]
    assert page.notices[0].startswith(files[0].name)

    for log in (place / "_delta_log").glob("*.json"):
        log.write_bytes(b"{")
    page = read(path.parent, 1)
    assert ids(page) == ["3"]
    assert len(page.notices) == 1
    Flusher(path.parent).flush()  # which does not move anything now, and loses nothing
    assert ids(read(path.parent, 1)) == ["3"]


@pytest.mark.parametrize("part", ["any", "footer"])
def test_a_flipped_bit_in_a_table_is_no_error_and_gives_no_wrong_record(path, part):
    # A footer that is damaged would end the process, were it believed
    choose = random.Random(7)
    write(path, *shadowed(range(1, 40)))
    write(path, [inference(1_000)])
    Flusher(path.parent).flush()
    [place] = table_paths(directory_of(path.parent, 1, 1))
    [file] = place.glob("metadata.log=*/*.parquet")
    good = file.read_bytes()
    known = {record.entry.request_id: record for record in all_records(path.parent)}

    complete = 0
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    for _ in range(60):
        at = choose.randrange(footer if part == "footer" else 0, len(good))
        flipped = good[at] ^ (1 << choose.randrange(8))
        file.write_bytes(good[:at] + bytes([flipped]) + good[at + 1 :])
        page = read(path.parent, 1)
        for record in page.records:
            assert values(record) == values(known[record.entry.request_id])
        complete += len(page.records) == len(known)
        assert page.notices or len(page.records) == len(known)
    assert complete == 0 if part == "footer" else complete < 60
