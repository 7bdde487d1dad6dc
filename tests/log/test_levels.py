"""What the log promises to who waits for it, leaves out, and does when there is no room."""

from __future__ import annotations

import random
import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.core.log_settings import LogSettings
from gnomon.core.tensors import TensorSpec
from gnomon.log.flusher import Flusher
from gnomon.log.places import directory_of, table_paths
from gnomon.log.reader import read
from gnomon.log.redaction import ERROR_LEFT_OUT
from gnomon.log.table import LogTable
from gnomon.log.writer import LogWriter
from tests.log.entries import SHADOWED, child, group, inference, observation, route
from tests.waiting import until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a log" / "front-0.sqlite"


@pytest.fixture
def writer(path):
    writer = LogWriter(path)
    yield writer
    writer.close(1)


class Heard:
    """What was told to who waits, in which order."""

    def __init__(self, writer: LogWriter, path) -> None:
        self.told: list[tuple[int, bool]] = []
        self.calls = 0
        self.stored: list[int] = []  # segments on the disk, whenever somebody was told
        self._path = path
        writer.deliver_by(self._deliver)

    def _deliver(self, tell) -> None:
        self.calls += 1
        with sqlite3.connect(self._path) as connection:
            self.stored += connection.execute("SELECT count(*) FROM segments").fetchone()
        connection.close()
        tell()

    def of(self, number: int):
        return lambda is_kept: self.told.append((number, is_kept))


def test_who_waits_is_told_once_it_is_on_the_disk_without_waiting_for_others(
    path, writer, monkeypatch
):
    monkeypatch.setattr(limits, "LOG_COMMIT_INTERVAL_S", 30.0)
    heard = Heard(writer, path)
    writer.append(inference(0))  # for which nobody waits
    assert writer.append(inference(1), heard.of(1))

    until(lambda: heard.told, within_s=5.0)

    assert heard.told == [(1, True)]
    assert heard.stored == [1]
    assert writer.stats()["uncommitted"] == 0
    assert len(read(path.parent, 1).records) == 2


def test_those_of_one_commit_are_told_together_and_in_order(path, writer):
    # Given a thread that is busy with the first, so that all others wait
    heard = Heard(writer, path)
    entered, leave = threading.Event(), threading.Event()

    def hold(is_kept: bool) -> None:
        entered.set()
        leave.wait(10)

    writer.append(inference(0), hold)
    assert entered.wait(10)
    for number in range(1, 100):
        assert writer.append(group([inference(number), inference(number)]), heard.of(number))
    leave.set()

    until(lambda: len(heard.told) == 99)

    assert heard.told == [(number, True) for number in range(1, 100)]
    assert heard.calls == 2  # once for the first, and once for all others
    assert writer.stats()["undurable"] == 0


def test_if_the_commit_fails_who_waits_is_told_so_and_who_comes_later_at_once(path, writer):
    heard = Heard(writer, path)
    writer.append(inference(0))
    assert writer.commit(10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        writer.append(inference(1), heard.of(1))
        writer.append(inference(2))
        writer.append(inference(3), heard.of(3))
        until(lambda: len(heard.told) == 2)
        assert sorted(heard.told) == [(1, False), (3, False)]
        assert writer.trouble
        assert writer.append(inference(4), heard.of(4))
        assert heard.told[2:] == [(4, False)]
        assert writer.stats()["undurable"] == 3
    finally:
        other.execute("ROLLBACK")
        other.close()

    # All of them are written as soon as that goes again, and who waits then hears the good news
    assert writer.commit(10)
    assert writer.trouble is None
    assert writer.append(inference(5), heard.of(5))
    until(lambda: heard.told[3:] == [(5, True)])
    assert len(read(path.parent, 1).records) == 6


def test_who_waits_in_a_loop_that_is_closed_holds_up_nobody(path, writer):
    def closed(tell) -> None:
        raise RuntimeError("Event loop is closed")

    writer.deliver_by(closed)
    writer.append(inference(1), lambda is_kept: None)
    assert writer.commit(10)
    heard = Heard(writer, path)
    writer.append(inference(2), heard.of(2))
    until(lambda: heard.told == [(2, True)])


def test_who_cannot_be_told_does_not_keep_others_from_it(path, writer):
    heard = Heard(writer, path)
    writer.append(inference(1), lambda is_kept: 1 / 0)
    writer.append(inference(2), heard.of(2))
    until(lambda: heard.told == [(2, True)])


def test_a_request_that_cannot_be_encoded_is_not_said_to_be_kept(path, writer):
    heard = Heard(writer, path)
    writer.append(inference(1, inputs={"tensor": np.array([[object()]])}), heard.of(1))
    until(lambda: heard.told == [(1, False)])
    writer.append(inference(2), heard.of(2))
    until(lambda: heard.told[1:] == [(2, True)])


def test_a_log_that_cannot_be_opened_says_so_before_anything_is_appended_and_recovers(tmp_path):
    occupied = tmp_path / "occupied"
    occupied.write_text("")
    writer = LogWriter(occupied / "front-0.sqlite")
    until(lambda: writer.trouble)

    occupied.unlink()

    until(lambda: writer.trouble is None)
    writer.append(inference(1))
    writer.close()
    assert len(read(occupied, 1).records) == 1


def test_a_full_queue_is_trouble_until_it_has_been_written(path):
    writer = LogWriter(path, queue_requests_max=2)
    writer.append(inference(0))
    assert writer.commit(10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer.append(inference(1))
    assert writer.trouble is None
    writer.append(inference(2))
    assert "waits" in writer.trouble
    other.execute("ROLLBACK")
    other.close()
    until(lambda: writer.trouble is None)
    writer.close()


def test_what_was_said_to_be_kept_outlives_a_kill(path):
    choose = random.Random(7)
    kept: list[int] = []
    for _ in range(4):
        with child("append_durably", path, str(len(kept) + 1_000)) as process:
            lines = [process.stdout.readline() for _ in range(choose.randrange(5, 200))]
            process.kill()
            lines += process.stdout.read().splitlines()[:-1]
        kept += map(int, lines)
        found, cursor, more = set(), None, True
        while more:
            page = read(path.parent, 1, limit=1_000, after=cursor)
            assert not page.notices
            found |= {int(record.entry.request_id.split("-")[1]) for record in page.records}
            cursor, more = page.next, page.more
        assert set(kept) <= found


def test_a_full_disk_is_told_to_who_waits_and_the_rest_is_kept_for_later(path):
    with child("wait_for_a_full_disk", path) as process:
        assert process.wait(60) == 0


# What is not flushed


def test_the_rows_that_wait_for_the_flusher_are_bounded(path, monkeypatch):
    # Given a flusher that is dead
    monkeypatch.setattr(limits, "LOG_BACKLOG_ROWS_MAX", 1_000)
    writer = LogWriter(path, queue_requests_max=20)
    dropped = 0
    for number in range(60):
        dropped += not writer.append(inference(number, rows=100))
        if writer.trouble is None:
            writer.commit(0.1)

    # Then what it has not moved stops growing at a bound, and the rest is dropped and counted
    stats = writer.stats()
    assert "full" in stats["degraded"]
    assert (stats["appended"], stats["uncommitted"]) == (11 + 20, 20)
    assert stats["dropped"] == dropped == 60 - 11 - 20
    size = path.stat().st_size
    assert not writer.commit(0.2)
    assert path.stat().st_size == size

    # and it recovers by itself when a flusher is there again
    def is_written() -> bool:
        Flusher(path.parent).flush()
        return writer.commit(0.5)

    until(is_written)
    assert writer.append(inference(99))
    until(is_written)
    assert writer.trouble is None
    writer.close()
    assert len(read(path.parent, 1).records) == 11 + 20 + 1


def test_a_table_that_cannot_be_written_holds_up_nothing_but_the_backlog(path, monkeypatch):
    # Given a file where the directory of the pipeline's tables should be
    monkeypatch.setattr(limits, "LOG_BACKLOG_BYTES_MAX", 200_000)
    writer = LogWriter(path, queue_requests_max=10)
    place = directory_of(path.parent, 1, 1)
    writer.commit(10)
    place.parent.mkdir(parents=True)
    place.write_text("")
    flusher = Flusher(path.parent)
    for number in range(100):
        writer.append(inference(number, rows=50))
        if writer.trouble is None:
            writer.commit(0.1)
        flusher.flush()
    stats = writer.stats()
    assert "full" in stats["degraded"]
    assert stats["dropped"]
    assert stats["uncommitted"] == 10
    assert path.stat().st_size < 500_000

    # When the way is free
    place.unlink()

    def is_written() -> bool:
        flusher.flush()
        return writer.commit(0.2)

    until(is_written)
    writer.close()
    assert len(read(path.parent, 1).records) == stats["appended"]


def test_rows_that_waited_before_a_restart_are_counted_too(path, monkeypatch):
    writer = LogWriter(path)
    writer.append(inference(1, rows=1_001))
    writer.close()
    monkeypatch.setattr(limits, "LOG_BACKLOG_ROWS_MAX", 1_000)
    writer = LogWriter(path)
    writer.append(inference(2))
    assert not writer.commit(0.2)
    assert "full" in writer.trouble
    Flusher(path.parent).flush()
    until(lambda: writer.trouble is None)
    writer.close()


# What is left out


def leaving_out(*columns: str, of=SHADOWED):
    return replace(of, log=LogSettings(redact=columns))


SECRET = 4_711.25


def secret_inference(at):
    inputs = {
        "card": np.full((2, 3), SECRET, np.float32),
        "note": np.array([["4711 0815"], ["x"]], dtype=object),
        "tensor": np.ones((2, 29), np.float32),
    }
    return inference(1, at, rows=2, inputs=inputs)


def test_columns_that_are_left_out_are_nowhere(path):
    at = leaving_out("in.card", "in.note", "in.nobody-sends-this", "out_zeta.y0", of=SHADOWED)
    zeta, alpha = at.challengers
    entry = secret_inference(at)
    hidden = (np.full((2, 1), SECRET, np.float32),)
    writer = LogWriter(path)
    writer.append(entry)
    writer.append(observation(entry, zeta, outputs=hidden))
    writer.append(observation(entry, alpha))
    writer.close()

    def check() -> None:
        [record] = read(path.parent, 1).records
        assert list(record.entry.inputs) == ["tensor"]
        assert record.entry.champion.outputs[0].tolist() == entry.champion.outputs[0].tolist()
        seen = {each.model.label: each for each in record.challengers}
        assert seen["zeta"].status is Status.OK
        assert seen["zeta"].outputs == ()
        assert seen["alpha"].outputs[0].shape == (2, 1)
        for file in path.parent.rglob("*"):
            content = file.read_bytes() if file.is_file() else b""
            assert b"4711 0815" not in content, file.name
            assert np.float32(SECRET).tobytes() * 2 not in content, file.name

    check()
    Flusher(path.parent).flush()
    check()
    [table] = table_paths(directory_of(path.parent, 1, 1))
    columns = set(LogTable(table).types())
    assert {"in.tensor", "out.y0", "out_alpha.y0", "metadata.out_zeta.status"} <= columns
    assert not columns & {"in.card", "in.note", "out_zeta.y0"}
    # What the writer was given is as it was
    assert list(entry.inputs) == ["card", "note", "tensor"]


def test_of_several_outputs_the_others_keep_their_names(path):
    outputs = tuple(
        TensorSpec(name=name, dtype="float32", shape=(None, 1)) for name in ("a", "b", "c")
    )
    plain = route()
    model = replace(plain.champion, signature=replace(plain.champion.signature, outputs=outputs))
    at = leaving_out("out.b", of=replace(plain, champion=model))
    arrays = tuple(np.full((1, 1), value, np.float32) for value in (1, 2, 3))
    writer = LogWriter(path)
    for number in range(3):
        writer.append(inference(number, at, outputs=arrays))
    writer.close()

    def found():
        tables = read(path.parent, 1).table().to_pylist()
        return [
            [(each["name"], np.frombuffer(each["data"], "<f4").tolist()) for each in of["outputs"]]
            for row in tables
            for of in row["models"]
        ]

    expected = [[("a", [1.0]), ("c", [3.0])]] * 3
    assert found() == expected
    Flusher(path.parent).flush()
    assert found() == expected


def test_all_columns_may_be_left_out_and_the_request_is_still_there(path):
    at = leaving_out("in.tensor", "out.y0", of=route())
    writer = LogWriter(path)
    writer.append(group([inference(number, at, rows=number) for number in (1, 2)]))
    writer.close()
    for _ in range(2):
        newest, oldest = read(path.parent, 1).records
        assert (oldest.entry.request_id, oldest.entry.rows) == ("request-1", 1)
        assert (newest.entry.request_id, newest.entry.rows) == ("request-2", 2)
        assert newest.entry.inputs == {}
        assert newest.entry.champion.outputs == ()
        Flusher(path.parent).flush()


def test_the_text_of_an_error_is_not_kept_where_it_might_quote_what_is_left_out(path):
    at = leaving_out("in.card")
    zeta, alpha = at.challengers
    entry = secret_inference(at)
    writer = LogWriter(path)
    writer.append(entry)
    writer.append(observation(entry, zeta, Status.ERROR, code="model_failed"))
    writer.append(observation(entry, alpha, Status.PENDING))
    writer.close()
    [record] = read(path.parent, 1).records
    assert [(each.status, each.error) for each in record.challengers] == [
        (Status.PENDING, None),
        (Status.ERROR, ERROR_LEFT_OUT),
    ]
    assert record.challengers[1].code == "model_failed"
