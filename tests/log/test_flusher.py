from __future__ import annotations

import json
import random
import sqlite3
import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from gnomon import settings
from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.log import flusher as flushing
from gnomon.log.flusher import Flusher
from gnomon.log.places import directory_of
from gnomon.log.query import ANY, LogQuery
from gnomon.log.reader import read
from gnomon.log.tables import LogTables
from gnomon.log.where import Where
from gnomon.log.writer import LogWriter
from gnomon.private_files import sync
from gnomon.server.serve import FLUSHER_ENVIRONMENT
from tests.log.entries import (
    ALONE,
    SHADOWED,
    child,
    group,
    inference,
    observation,
    route,
    values,
)
from tests.log.files import all_records, ids, shadowed, statuses, write
from tests.waiting import until

ZETA, ALPHA = SHADOWED.challengers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "front-0.sqlite"


def segments(path):
    """How many segments a write-ahead holds."""
    with sqlite3.connect(path) as connection:
        [count] = connection.execute("SELECT count(*) FROM segments").fetchone()
    connection.close()
    return count


def rows(directory, generation=1, pipeline_id=1):
    """A table's rows, as plain values, in the order of their places."""
    table = DeltaTable(directory_of(directory, 1, pipeline_id) / str(generation))
    found = pa.RecordBatchReader.from_stream(table.scan()).read_all().to_pylist()
    return sorted(found, key=lambda row: (row["metadata.place"], row["metadata.row"]))


def die(*_):
    raise KeyboardInterrupt


def numbers(directory, **options):
    return [row["in.tensor"][0] for row in rows(directory, **options)]


def test_what_moved_is_read_as_before_and_is_not_in_the_write_ahead_any_more(path):
    write(path, *shadowed(range(100)), [observation(inference(0, SHADOWED), ZETA)])
    for number in range(3):  # the last challengers never end
        write(path, [inference(1_000 + number)])
    before = all_records(path.parent)

    Flusher(path.parent).flush()

    assert [values(record) for record in all_records(path.parent)] == [*map(values, before)]
    assert len(before) == 103
    assert segments(path) == 0
    assert len({row["metadata.request_id"] for row in rows(path.parent)}) == 103


def test_a_row_has_the_columns_that_users_know(path):
    entry = inference(7, SHADOWED, rows=2, inputs={"tensor": np.float32([[1, 2], [3, 4]])})
    write(path, [entry, observation(entry, ALPHA), observation(entry, ZETA, Status.ERROR)])

    Flusher(path.parent).flush()

    first, second = rows(path.parent)
    known = {
        "in.tensor": [3.0, 4.0],
        "out.y0": [1.0],
        "out_alpha.y0": [2.0],
        "anomaly.count": 0,
        "metadata.request_id": "request-7",
        "metadata.row": 1,
        "metadata.rows": 2,
        "metadata.pipeline_version": "v1",
        "metadata.step": 0,
        "metadata.out.model": "champion@1",
        "metadata.out.version": "uuid-of-champion-1",
        "metadata.out.sha": f"{1:064x}",
        "metadata.out.elapsed_ns": 7,
        "metadata.out.status": "ok",
        "metadata.out_alpha.status": "ok",
        "metadata.out_zeta.status": "error",
        "metadata.out_zeta.error": "error of request-7",
        "metadata.out_zeta.elapsed_ns": 11,
    }
    assert {name: second[name] for name in known} == known
    assert (first["metadata.row"], first["in.tensor"]) == (0, [1.0, 2.0])
    assert first["time"].timestamp() == pytest.approx(entry.times_us[0] / 1e6)


def test_tensors_of_every_kind_are_stored_as_tables_can_and_read_back_as_they_were(path):
    inputs = {
        "texts": np.array([["a", "ü"], ["", '"\n\0']], dtype=object),
        "half": np.array([[1.5], [-0.0]], dtype=np.float16),
        "byte": np.array([255, 0], dtype=np.uint8),
        "short": np.array([65535, 0], dtype=np.uint16),
        "word": np.array([2**32 - 1, 0], dtype=np.uint32),
        "big": np.array([2**64 - 1, 0], dtype=np.uint64),
        "small": np.array([-128, 127], dtype=np.int8),
        "flags": np.array([[True, False], [False, False]]),
        "deep": np.arange(24, dtype=np.int64).reshape(2, 3, 4),
        "none": np.zeros((2, 0, 3), dtype=np.float32),
        "scalar": np.array(3, dtype=np.int32),
        "whole": np.arange(5, dtype=np.float64),
        "nan": np.array([np.nan, np.inf]),
    }
    entry = inference(1, rows=2, inputs=inputs, outputs=(np.zeros((2, 1), np.float32),))
    write(path, [entry])

    Flusher(path.parent).flush()

    [record] = all_records(path.parent)
    assert segments(path) == 0
    assert values(record.entry) == values(entry)
    _, second = rows(path.parent)
    assert second["in.texts"] == ["", '"\n\0']
    assert (second["in.half"], second["in.deep"][1]) == ([-0.0], [16, 17, 18, 19])
    assert (second["in.scalar"], second["in.whole"]) == (3, [0.0, 1.0, 2.0, 3.0, 4.0])
    assert rows(path.parent)[0]["in.big"] == 2**64 - 1


def test_columns_that_one_type_stores_are_read_back_each_as_its_own(path):
    # Given requests side by side in which a column is of types and shapes that tables store alike
    columns = [
        np.array([3, 4], dtype=np.uint8),
        np.array([3, 4], dtype=np.int16),
        np.array(3, dtype=np.int16),
    ]
    entries = [inference(n, rows=2, inputs={"x": columns[n % 3]}) for n in range(9)]
    write(path, entries)

    Flusher(path.parent).flush()

    assert [values(r.entry) for r in all_records(path.parent)[::-1]] == [*map(values, entries)]
    assert segments(path) == 0


def test_requests_of_different_lengths_are_one_unit_of_one_table(path):
    wide = [inference(n, inputs={"x": np.ones((2, n % 5 + 1))}, rows=2) for n in range(20)]
    write(path, wide)

    Flusher(path.parent).flush()

    assert [values(r.entry) for r in all_records(path.parent)[::-1]] == [*map(values, wide)]
    assert len({row["metadata.description"] for row in rows(path.parent)}) == 1


def test_a_running_challenger_holds_back_what_was_logged_after_it_and_nothing_else(path):
    entries = [inference(number, SHADOWED) for number in range(6)]
    done = [observation(entry, model) for entry in entries for model in (ZETA, ALPHA)]
    late = done.pop(7)  # of the fourth
    writer, flusher = LogWriter(path), Flusher(path.parent)
    for entry in (*entries, *done):
        writer.append(entry)
    assert writer.commit(10)

    # When the flusher comes while it runs
    flusher.flush()

    # Then what was logged before has moved, and all can be read
    assert numbers(path.parent) == [0, 1, 2]
    records = all_records(path.parent)
    assert ids(records) == ["5", "4", "3", "2", "1", "0"]
    assert statuses(records[2]) == {"alpha": Status.PENDING, "zeta": Status.OK}

    # And when it has ended, the rest moves
    writer.append(late)
    writer.close()
    flusher.flush()
    assert numbers(path.parent) == [0, 1, 2, 3, 4, 5]
    assert {row["metadata.out_alpha.status"] for row in rows(path.parent)} == {"ok"}
    assert segments(path) == 0


def test_what_a_dead_front_left_open_is_lost(path):
    with child("leave_a_challenger_running", path, stdin=-1) as process:
        assert process.stdout.readline() == "committed\n"
        process.kill()
    flusher = Flusher(path.parent)
    flusher.flush()
    assert segments(path) == 1

    write(path, [inference(2, SHADOWED)])  # another has taken its place
    flusher.flush()

    [row] = rows(path.parent)
    assert (row["metadata.out_zeta.status"], row["metadata.out_alpha.status"]) == ("lost", "lost")
    assert row["metadata.out_zeta.ended"] is None
    assert "out_zeta.y0" not in row  # it has never answered
    open_yet, lost = all_records(path.parent)
    assert set(statuses(lost).values()) == {Status.LOST}
    assert set(statuses(open_yet).values()) == {Status.PENDING}


def test_a_challenger_is_not_waited_for_longer_than_it_may_run(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_OPEN_MAX_S", 0.0)
    entry, after = inference(1, SHADOWED), inference(2)
    writer, flusher = LogWriter(path), Flusher(path.parent)
    for each in (entry, observation(entry, ZETA), after):
        writer.append(each)
    assert writer.commit(10)

    flusher.flush()  # which sees it for the first time
    flusher.flush()

    assert numbers(path.parent) == [1, 2]
    writer.append(observation(entry, ALPHA))  # much too late
    writer.close()
    _, record = all_records(path.parent)
    assert statuses(record) == {"alpha": Status.LOST, "zeta": Status.OK}
    flusher.flush()
    assert segments(path) == 0


def test_a_flusher_that_died_between_commit_and_delete_doubles_nothing(path, monkeypatch):
    write(path, *shadowed(range(1, 30)), [inference(100)])
    write(path, [inference(101)])
    before = all_records(path.parent)

    # Given a flusher that ends when it has written the table
    with monkeypatch.context() as patch:
        patch.setattr(flushing, "delete_moved", die)
        with pytest.raises(KeyboardInterrupt):
            Flusher(path.parent).flush()
    assert segments(path) > 0
    assert [values(r) for r in all_records(path.parent)] == [values(r) for r in before]

    # When another one comes
    Flusher(path.parent).flush()

    # Then all is there once
    assert segments(path) == 0
    assert [values(r) for r in all_records(path.parent)] == [values(r) for r in before]
    assert len({row["metadata.place"] for row in rows(path.parent)}) == len(before)
    assert len(rows(path.parent)) == sum(max(r.entry.rows, 1) for r in before)


def test_a_write_ahead_that_was_emptied_and_refilled_is_not_taken_for_what_has_moved(path):
    flusher = Flusher(path.parent)
    for number in range(4):
        write(path, [inference(number)])
        flusher.flush()
        assert segments(path) == 0

    assert numbers(path.parent) == [0, 1, 2, 3]
    assert ids(all_records(path.parent)) == ["3", "2", "1", "0"]


def test_what_moved_is_known_after_the_table_has_had_a_checkpoint(path, monkeypatch):
    synced = []
    monkeypatch.setattr("gnomon.log.table.sync", lambda path: synced.append(path) or sync(path))
    flusher = Flusher(path.parent)
    for number in range(12):
        write(path, [inference(number)])
        flusher.flush()

    write(path, [inference(12)])

    [written] = directory_of(path.parent, 1, 1).glob("1/_delta_log/*.checkpoint.parquet")
    assert {written, written.with_name("_last_checkpoint")} <= set(synced)
    assert [int(each) for each in ids(all_records(path.parent))] == list(range(12, -1, -1))


def test_a_checkpoint_that_fails_loses_and_doubles_nothing_and_is_made_later(path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    flusher = Flusher(path.parent)
    with monkeypatch.context() as full:
        full.setattr(DeltaTable, "create_checkpoint", fail)
        for number in range(12):
            write(path, [inference(number)])
            flusher.flush()
    commits = directory_of(path.parent, 1, 1) / "1" / "_delta_log"
    assert not list(commits.glob("*.checkpoint.parquet"))
    assert numbers(path.parent) == list(range(12))

    for number in range(12, 20):
        write(path, [inference(number)])
        flusher.flush()

    assert list(commits.glob("*.checkpoint.parquet"))
    assert numbers(path.parent) == list(range(20))


def test_many_commits_take_no_more_memory_and_no_more_threads_than_some(tmp_path):
    environment = settings.child_environment(**FLUSHER_ENVIRONMENT)
    with child("flush_often", tmp_path, 36, 108, env=environment) as process:
        out, _ = process.communicate(timeout=60)

    some, many = (json.loads(line) for line in out.splitlines())
    assert many["rss_mb"] - some["rss_mb"] < 5
    assert many["threads"] < 40


def test_a_new_challenger_adds_columns(path):
    later = route(challengers=("zeta", "alpha", "new"))
    old, new = inference(1, SHADOWED, sampled=(ZETA,)), inference(2, later)
    write(path, [old, observation(old, ZETA)])
    flusher = Flusher(path.parent)
    flusher.flush()
    write(path, [new, *(observation(new, model) for model in later.challengers)])
    flusher.flush()

    first, second = rows(path.parent)
    assert (first["out_new.y0"], first["metadata.out_new.status"]) == (None, None)
    assert second["out_new.y0"] == second["out_zeta.y0"]
    assert [sorted(statuses(r)) for r in all_records(path.parent)] == [
        ["alpha", "new", "zeta"],
        ["zeta"],
    ]


def of_type(number, dtype, at=ALONE):
    return inference(number, at, inputs={"x": np.full((1, 2), number, dtype)})


def test_a_type_that_does_not_fit_goes_to_the_next_generation_and_readers_see_both(path):
    entries = [of_type(n, "float32" if n % 3 else "int64") for n in range(12)]
    flusher = Flusher(path.parent)
    for at in range(0, 12, 4):
        write(path, entries[at : at + 4])
        flusher.flush()

    assert [row["in.x"][0] for row in rows(path.parent)] == [0, 3, 6, 9]
    assert [row["in.x"][0] for row in rows(path.parent, 2)] == [1, 2, 4, 5, 7, 8, 10, 11]
    expected = [values(entry) for entry in entries]
    assert [values(record.entry) for record in all_records(path.parent)] == expected[::-1]
    assert [
        values(r.entry) for r in all_records(path.parent, query=LogQuery(oldest_first=True))
    ] == expected


def test_a_new_generation_knows_what_has_moved_from_all_fronts(tmp_path):
    # Given two fronts whose requests have moved
    paths = [tmp_path / f"front-{index}.sqlite" for index in range(2)]
    for number, path in enumerate(paths):
        write(path, [of_type(number, "float32")])
    Flusher(tmp_path).flush()

    # When the first one logs what needs a new generation, and another flusher moves it
    write(paths[0], [of_type(2, "int64")])
    Flusher(tmp_path).flush()
    write(paths[1], [of_type(3, "int64"), of_type(4, "float32")])
    Flusher(tmp_path).flush()

    assert sorted(ids(all_records(tmp_path))) == ["0", "1", "2", "3", "4"]
    assert sorted(row["in.x"][0] for row in rows(tmp_path)) == [0, 1, 4]
    assert sorted(row["in.x"][0] for row in rows(tmp_path, 2)) == [2, 3]


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_flusher_that_died_between_two_generations_doubles_and_loses_nothing(
    path, monkeypatch, survived
):
    # Given rows for three generations, of which the flusher writes some before it dies
    kinds = ["float32", "int64", "object"]
    entries = [of_type(n, kinds[n % 3]) for n in range(3, 12)]
    entries = [
        entry
        if entry.inputs["x"].dtype != object
        else replace(entry, inputs={"x": entry.inputs["x"].astype(str)})
        for entry in entries
    ]
    write(path, entries[:6])
    write_table = LogTables._write
    written = []

    def dying(self, index, *rest):
        if len(written) == survived:
            raise KeyboardInterrupt
        written.append(index)
        write_table(self, index, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(LogTables, "_write", dying)
        with pytest.raises(KeyboardInterrupt):
            Flusher(path.parent).flush()
    assert ids(all_records(path.parent)) == [str(n) for n in range(8, 2, -1)]

    # When more is logged, and another flusher comes
    write(path, entries[6:])
    Flusher(path.parent).flush()

    # Then each row is in one table, once
    assert segments(path) == 0
    found = [rows(path.parent, generation) for generation in (1, 2, 3)]
    assert [[row["metadata.request_id"] for row in table] for table in found] == [
        [f"request-{n}" for n in range(3 + kind, 12, 3)] for kind in range(3)
    ]
    assert [values(r.entry) for r in all_records(path.parent)[::-1]] == [*map(values, entries)]


def test_a_table_has_a_greatest_number_of_columns(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_TABLE_COLUMNS_MAX", 30)
    first = [inference(n, inputs={f"c{n}": np.ones(1)}) for n in range(20)]
    write(path, first)
    flusher = Flusher(path.parent)

    flusher.flush()
    write(path, first)
    flusher.flush()

    generations = LogTables(directory_of(path.parent, 1, 1)).generations
    assert len(generations) > 1
    assert all(len(table.types()) <= 30 for table in generations)
    assert len(all_records(path.parent)) == 40
    assert segments(path) == 0


def test_pipelines_have_tables_of_their_own(path):
    other = route(pipeline_id=2)
    write(path, [inference(n, other if n % 2 else ALONE) for n in range(6)])

    Flusher(path.parent).flush()

    assert numbers(path.parent) == [0, 2, 4]
    assert numbers(path.parent, pipeline_id=2) == [1, 3, 5]
    assert ids(read(path.parent, 2).records) == ["5", "3", "1"]


def test_damaged_segments_are_set_aside_and_hold_up_nothing(path):
    entry = inference(2, SHADOWED)
    write(path, [inference(1)], [entry], [observation(entry, ZETA)], [inference(3)])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE segments SET body = zeroblob(length(body)) WHERE seq IN (1, 3)")
    connection.close()
    write(path, [inference(4)])  # the first front's life is over

    Flusher(path.parent).flush()

    assert [row["metadata.request_id"] for row in rows(path.parent)] == [
        "request-2",
        "request-3",
        "request-4",
    ]
    page = read(path.parent, 1)
    assert ids(page.records) == ["4", "3", "2"]
    assert set(statuses(page.records[2]).values()) == {Status.LOST}
    assert page.notices == ("front-0.sqlite: 2 damaged segments were set aside",)
    assert segments(path) == 0


def test_other_tools_read_the_table(path):
    entries = [group([inference(n, SHADOWED) for n in range(at, at + 4)]) for at in range(0, 40, 4)]
    write(
        path,
        *(
            [entry, *(observation(entry, model) for model in SHADOWED.challengers)]
            for entry in entries
        ),
    )
    Flusher(path.parent).flush()
    table = directory_of(path.parent, 1, 1) / "1"

    frame = pl.read_delta(str(table)).sort("metadata.place")

    assert frame["in.tensor"].list.first().to_list() == list(range(40))
    assert np.allclose(frame["out_zeta.y0"].list.first(), 2 * frame["out.y0"].list.first())
    assert frame["metadata.out.version"].unique().to_list() == ["uuid-of-champion-1"]


def test_only_one_flusher_is_at_work(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_FLUSH_INTERVAL_S", 0.01)
    monkeypatch.setattr(limits, "LOG_RETRY_MAX_S", 0.01)
    begun = []
    monkeypatch.setattr(Flusher, "flush", lambda self: begun.append(threading.current_thread()))
    stops = [threading.Event(), threading.Event()]
    first, second = (threading.Thread(target=flushing.run, args=(tmp_path, stop)) for stop in stops)
    first.start()
    until(lambda: begun)
    second.start()
    until(lambda: len(begun) > 20)
    assert set(begun) == {first}

    stops[0].set()
    until(lambda: second in begun)

    stops[1].set()
    first.join()
    second.join()


def test_pages_go_on_from_the_write_ahead_to_the_tables_while_they_move(tmp_path):
    paths = [tmp_path / f"front-{index}.sqlite" for index in range(2)]
    choose = random.Random(3)
    entries = [inference(number) for number in range(120)]
    for at in range(0, 120, 10):
        write(paths[at // 10 % 2], entries[at : at + 10])
        if choose.random() < 0.5:
            Flusher(tmp_path).flush()
    found, cursor, more = [], None, True
    while more:
        page = read(tmp_path, 1, limit=7, after=cursor)
        assert not page.notices
        found += ids(page.records)
        cursor, more = page.next, page.more
        Flusher(tmp_path).flush()
        write(paths[0], [inference(1_000 + len(found))])

    assert [int(each) for each in found] == list(range(119, -1, -1))


def test_a_request_of_many_rows_is_read_whole_across_row_groups(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_ROW_GROUP_ROWS", 10)
    entries = [inference(number, rows=number % 37 + 1) for number in range(60)]
    write(path, entries)
    Flusher(path.parent).flush()

    for oldest_first in (False, True):
        for where in (None, Where('"metadata.row" = 0'), Where('"metadata.row" >= 5')):
            query = LogQuery(oldest_first=oldest_first, where=where)
            found = [values(r.entry) for r in all_records(path.parent, query=query, limit=7)]
            wanted = [e for e in entries if where is None or e.rows[0] > 5 or "= 0" in where.text]
            assert found == [values(e) for e in (wanted if oldest_first else wanted[::-1])]


@pytest.mark.parametrize("moved", [False, True])
def test_a_clock_that_is_set_back_mixes_up_and_hides_nothing(path, moved):
    # Given a clock that is set back by a day in the midst, and forward again
    day_us, start = 86_400_000_000, inference(0).times_us[0]
    times = [start + n - (day_us if 10 <= n < 20 else 0) for n in range(30)]
    entries = [inference(n, SHADOWED, time_us=times[n]) for n in range(30)]
    for at in range(0, 30, 5):
        several = entries[at : at + 5]
        seen = [observation(entry, model) for entry in several for model in SHADOWED.challengers]
        write(path, [*several, *seen])
        if moved:
            Flusher(path.parent).flush()

    # Then requests come in the order of logging, and are found by the time that they say
    assert [int(each) for each in ids(all_records(path.parent))] == list(range(29, -1, -1))
    assert found(path.parent, end_us=start - 1_000) == list(range(19, 9, -1))
    assert found(path.parent, start_us=start) == [*range(29, 19, -1), *range(9, -1, -1)]
    assert found(path.parent, start_us=start - day_us, end_us=start, oldest_first=True) == [
        *range(10, 20)
    ]
    records = {int(r.entry.request_id[8:]): r for r in all_records(path.parent)}
    assert all(values(records[n].entry) == values(entries[n]) for n in range(30))
    assert all(set(statuses(record).values()) == {Status.OK} for record in records.values())


@pytest.fixture(params=["fresh", "moved", "both"])
def filtered(request, path):
    """A log with requests of two versions, whose challengers fare differently."""
    zeta, alpha = SHADOWED.challengers
    entries = [inference(number, SHADOWED if number % 2 else ALONE) for number in range(40)]
    outcomes = [Status.OK, Status.TIMEOUT, Status.ERROR, Status.OK]
    for at in range(0, 40, 8):
        several = entries[at : at + 8]
        seen = [e for e in several if e.route is SHADOWED]
        write(
            path,
            [
                *several,
                *(observation(entry, alpha) for entry in seen),
                *(observation(entry, zeta, outcomes[i]) for i, entry in enumerate(seen)),
            ],
        )
        if request.param == "moved" or (request.param == "both" and at == 16):
            Flusher(path.parent).flush()
    return path.parent


def found(directory, limit=3, **conditions):
    records = all_records(directory, query=LogQuery(**conditions), limit=limit)
    return [int(each) for each in ids(records)]


def test_requests_are_chosen_by_what_is_asked_for(filtered):
    start = inference(0).times_us[0]
    odd = list(range(39, 0, -2))

    assert found(filtered) == list(range(39, -1, -1))
    assert found(filtered, oldest_first=True) == list(range(40))
    assert found(filtered, start_us=start + 10) == list(range(39, 9, -1))
    assert found(filtered, end_us=start + 10) == list(range(9, -1, -1))
    assert found(filtered, start_us=start + 10, end_us=start + 13) == [12, 11, 10]
    assert found(filtered, request_id="request-21") == [21]
    assert found(filtered, model="alpha") == odd
    assert found(filtered, model="champion") == list(range(39, -1, -1))
    assert found(filtered, model="nobody") == []
    assert found(filtered, status=Status.TIMEOUT) == [n for n in odd if n % 8 == 3]
    assert found(filtered, status=Status.ERROR, model="zeta") == [n for n in odd if n % 8 == 5]
    assert found(filtered, status=Status.ERROR, model="alpha") == []
    assert found(filtered, status=Status.OK) == list(range(39, -1, -1))
    assert found(filtered, where=Where('"in.tensor"[3] BETWEEN 7 AND 12')) == [12, 11, 10, 9, 8, 7]
    differing = [n for n in odd if n % 8 in (1, 7)]  # the others gave nothing
    assert found(filtered, disagree="zeta") == differing
    assert found(filtered, disagree=ANY, oldest_first=True) == odd[::-1]
    assert found(filtered, disagree="nobody") == []
    timed_out = Where('"metadata.out_zeta.status" = \'timeout\' AND "in.tensor"[1] > 5')
    assert found(filtered, where=timed_out) == [n for n in odd if n % 8 == 3 and n > 5]
    assert found(filtered, where=timed_out, oldest_first=True) == [11, 19, 27, 35]
    assert found(filtered, where=Where('"out_zeta.y0"[1] > 0'), model="alpha", limit=1) == [
        n for n in odd if n % 8 in (1, 7)
    ]
