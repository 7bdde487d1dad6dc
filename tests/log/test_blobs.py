"""Tensors that are too large for a table: files beside it, named by their content."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sqlite3
import time
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from gnomon.core import limits
from gnomon.log.blobs import DIRECTORY, name_of
from gnomon.log.flusher import Flusher, Keep
from gnomon.log.places import directory_of, table_paths
from gnomon.log.query import ANY, LogQuery
from gnomon.log.reader import read
from gnomon.log.where import Where
from gnomon.server.backup import backup, restore
from gnomon.settings import Home
from tests.log.entries import SHADOWED, inference, observation, requests, route, values
from tests.log.files import all_records, ids, write

NOW_US = int(time.time() * 1e6)
DAY_US = 86_400_000_000
SIDE = 160  # a picture of 3 * 160 * 160 float32 has 307 kB


@pytest.fixture
def path(tmp_path):
    return tmp_path / "front-0.sqlite"


def picture(seed, rows=1):
    return np.random.default_rng(seed).random((rows, 3, SIDE, SIDE), dtype=np.float32)


def seen(number, image, **more):
    """An inference of a picture."""
    return inference(
        number, rows=len(image), inputs={"image": image}, time_us=NOW_US + number, **more
    )


def pictures(directory, pipeline_id=1):
    """The files of large tensors that a pipeline has, by name."""
    place = directory_of(directory, 1, pipeline_id) / DIRECTORY
    return {path.name: path for path in place.glob("*/*")}


def the_table(directory):
    [place] = table_paths(directory_of(directory, 1, 1))
    return place


def written(entries):
    return [values(request) for entry in entries for request in requests(entry)]


def test_what_is_logged_many_times_is_stored_once_and_comes_back_each_time(path):
    # Given a picture that comes three hundred times, and another that comes once
    image, other = picture(1), picture(2)
    flusher = Flusher(path.parent)
    for at in range(0, 300, 50):
        write(path, [seen(number, image) for number in range(at, at + 50)])
        while flusher.flush():
            pass
    write(path, [seen(300, other)])
    flusher.flush()

    # Then there are two files, and the table is small
    table = directory_of(path.parent, 1, 1)
    assert len(pictures(path.parent)) == 2
    size = sum(each.stat().st_size for each in table.rglob("*") if each.is_file())
    assert size < 2 * image.nbytes + 200_000
    # and all are read back bit for bit
    newest, *rest = all_records(path.parent, limit=100)
    assert len(rest) == 300
    assert values(newest.entry) == values(seen(300, other))
    expected = image.tobytes()
    assert all(record.entry.inputs["image"].tobytes() == expected for record in rest)


def test_other_tools_see_the_name_and_load_the_tensor_by_it(path):
    image = picture(1, rows=2)
    write(path, [seen(7, image)])

    Flusher(path.parent).flush()

    place = the_table(path.parent)
    frame = pl.read_delta(str(place)).sort("metadata.row")
    assert "in.image" not in frame.columns
    names = frame["metadata.in.image.sha256"].to_list()
    assert names == [name_of(row) for row in image]
    for name, row in zip(names, image, strict=True):
        file = place.parent / "blobs" / name[:2] / name
        assert hashlib.sha256(file.read_bytes()).hexdigest() == name
        assert file.stat().st_mode & 0o077 == 0
        assert np.array_equal(np.load(file), row)
    log = DeltaTable(place).to_pyarrow_dataset()  # noqa: F841, found by its name
    query = f"""SELECT count(*) FROM log WHERE "metadata.in.image.sha256" = '{names[1]}'"""
    assert duckdb.sql(query).fetchall() == [(1,)]


TENSORS = [
    np.arange(6, dtype=np.uint8).reshape(2, 3),
    np.array([[2**64 - 1, 0], [1, 2]], dtype=np.uint64),
    np.frombuffer(b"\x01\x7e" * 6, dtype=np.float16).reshape(2, 3),  # NaNs that say something
    np.array([[True, False, True], [False, True, True]]),
    np.array([[np.nan, -0.0], [np.inf, 5e-324]]),
    np.arange(24, dtype=np.int64).reshape(2, 3, 4),
    np.arange(5, dtype=np.int32),  # one for both rows
]


@pytest.mark.parametrize("array", TENSORS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_tensors_of_every_kind_come_back_bit_for_bit(path, monkeypatch, array):
    monkeypatch.setattr(limits, "LOG_CELL_BYTES_MAX", 1)
    entry = inference(1, SHADOWED, rows=2, inputs={"x": array}, outputs=(array,))
    entries = [entry, observation(entry, SHADOWED.challengers[0], outputs=(array[..., ::-1],))]
    write(path, entries)
    write(path, [inference(2)])  # the other challenger is lost

    Flusher(path.parent).flush()

    other, record = all_records(path.parent)
    assert [values(record.entry), values(other.entry)] == written([entry, inference(2)])
    reversed_output = record.challengers[1].outputs[0]
    assert reversed_output.tobytes() == np.ascontiguousarray(array[..., ::-1]).tobytes()
    columns = pl.read_delta(str(the_table(path.parent))).columns
    assert {"metadata.in.x.sha256", "metadata.out_zeta.y0.sha256"} <= set(columns)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM segments").fetchone() == (0,)
    connection.close()


def test_large_and_small_ones_of_a_column_are_in_one_table(path):
    small = np.ones((1, 3, 4, 4), np.float32)
    entries = [seen(number, small if number % 2 else picture(number)) for number in range(6)]
    text = inference(6, inputs={"image": np.array([["x" * limits.LOG_CELL_BYTES_MAX]], object)})
    write(path, entries, [seen(7, picture(0, rows=2)[:, :, :0])])

    Flusher(path.parent).flush()

    assert [values(r.entry) for r in all_records(path.parent)[1:]] == written(entries)[::-1]
    frame = pl.read_delta(str(the_table(path.parent))).sort("metadata.place")
    assert frame["in.image"].is_null().to_list()[:6] == [True, False] * 3
    assert frame["metadata.in.image.sha256"].is_null().to_list()[:6] == [False, True] * 3
    # texts stay where they are: a table keeps what is the same in them once
    write(path, [text])
    Flusher(path.parent).flush()
    assert values(read(path.parent, 1, limit=1).records[0].entry) == values(text)
    assert len(pictures(path.parent)) == 3


@pytest.mark.parametrize("moved", [False, True])
def test_conditions_see_no_large_tensor_wherever_it_stands(path, moved):
    image = picture(1)
    write(path, [seen(1, image), seen(2, np.ones((1, 3, 2, 2), np.float32))])
    if moved:
        Flusher(path.parent).flush()

    def found(where):
        return ids(read(path.parent, 1, query=LogQuery(where=Where(where))))

    assert found('"in.image"[1][1][1] >= 0') == ["2"]
    assert found('"in.image" IS NULL') == ["1"]
    assert found(f"\"metadata.in.image.sha256\" = '{name_of(image[0])}'") == ["1"]
    assert ids(read(path.parent, 1, query=LogQuery(disagree=ANY))) == []


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "deleted", "another"])
def test_a_damaged_file_is_named_and_costs_only_who_named_it(path, how):
    choose = random.Random(how)
    write(path, [seen(number, picture(number)) for number in range(3)])
    Flusher(path.parent).flush()
    files = pictures(path.parent)
    bad = files[name_of(picture(1)[0])]
    good = bad.read_bytes()
    for _ in range(10 if how == "flipped" else 1):
        at = choose.randrange(len(good))
        if how == "deleted":
            bad.unlink()
        else:
            content = {
                "flipped": good[:at]
                + bytes([good[at] ^ 1 << choose.randrange(8)])
                + good[at + 1 :],
                "truncated": good[:at],
                "emptied": b"",
                "another": files[name_of(picture(2)[0])].read_bytes(),
            }[how]
            bad.write_bytes(content)

        page = read(path.parent, 1)

        assert ids(page) == ["2", "0"]
        [notice] = page.notices
        assert notice.startswith("request request-1: cannot be read: ")
        assert str(path.parent) not in notice


def move(path, flusher, entries):
    """Log entries and have them moved: one file of the table."""
    write(path, entries)
    flusher.flush()


def test_a_tensor_goes_with_the_last_row_that_names_it(path, monkeypatch):
    # Given three pictures: of an old request, of a new one, and of both
    flusher = Flusher(path.parent, Keep(seconds=86_400.0))
    old, new, both = picture(1), picture(2), picture(3)
    long_ago = [
        inference(n, inputs={"image": image}, time_us=NOW_US - 3 * DAY_US)
        for n, image in enumerate([old, both])
    ]
    move(path, flusher, long_ago)
    move(path, flusher, [seen(2, new), seen(3, both)])
    assert len(pictures(path.parent)) == 3
    left = directory_of(path.parent, 1, 1) / DIRECTORY / "ab" / ".begun.by.one.that.was.killed"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")

    # When the old request is forgotten, then its picture stays for who reads the table just now
    flusher.tidy()
    assert ids(read(path.parent, 1)) == ["3", "2"]
    assert len(pictures(path.parent)) == 4
    # and goes after that, with what was left half done
    monkeypatch.setattr(limits, "LOG_REPLACED_KEPT_S", 0.0)
    flusher.tidy()
    assert set(pictures(path.parent)) == {name_of(new[0]), name_of(both[0])}
    # and comes again with another row
    move(path, flusher, [seen(4, old)])
    Flusher(path.parent, Keep(seconds=86_400.0)).tidy()
    assert set(pictures(path.parent)) == {name_of(each[0]) for each in (old, new, both)}
    assert [values(r.entry) for r in all_records(path.parent)] == written(
        [seen(4, old), seen(3, both), seen(2, new)]
    )


def test_large_tensors_count_as_the_disk_that_they_take(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_REPLACED_KEPT_S", 0.0)
    keeping, other = Flusher(path.parent), route(pipeline_id=2)
    for number in range(6):
        image = picture(number // 2)  # two requests have one picture
        at = {"at": other} if number == 5 else {}
        move(path, keeping, [seen(10_000 * number, image, **at)])

    # When there is room for two pictures and a bit
    Flusher(path.parent, Keep(bytes=int(2.5 * picture(0).nbytes))).tidy()

    # Then the oldest requests are forgotten until they fit: 4 and 5 have one each
    assert ids(all_records(path.parent)) == ["40000"]
    assert ids(all_records(path.parent, 2)) == ["50000"]
    assert set(pictures(path.parent)) == {name_of(picture(2)[0])}
    assert set(pictures(path.parent, 2)) == {name_of(picture(2)[0])}


def test_merged_files_name_the_same_tensors(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_REPLACED_KEPT_S", 0.0)
    flusher = Flusher(path.parent)
    entries = [seen(number, picture(number % 3)) for number in range(17)]
    for entry in entries:
        move(path, flusher, [entry])

    for _ in range(2):
        flusher.tidy()

    assert len(list(the_table(path.parent).glob("metadata.log=*/*"))) == 1
    assert len(pictures(path.parent)) == 3
    assert [values(r.entry) for r in all_records(path.parent)] == written(entries)[::-1]


def test_while_a_file_of_the_table_cannot_be_read_no_tensor_goes(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_REPLACED_KEPT_S", 0.0)
    flusher = Flusher(path.parent)
    for number in range(2):
        move(path, flusher, [seen(number, picture(number))])
    file = next(the_table(path.parent).glob("metadata.log=*/*"))
    content = file.read_bytes()
    file.write_bytes(content[:-200])

    Flusher(path.parent).tidy()

    assert len(pictures(path.parent)) == 2
    file.write_bytes(content)
    assert len(all_records(path.parent)) == 2


def test_a_backup_has_the_tensors_that_its_tables_name(tmp_path):
    home, copy, other = (Home(tmp_path / name) for name in ("home", "copy", "other"))
    home.inference_log.mkdir(parents=True)
    home.artifacts.mkdir()
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        database.execute("CREATE TABLE things (id INTEGER)")
    entries = [seen(number, picture(number)) for number in range(3)]
    move(home.inference_log / "front-0.sqlite", Flusher(home.inference_log), entries)

    backup(home, copy.root)
    restore(copy.root, other)

    assert [values(r.entry) for r in all_records(other.inference_log)] == written(entries)[::-1]
    assert set(pictures(other.inference_log)) == set(pictures(home.inference_log))
    files: list[Path] = [*copy.root.rglob("*")]
    assert all(each.stat().st_mode & 0o077 == 0 for each in files)
