"""A backup that is made while a server works, and a server from it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gnomon import samples
from tests.end_to_end.conftest import Server
from tests.end_to_end.test_kills import Callers, answer_of, deploy_samples
from tests.waiting import until


@pytest.fixture
def server(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    running = Server(tmp_path / "home")
    running.start()
    yield running
    running.stop()


def gnomon(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "gnomon", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_server_from_a_backup_answers_the_same_and_has_the_same_log(server, tmp_path):
    # Given a server whose log has moved to a table in part
    pipeline = deploy_samples(server)
    expected = answer_of(pipeline)
    pipeline.log_table()
    with Callers(pipeline) as callers:
        before = {entry.request_id for entry in pipeline.logs(limit=10_000)}

        # When a backup is made while it works, and put into another home
        made = gnomon("backup", tmp_path / "copy", "--home", server.home)
        assert made.returncode == 0, made.stderr
    assert not callers.failures
    assert gnomon("backup", tmp_path / "copy", "--home", server.home).returncode == 1
    assert server.stop() == 0
    other = Server(tmp_path / "other")
    put = gnomon("restore", tmp_path / "copy", "--home", other.home)
    assert put.returncode == 0, put.stderr

    # Then the server there answers the same, and knows what was logged before
    other.start()
    try:
        again = other.client().get_pipeline("fraud")
        until(lambda: again.status()["status"] == "Running", within_s=30)
        assert answer_of(again) == expected
        found = [entry.request_id for entry in again.logs(limit=10_000)]
        assert before <= set(found)
        assert len(found) == 3 * len(set(found))
    finally:
        other.stop()
    for path in (tmp_path / "copy").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_server_with_damaged_metadata_does_not_start_and_says_what_to_do(server, tmp_path):
    client = server.client()
    client.upload_model("good", samples.champion_path())
    assert gnomon("restore", tmp_path, "--home", server.home).returncode == 1  # it is no backup
    assert gnomon("backup", tmp_path / "copy", "--home", server.home).returncode == 0
    running = gnomon("restore", tmp_path / "copy", "--home", server.home)
    assert (running.returncode, "runs in" in running.stderr) == (1, True)
    assert server.stop() == 0
    database = server.home / "metadata.sqlite"
    good = database.read_bytes()
    database.write_bytes(good[:100] + b"\xff" * 3_000 + good[3_100:])

    refused = gnomon("serve", "--home", server.home)

    assert refused.returncode == 1
    assert "is damaged" in refused.stderr
    assert "gnomon restore DIR" in refused.stderr

    # And after a restore it serves again, with the damaged file beside it
    assert gnomon("restore", tmp_path / "copy", "--home", server.home).returncode == 0
    server.start()
    assert [model.name() for model in server.client().list_models()] == ["good"]
    assert len(list(server.home.glob("before-restore-*/metadata.sqlite"))) == 1
