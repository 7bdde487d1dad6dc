from __future__ import annotations

import contextlib
import random
import sqlite3

import pytest

from gnomon.core.inference import Status
from gnomon.log.flusher import Flusher, Keep
from gnomon.log.reader import read
from gnomon.log.writer import LogWriter
from tests.log.entries import SHADOWED, inference, observation, values
from tests.log.files import all_records, ids, shadowed, statuses, write

ZETA, ALPHA = SHADOWED.challengers
WAL_HEADER, WAL_FRAME_HEADER = 32, 24  # of SQLite


@pytest.fixture
def path(tmp_path):
    return tmp_path / "front-0.sqlite"


def alter(path, statement, *arguments):
    with sqlite3.connect(path) as connection:
        connection.execute(statement, arguments)
    connection.close()


def flipped(data, choose):
    at = choose.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << choose.randrange(8))]) + data[at + 1 :]


@pytest.mark.parametrize("column", ["head", "body"])
@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "of another type"])
def test_a_damaged_blob_is_skipped_with_a_notice_and_the_rest_is_read(path, column, how):
    choose = random.Random(f"{column} {how}")
    write(path, [inference(1)], [inference(2), inference(3)], [inference(4)])
    with sqlite3.connect(path) as connection:
        [(blob,)] = connection.execute(f"SELECT {column} FROM segments WHERE seq = 2").fetchall()
    connection.close()
    for _ in range(20 if how == "flipped" else 1):
        bad = {
            "flipped": flipped(blob, choose),
            "truncated": blob[: choose.randrange(len(blob))],
            "emptied": b"",
            "of another type": "text",
        }[how]
        alter(path, f"UPDATE segments SET {column} = ? WHERE seq = 2", bad)

        page = read(path.parent, 1)

        assert ids(page) == ["4", "1"]
        [notice] = page.notices
        assert notice.startswith("front-0.sqlite: segment 2 is damaged")


@pytest.mark.parametrize(
    "change",
    [
        "model = 1",
        "life = 2",
        "base = 0",
        "route = 2",
        "rows = rows + 1",
        "body_checksum = 0",
        "checksum = 'text'",
        "pipeline_id = 2",
        "kind = 'text'",
    ],
)
def test_a_changed_column_never_gives_a_wrong_record(path, change):
    first, second, other = (inference(n, SHADOWED) for n in (1, 2, 3))
    groups = [[first], [second, observation(second, ZETA)], [other]]
    write(path, *groups)
    alter(path, f"UPDATE segments SET {change} WHERE seq = 2")

    found = [read(path.parent, pipeline_id) for pipeline_id in (1, 2)]

    records = [record for page in found for record in page.records]
    assert [values(record.entry) for record in records] == [values(other), values(first)]
    assert [len(page.notices) for page in found if page.notices] == [1] or "kind" in change


def test_a_damaged_observation_leaves_its_challenger_pending_and_is_named(path):
    entry = inference(1, SHADOWED)
    write(path, [entry], [observation(entry, ZETA)], [observation(entry, ALPHA)])
    alter(path, "UPDATE segments SET body = zeroblob(length(body)) WHERE seq = 2")

    page = read(path.parent, 1)

    assert statuses(page.records[0]) == {"alpha": Status.OK, "zeta": Status.PENDING}
    assert len(page.notices) == 1


def test_a_damaged_route_takes_its_segments_with_it(path):
    write(path, [inference(1)], [inference(2, SHADOWED)])
    alter(path, "UPDATE routes SET json = replace(json, 'v1', 'v2') WHERE id = 1")

    page = read(path.parent, 1)

    assert ids(page) == ["2"]
    assert len(page.notices) == 1


def test_a_file_of_another_format_is_named_and_skipped(path):
    write(path, [inference(1)])
    alter(path, "UPDATE write_ahead SET format = 99")

    page = read(path.parent, 1)

    assert page.records == ()
    assert "format 99" in page.notices[0]


def put(path, data):
    """Make a write-ahead have this content, and no companions."""
    for companion in ("-wal", "-shm"):
        path.with_name(path.name + companion).unlink(missing_ok=True)
    path.write_bytes(data)


def page_bytes(data):
    """The size of the pages of an SQLite file."""
    size = int.from_bytes(data[16:18], "big")
    return 65_536 if size == 1 else size


class Original:
    """A write-ahead before it is damaged.

    Attributes:
        data: Its bytes.
        page: The size of its pages.
        roots: The first page of each table and index, by name; counted from 1.
    """

    def __init__(self, path, requests):
        write(path, *shadowed(range(requests)))
        self._path = path
        self._records = {each.entry.request_id: each for each in all_records(path.parent)}
        self.data = path.read_bytes()
        self.page = page_bytes(self.data)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            names = "SELECT name, rootpage FROM sqlite_master WHERE rootpage"
            self.roots = dict(connection.execute(names))
        path.with_name(path.name + "-wal").unlink(missing_ok=True)

    def check(self, data, *, may_be_silent=False):
        """Check that with other bytes there is no error, nothing wrong, and nothing hidden.

        Returns:
            The numbers of the requests that are still read.
        """
        put(self._path, data)
        pages = [read(self._path.parent, 1)]
        while pages[-1].more:
            pages.append(read(self._path.parent, 1, after=pages[-1].next))
        records = [record for page in pages for record in page.records]
        is_whole = len(records) == len(self._records)
        for record in records:
            original = self._records[record.entry.request_id]
            assert values(record.entry) == values(original.entry)
            for seen, known in zip(record.challengers, original.challengers, strict=True):
                if values(seen) != values(known):
                    assert seen.status in (Status.PENDING, Status.LOST)
                    is_whole = False
        assert is_whole or any(page.notices for page in pages) or may_be_silent
        found = [int(each) for each in ids(records)]
        assert found == sorted(set(found), reverse=True)
        return found

    def index(self):
        """Where the index begins and ends, which has one page."""
        end = self.roots["segments_by_pipeline"] * self.page
        return end - self.page, end

    def flipped(self, choose, first=0, end=None):
        """Its bytes with another bit, chosen between two places."""
        at = choose.randrange(first, len(self.data) if end is None else end)
        bit = bytes([self.data[at] ^ (1 << choose.randrange(8))])
        return self.data[:at] + bit + self.data[at + 1 :]


def test_a_file_that_is_cut_off_anywhere_gives_what_stands_before_and_says_so(path):
    original = Original(path, 40)
    size, page = len(original.data), original.page
    whole = []  # what is read of the pages that are there as a whole
    for start in range(0, size, page):
        before = set(original.check(original.data[:start], may_be_silent=start == 0))
        assert before >= set().union(*whole)
        whole.append(before)
        # Of the page that is cut, SQLite takes what is missing for zeros
        step = page // 800 if start + page == size else page // 3
        for end in (start + 1, *range(start + step, start + page, step), start + page - 1):
            assert set(original.check(original.data[:end])) >= before

    assert original.check(original.data) == list(range(40))[::-1]
    assert len(set(map(len, whole))) > 2


def test_most_of_a_large_file_is_read_when_its_end_is_missing(path):
    original = Original(path, 300)
    for share in (0.95, 0.8, 0.6, 0.4):
        found = original.check(original.data[: int(len(original.data) * share)])
        assert set(found) >= set(range(int(300 * (share - 0.2))))  # it begins with other things


def test_a_flipped_bit_anywhere_is_no_error_hides_nothing_and_gives_no_wrong_record(path):
    original, choose = Original(path, 30), random.Random(24)
    read_back = [len(original.check(original.flipped(choose))) for _ in range(1_000)]
    assert sum(read_back) > 0.9 * 1_000 * 30, "one bit took more than its segment"
    assert min(read_back) < 30


def test_a_flipped_bit_in_the_index_costs_nothing(path):
    # It has no checksum, and SQLite does not compare it with the segments to which it leads
    original, choose = Original(path, 30), random.Random(25)
    first, end = original.index()
    for _ in range(300):
        assert len(original.check(original.flipped(choose, first, end))) == 30


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_what_is_not_yet_in_the_file_itself_ends_before_the_first_commit_that_is_damaged(path, how):
    # Given a front that was killed: its last commits stand in SQLite's own log
    writer, copy = LogWriter(path), path.with_name("copy") / path.name
    for group in shadowed(range(30)):
        for entry in group:
            assert writer.append(entry)
        assert writer.commit(30)
    copy.parent.mkdir()
    wal = path.with_name(path.name + "-wal").read_bytes()
    main = path.read_bytes()
    writer.close()
    known = {each.entry.request_id: each for each in all_records(path.parent)}
    choose, counts = random.Random(how), []

    def count(damaged):
        put(copy, main)
        copy.with_name(copy.name + "-wal").write_bytes(damaged)
        page = read(copy.parent, 1)
        for record in page.records:
            assert values(record.entry) == values(known[record.entry.request_id].entry)
        assert ids(page) == [str(number) for number in range(len(page.records))][::-1]
        return len(page.records)

    # When it is cut off around every frame and at many bytes of the last one, or has a flaw
    if how == "truncated":
        frames = range(WAL_HEADER, len(wal) + 1, WAL_FRAME_HEADER + page_bytes(main))
        ends = {at + by for at in frames for by in (-1, 0, 1)}
        ends |= {*range(frames[-2], frames[-1], 101)}
        counts = [count(wal[:end]) for end in sorted(ends) if end <= len(wal)]
        # Then what was committed before is there, and never less when more is left
        assert counts == sorted(counts)
    else:
        counts = [count(flipped(wal, choose)) for _ in range(100)]
    assert {0, 10, 25} <= set(counts) <= {*range(0, 31, 5)}
    assert count(wal) == 30


def test_a_damaged_index_is_made_anew_when_requests_move(path):
    # Given an index of which an entry leads elsewhere, whatever the file is used for
    original, choose = Original(path, 30), random.Random(26)
    _, end = original.index()
    while not is_damaged(path):
        put(path, original.flipped(choose, end - 1_000, end))
    before = [values(record) for record in all_records(path.parent)]
    assert len(before) == 30

    Flusher(path.parent, Keep(seconds=1e12)).flush()

    # Then the file is sound, and nothing is lost by it
    assert not is_damaged(path)
    assert [values(record) for record in all_records(path.parent)] == before
    write(path, [inference(30, SHADOWED)])  # ends the life of the one before
    Flusher(path.parent, Keep(seconds=1e12)).flush()
    [_, *others] = all_records(path.parent)
    assert [values(record.entry) for record in others] == [entry for entry, _ in before]
    assert rows(path, "SELECT count(*) FROM segments") == [(1,)]
    assert not read(path.parent, 1).notices


def rows(path, query):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def is_damaged(path):
    return rows(path, "PRAGMA integrity_check") != [("ok",)]


def test_a_file_whose_schema_is_no_text_is_set_aside_by_its_writer(path):
    write(path, [inference(1)])
    data = path.read_bytes()
    at = data.index(b"CREATE TABLE routes") + len("CREATE TA")
    path.write_bytes(data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :])

    write(path, [inference(2)])

    assert "2" in ids(read(path.parent, 1))
    assert len(list(path.parent.glob("*-damaged-*.sqlite"))) == 1


@pytest.mark.parametrize("life", [0, 2**40])
def test_a_damaged_number_of_the_life_gives_no_place_a_second_time(path, life):
    for number in range(3):
        write(path, [inference(number)])
    alter(path, "UPDATE write_ahead SET life = ?", life)

    write(path, [inference(3)])
    Flusher(path.parent, Keep(seconds=1e12)).flush()

    assert sorted(ids(read(path.parent, 1))) == ["0", "1", "2", "3"]
