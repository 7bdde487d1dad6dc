from __future__ import annotations

import os
import time

import polars as pl
import pyarrow.parquet as pq
import pytest

from gnomon.core import limits
from gnomon.log import upkeep
from gnomon.log.flusher import Flusher, Keep
from gnomon.log.places import directory_of
from gnomon.log.table import LogTable
from tests.log.entries import ALONE, SHADOWED, inference, observation, route, values
from tests.log.files import all_records, ids, write

NOW_US = int(time.time() * 1e6)
DAY_US = 86_400_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "front-0.sqlite"


def table(directory, pipeline_id=1):
    return LogTable(directory_of(directory, 1, pipeline_id) / "1")


def move(path, flusher, entries):
    """Log entries and have them moved: one file of the table."""
    write(path, entries)
    flusher.flush()


def test_small_files_are_merged_in_the_order_of_their_rows(path):
    flusher = Flusher(path.parent)
    entries = [inference(n, time_us=NOW_US - n) for n in range(40)]
    later = route(challengers=("new",))
    more = inference(40, later, time_us=NOW_US)
    for at in range(0, 40, 2):
        move(path, flusher, entries[at : at + 2])
    move(path, flusher, [more, observation(more, later.challengers[0])])
    before = [values(record) for record in all_records(path.parent)]
    assert len(table(path.parent).files()) == 21

    flusher.tidy()

    [merged] = table(path.parent).files()
    assert merged.rows == 41
    assert [values(record) for record in all_records(path.parent)] == before
    frame = pl.read_parquet(merged.path)
    assert frame["metadata.place"].is_sorted()
    assert frame["out_new.y0"].null_count() == 40
    assert pl.read_delta(str(table(path.parent).path)).height == 41
    assert merged.first_us <= NOW_US - 39 <= NOW_US <= merged.last_us

    # And what is logged afterwards moves as before
    move(path, flusher, [inference(41, time_us=NOW_US)])
    assert ids(all_records(path.parent)) == [str(n) for n in range(41, -1, -1)]


def test_a_row_is_rewritten_only_when_many_files_have_its_size(path, monkeypatch):
    monkeypatch.setattr(upkeep, "_TIER", 4)
    monkeypatch.setattr(limits, "LOG_FILE_BYTES_MIN", 1)
    flusher = Flusher(path.parent)
    merged = []
    rows = upkeep._rows
    monkeypatch.setattr(upkeep, "_rows", lambda run: merged.append(len(run)) or rows(run))

    for number in range(40):
        move(path, flusher, [inference(number, time_us=NOW_US)])
        flusher.tidy()

    assert len(table(path.parent).files()) < 12
    assert sum(merged) < 40 * 4
    assert len(all_records(path.parent)) == 40


def test_what_is_too_old_is_forgotten_and_nothing_else(path):
    flusher = Flusher(path.parent, Keep(seconds=86_400.0))
    move(path, flusher, [inference(1, time_us=NOW_US - 3 * DAY_US)])
    move(path, flusher, [inference(n, time_us=NOW_US - n * DAY_US) for n in (2, 0)])
    write(path, [inference(3, SHADOWED, time_us=NOW_US - 3 * DAY_US)])  # its challengers run yet

    flusher.flush()
    flusher.tidy()

    assert ids(all_records(path.parent)) == ["3", "0", "2"]


def test_beyond_its_size_the_oldest_of_all_pipelines_are_forgotten(path):
    other = route(pipeline_id=2)
    keeping = Flusher(path.parent)
    for number in range(6):
        at = other if number % 2 else ALONE
        move(path, keeping, [inference(number, at, time_us=NOW_US + 10_000 * number)])
    size = sum(file.bytes for n in (1, 2) for file in table(path.parent, n).files())

    Flusher(path.parent, Keep(bytes=size * 7 // 10)).tidy()

    assert ids(all_records(path.parent)) == ["4", "2"]
    assert ids(all_records(path.parent, 2)) == ["5", "3"]


def test_files_that_were_replaced_are_deleted_when_nobody_reads_them_any_more(path, monkeypatch):
    flusher = Flusher(path.parent)
    for number in range(16):
        move(path, flusher, [inference(number, time_us=NOW_US)])
    files = lambda: list(table(path.parent).path.glob("metadata.log=*/*"))  # noqa: E731

    flusher.tidy()
    assert len(files()) == 17

    monkeypatch.setattr(limits, "LOG_REPLACED_KEPT_S", 0.0)
    flusher.tidy()
    assert files() == [file.path for file in table(path.parent).files()]
    assert len(all_records(path.parent)) == 16


def test_commits_and_files_that_nobody_reads_any_more_are_forgotten_by_the_table(path, monkeypatch):
    flusher = Flusher(path.parent)
    long_ago_s = time.time() - 2 * limits.LOG_REPLACED_KEPT_S
    with monkeypatch.context() as then:
        then.setattr(time, "time", lambda: long_ago_s)
        for number in range(20):
            move(path, flusher, [inference(number, time_us=NOW_US)])
        flusher.tidy()
    commits = table(path.parent).path / "_delta_log"
    for each in commits.iterdir():
        os.utime(each, (long_ago_s, long_ago_s))

    for number in range(20, 32):
        move(path, flusher, [inference(number, time_us=NOW_US)])

    newest = max(commits.glob("*.checkpoint.parquet"))
    assert not any(pl.read_parquet(newest)["remove"].struct.field("path").is_not_null())
    assert min(each.name for each in commits.glob("*.json")) >= "0" * 18 + "20.json"
    assert len(all_records(path.parent)) == 32


def test_a_merge_that_fails_leaves_the_table_as_it_was(path, monkeypatch):
    flusher = Flusher(path.parent)
    for number in range(16):
        move(path, flusher, [inference(number, time_us=NOW_US)])

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    flusher.tidy()
    monkeypatch.undo()

    assert len(table(path.parent).files()) == 16
    assert len(list(table(path.parent).path.glob("metadata.log=*/*"))) == 16
    move(path, flusher, [inference(16, time_us=NOW_US)])
    flusher.tidy()
    assert len(table(path.parent).files()) == 1
    assert len(all_records(path.parent)) == 17
