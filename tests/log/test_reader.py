from __future__ import annotations

import shutil
import sqlite3

import numpy as np
import pytest

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.log.reader import read
from gnomon.log.records import SCHEMA
from gnomon.log.writer import LogWriter
from tests.log.entries import ALONE, SHADOWED, child, inference, observation, values
from tests.log.files import ids, shadowed, statuses, table_and_more, write
from tests.waiting import until

ZETA, ALPHA = SHADOWED.challengers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "front-0.sqlite"


def pages(directory, pipeline_id=1, limit=100):
    """All pages of a log."""
    cursor, more = None, True
    while more:
        page = read(directory, pipeline_id, limit=limit, after=cursor)
        yield page
        cursor, more = page.next, page.more


def test_a_missing_directory_and_an_empty_log_give_an_empty_table_of_the_same_schema(tmp_path):
    assert table_and_more(tmp_path / "missing", 1) == (SCHEMA.empty_table(), False)
    write(tmp_path / "front-0.sqlite", [inference(1)])
    (tmp_path / "front-1.sqlite").write_bytes(b"")

    table, more = table_and_more(tmp_path, 2)

    assert table.schema.equals(SCHEMA)
    assert (table.num_rows, more) == (0, False)
    assert read(tmp_path, 2).notices == ()


def test_the_limit_counts_requests_and_never_cuts_one(path):
    write(path, *shadowed(range(20)))

    table, more = table_and_more(path.parent, 1, limit=7)

    assert more
    assert table["request_id"].to_pylist() == [f"request-{n}" for n in range(19, 12, -1)]
    assert table["rows"].to_pylist() == [n % 3 + 1 for n in range(19, 12, -1)]
    assert all(len(models) == 3 for models in table["models"].to_pylist())
    assert table_and_more(path.parent, 1, limit=20)[1] is False
    assert table_and_more(path.parent, 1, limit=0)[1] is True


def test_requests_come_in_the_order_of_logging_whatever_the_clock_says(path):
    backwards = [inference(number, time_us=10**15 - number) for number in range(30)]
    write(path, backwards[:10], backwards[10:11], backwards[11:])

    page = read(path.parent, 1, limit=25)

    assert ids(page) == [str(number) for number in range(29, 4, -1)]


def test_requests_of_one_group_that_are_stored_in_several_segments_keep_their_order(path):
    shapes = [inference(n, inputs={"x": np.zeros((1, n % 3 + 1))}, rows=1) for n in range(30)]
    write(path, shapes)

    assert ids(read(path.parent, 1)) == [str(number) for number in range(29, -1, -1)]


def test_a_challenger_is_pending_until_its_observation_is_logged(path):
    entry, later = inference(1, SHADOWED), inference(2, SHADOWED)
    writer = LogWriter(path)
    for each in (entry, observation(entry, ALPHA), later):
        writer.append(each)
    assert writer.commit(10)

    [second, first] = read(path.parent, 1).records
    assert statuses(first) == {"alpha": Status.OK, "zeta": Status.PENDING}
    assert statuses(second) == {"alpha": Status.PENDING, "zeta": Status.PENDING}

    writer.append(observation(entry, ZETA, Status.SCHEMA))
    assert writer.commit(10)
    writer.close()

    [_, first] = read(path.parent, 1).records
    assert [seen.model.label for seen in first.challengers] == ["alpha", "zeta"]
    assert statuses(first) == {"alpha": Status.OK, "zeta": Status.SCHEMA}
    assert first.challengers[1].error == "schema of request-1"


def test_only_sampled_challengers_are_in_a_record(path):
    write(path, [inference(1, SHADOWED, sampled=(ZETA,)), inference(2, SHADOWED, sampled=())])

    none, one = read(path.parent, 1).records

    assert statuses(none) == {}
    assert statuses(one) == {"zeta": Status.PENDING}


def test_what_a_dead_front_left_open_is_lost_once_another_has_taken_its_place(path):
    with child("leave_a_challenger_running", path, stdin=-1) as process:
        assert process.stdout.readline() == "committed\n"
        process.kill()
    [record] = read(path.parent, 1).records
    assert set(statuses(record).values()) == {Status.PENDING}

    write(path, [inference(2, SHADOWED)])

    [open_yet, lost] = read(path.parent, 1).records
    assert set(statuses(lost).values()) == {Status.LOST}
    assert set(statuses(open_yet).values()) == {Status.PENDING}


def test_a_request_id_that_is_used_again_is_another_record_with_its_own_observations(path):
    first, second, third = (
        inference(n, SHADOWED, request_id="again", sampled=(ZETA,)) for n in (1, 2, 3)
    )
    write(
        path,
        [first, observation(first, ZETA)],
        [second],  # its challenger never ends
        [third, observation(third, ZETA)],
    )

    records = read(path.parent, 1).records

    assert [values(record.entry) for record in records] == [*map(values, (third, second, first))]
    seen = [record.challengers[0] for record in records]
    assert values(seen[0]) == values(observation(third, ZETA).observation)
    assert seen[1].status is Status.PENDING
    assert values(seen[2]) == values(observation(first, ZETA).observation)


def test_of_two_observations_of_one_record_the_last_one_counts(path):
    entry = inference(1, SHADOWED, sampled=(ZETA,))
    first, last = (observation(entry, ZETA, status) for status in (Status.TIMEOUT, Status.OK))
    write(path, [entry, first], [last])

    [record] = read(path.parent, 1).records

    assert values(record.challengers[0]) == values(last.observation)


def test_an_observation_without_an_inference_is_in_no_record(path):
    write(path, [observation(inference(1, SHADOWED), ZETA), inference(2, SHADOWED)])

    assert ids(read(path.parent, 1)) == ["2"]


def test_write_aheads_of_two_fronts_are_merged_by_time_and_each_keeps_its_order(tmp_path):
    even = [inference(n, SHADOWED) for n in range(0, 40, 2)]
    odd = [inference(n, SHADOWED) for n in range(1, 40, 2)]
    write(tmp_path / "front-0.sqlite", even[:7], [observation(even[3], ZETA)], even[7:])
    write(tmp_path / "front-1.sqlite", odd, [observation(odd[3], ALPHA)])

    page = read(tmp_path, 1)

    assert ids(page) == [str(number) for number in range(39, -1, -1)]
    done = [record for record in page.records if set(statuses(record).values()) != {"pending"}]
    assert [statuses(record) for record in done] == [
        {"alpha": "ok", "zeta": "pending"},
        {"alpha": "pending", "zeta": "ok"},
    ]


def test_a_copy_of_a_write_ahead_beside_it_doubles_nothing(path):
    write(path, [inference(1)])
    shutil.copy(path, path.with_name("front-0-copy.sqlite"))

    assert ids(read(path.parent, 1)) == ["1"]


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_pages_hold_every_request_once_and_none_that_came_later(tmp_path, limit):
    writers = [LogWriter(tmp_path / f"front-{index}.sqlite") for index in range(2)]
    for number in range(40):
        writers[number % 2].append(inference(number))
        if number % 7 == 0:
            assert writers[number % 2].commit(10)
    assert all(writer.commit(10) for writer in writers)

    found = []
    for turn, page in enumerate(pages(tmp_path, limit=limit)):
        found += ids(page)
        writers[turn % 2].append(inference(1_000 + turn))
        assert writers[turn % 2].commit(10)
        if turn == 0:
            write(tmp_path / "front-2.sqlite", [inference(2_000)])
    for writer in writers:
        writer.close()

    assert found == [str(number) for number in range(39, -1, -1)]


def test_a_page_ends_early_when_its_requests_are_large(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_READ_BYTES_MAX", 2_500)
    write(path, [inference(number, rows=10) for number in range(9)])

    found = list(pages(path.parent))

    assert [ids(page) for page in found] == [["8", "7", "6"], ["5", "4", "3"], ["2", "1", "0"]]


def test_a_page_ends_early_when_what_its_challengers_gave_is_large(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_READ_BYTES_MAX", 2_500)
    entries = [inference(number, SHADOWED) for number in range(9)]
    large = (np.zeros((1, 100), np.float64),)
    write(path, entries, [observation(entry, ZETA, outputs=large) for entry in entries])

    found = list(pages(path.parent))

    assert [ids(page) for page in found] == [["8", "7", "6"], ["5", "4", "3"], ["2", "1", "0"]]


def test_a_page_has_a_greatest_size(path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_READ_REQUESTS_MAX", 4)
    write(path, [inference(number) for number in range(6)])

    table, more = table_and_more(path.parent, 1, limit=10**9)

    assert (table.num_rows, more) == (4, True)


# While the writer is at work


def test_a_log_is_read_while_another_process_writes_it(path):
    known, seen_growing = 0, 0
    with child("append_and_stop", path, 1_500) as process:
        while process.poll() is None:
            page = read(path.parent, SHADOWED.pipeline_id, limit=200)
            assert not page.notices
            numbers = [int(each) for each in ids(page)]
            if not numbers:
                continue
            assert numbers == list(range(numbers[0], max(numbers[0] - 200, -1), -1))
            assert numbers[0] >= known
            seen_growing += numbers[0] > known
            known = numbers[0]
            for number, record in zip(numbers, page.records, strict=True):
                expected = inference(number, SHADOWED)
                assert values(record.entry) == values(expected)
                for seen in record.challengers:
                    done = observation(expected, seen.model).observation
                    assert seen.status is Status.PENDING or values(seen) == values(done)
    assert process.returncode == 0
    assert seen_growing >= 2
    records = [record for page in pages(path.parent, limit=400) for record in page.records]
    assert len(records) == 1_500
    assert all(set(statuses(record).values()) == {Status.OK} for record in records)


def test_reading_does_not_hold_up_the_writer(path):
    writer = LogWriter(path)
    writer.append(inference(0))
    assert writer.commit(10)
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM segments").fetchall()

    writer.append(inference(1))
    assert writer.commit(10)
    reader.close()

    until(lambda: ids(read(path.parent, ALONE.pipeline_id)) == ["1", "0"])
    writer.close()
