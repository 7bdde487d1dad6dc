from __future__ import annotations

import random
import sqlite3

import pytest

from gnomon.core.inference import Status
from gnomon.log.reader import read
from tests.log.entries import SHADOWED, inference, observation, values
from tests.log.files import ids, shadowed, statuses, write

ZETA, ALPHA = SHADOWED.challengers


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


@pytest.mark.parametrize("how", ["flipped", "truncated"])
def test_damage_anywhere_in_the_file_is_no_error_and_gives_no_wrong_record(path, how):
    choose = random.Random(how)
    write(path, *shadowed(range(60)))
    original = {record.entry.request_id: record for record in read(path.parent, 1).records}
    assert len(original) == 60
    good = path.read_bytes()

    read_back = 0
    for _ in range(120):
        data = flipped(good, choose) if how == "flipped" else good[: choose.randrange(len(good))]
        for companion in ("-wal", "-shm"):
            path.with_name(path.name + companion).unlink(missing_ok=True)
        path.write_bytes(data)

        page = read(path.parent, 1)

        read_back += len(page.records)
        for record in page.records:
            expected = original[record.entry.request_id]
            assert values(record.entry) == values(expected.entry)
            for seen, known in zip(record.challengers, expected.challengers, strict=True):
                unknown = seen.status in (Status.PENDING, Status.LOST)
                assert unknown or values(seen) == values(known)
        numbers = [int(each) for each in ids(page)]
        assert numbers == sorted(numbers, reverse=True)
    if how == "flipped":
        assert read_back > 0.8 * 120 * 60, "one bit took more than its segment"
