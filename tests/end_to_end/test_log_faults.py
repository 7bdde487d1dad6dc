"""The log of a server of which processes are killed, or whose disk or database is not to be had."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time

import psutil
import pytest

from gnomon.core import limits
from gnomon.core.errors import ServerUnreachable
from gnomon.server.serve import FLUSHER_ENVIRONMENT
from tests.end_to_end import killing
from tests.end_to_end.conftest import running
from tests.waiting import until

LOST_S = limits.LOG_COMMIT_INTERVAL_S + 0.5  # and how late a thread may be on a busy machine
LOCKED_S = 2.5
VICTIMS = ["front-0", "front-1", "control", "flusher", "front-0", "flusher"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("server") / "home", "--fronts", "2")


@pytest.fixture(scope="module")
def pipelines(server, tmp_path_factory):
    return killing.deploy(server, tmp_path_factory.mktemp("models"))


def check(history, pipelines):
    """Check that the log has what was answered, once and whole; but for an `async` front's last
    moments."""
    assert history.wrong == []
    for level, pipeline in pipelines.items():
        found = killing.check(history, level, pipeline)
        assert (found.doubled, found.torn, found.unknown) == ([], [], [])
        assert found.requests > 0.5 * len(history.answered[level]) > 25
        assert level == "async" or found.lost == []
        assert found.lost_before_s < LOST_S, (found.lost, history.kills)


def test_the_threads_and_the_memory_of_a_servers_flusher_are_bounded(server):
    flusher = psutil.Process(server.pids()["flusher"])

    assert FLUSHER_ENVIRONMENT.items() <= flusher.environ().items()


def test_what_was_answered_is_in_the_log_whatever_is_killed(server, pipelines):
    choose = random.Random(11)

    with killing.asked(server, pipelines) as history:
        killing.kill(server, history, choose.sample(VICTIMS, 6), choose, pause_s=0.6)

    check(history, pipelines)


def test_inference_goes_on_while_the_metadata_database_is_locked(server, pipelines):
    client = server.client()
    made = []
    with killing.asked(server, pipelines) as history, killing.database_locked(server):
        writing = threading.Thread(target=lambda: made.append(client.create_workspace("late")))
        writing.start()

        start = time.monotonic()
        until(lambda: time.monotonic() - start > LOCKED_S)

        # Answers and what only reads have gone on, and what writes has waited
        assert history.longest_gap_s(start, time.monotonic()) < 1.0
        assert {pipeline.status()["status"] for pipeline in pipelines.values()} == {"Running"}
        assert len(pipelines["async"].logs(limit=100_000)) > 20
        assert made == []
    writing.join()

    assert [workspace.name() for workspace in made] == ["late"]
    assert history.failures == {}
    check(history, pipelines)


@contextlib.contextmanager
def read_only(directory):
    """Let nobody write in a directory; to root, to whom modes mean nothing, by a mount."""
    if os.geteuid():
        directory.chmod(0o500)
        undo = ["chmod", "700", directory]
    else:
        mounting = ["mount", "--bind", directory, directory]
        if subprocess.run(mounting, capture_output=True).returncode:
            pytest.skip("root may not mount here, and no mode keeps it from writing")
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
        undo = ["umount", "--lazy", directory]
    try:
        yield
    finally:
        subprocess.run(undo, check=True)


def degraded(server):
    """Why each front cannot write its log; None: it can, or does not answer just now."""
    with contextlib.suppress(ServerUnreachable):
        return [front["log"]["degraded"] for front in server.front_stats()]
    return [None]


def test_a_log_that_must_not_be_written_costs_no_answer_and_is_complete_afterwards(
    server, pipelines
):
    with killing.asked(server, pipelines, pause_s=0.01) as history:
        before = len(pipelines["async"].logs(limit=100_000))
        with read_only(server.home / "inference-log"):
            # Whoever starts now can open no file to write to it
            kills = ["front-0", "front-1", "flusher"]
            killing.kill(server, history, kills, random.Random(5), pause_s=0.1)
            until(lambda: all(degraded(server)), within_s=20)
            count = history.count()
            until(lambda: history.count() > count + 100)

            assert not any("/" in reason for reason in degraded(server))
            with pytest.warns(UserWarning, match="its newest requests may be missing here"):
                assert len(pipelines["async"].logs(limit=100_000)) >= before
            [flusher] = [
                each
                for each in server.get("/v1/server").json()["processes"]
                if each["name"] == "flusher"
            ]
        until(lambda: not any(degraded(server)), within_s=20)

    # All that was answered meanwhile is there, and the flusher has waited, not died
    assert flusher["pid"] == server.pids()["flusher"]
    assert "507" not in str(history.failures)
    check(history, pipelines)
    assert sum(front["log"]["dropped"] for front in server.front_stats()) == 0
