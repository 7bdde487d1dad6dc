"""Finding, starting and stopping the server of this machine."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

import gnomon
from gnomon.core import limits
from gnomon.core.errors import Invalid, OutOfSpace, ServerError, ServerUnreachable
from gnomon.sdk import local
from gnomon.settings import Home
from tests.waiting import until

STAND_IN = Path(__file__).parent / "stand_in_server.py"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home whose `python -m gnomon serve` is a stand-in."""
    package = tmp_path / "path" / "gnomon"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(STAND_IN, package / "__main__.py")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("GNOMON_STAND_IN", "serve")
    home = Home(tmp_path / "a home")
    yield home
    for pid in starts(home):
        if local.start_ticks(pid) is not None:
            os.kill(pid, signal.SIGKILL)


def starts(home: Home) -> list[int]:
    """The pids of all servers that were started."""
    file = home.root / "starts"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def gone(pid: int) -> bool:
    return local.start_ticks(pid) is None


def test_a_server_is_started_once_and_then_joined(home, capsys):
    first = local.find_or_start(home)
    second = local.find_or_start(home)

    assert first == second
    assert starts(home) == [first.pid]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert first.control_url in lines[0]
    assert "gnomon down" in lines[0]
    assert home.root.stat().st_mode & 0o777 == 0o700


def test_many_who_ask_at_once_get_one_server(home):
    found = []
    asking = [
        threading.Thread(target=lambda: found.append(local.find_or_start(home, shown=False)))
        for _ in range(5)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(limits.SERVER_START_TIMEOUT_S)

    assert len(found) == 5
    assert len(set(found)) == 1
    assert len(starts(home)) == 1


def test_a_server_has_a_session_and_a_log_of_its_own(home):
    server = local.find_or_start(home, shown=False)

    assert os.getsid(server.pid) == server.pid != os.getsid(0)
    assert (home.logs / "supervisor.log").exists()


def test_a_server_that_was_killed_is_replaced(home):
    first = local.find_or_start(home, shown=False)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: gone(first.pid))

    assert local.read(home) is None
    second = local.find_or_start(home, shown=False)

    assert second.pid != first.pid


def test_the_pid_of_another_process_is_no_server(home):
    server = local.find_or_start(home, shown=False)
    facts = json.loads(home.server_file.read_text())

    home.server_file.write_text(json.dumps({**facts, "pid_started": facts["pid_started"] + 1}))

    assert local.read(home) is None
    assert not gone(server.pid)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_broken_server_file_is_no_server(home, text):
    home.root.mkdir()
    home.server_file.write_text(text)

    assert local.read(home) is None


def test_a_server_that_dies_says_why_with_its_last_twenty_lines(home, monkeypatch):
    monkeypatch.setenv("GNOMON_STAND_IN", "die")
    home.logs.mkdir(parents=True)
    (home.logs / "supervisor.log").write_text("from an earlier run\n")

    with pytest.raises(ServerUnreachable) as caught:
        local.find_or_start(home)

    message = str(caught.value)
    assert "ended with exit code 1" in message
    lines = message.splitlines()
    assert lines[-1] == "the database is broken"
    assert lines[1:3] == ["line 11", "line 12"]
    assert "from an earlier run" not in message


def test_a_server_that_does_not_answer_is_given_up_and_stopped(home, monkeypatch):
    monkeypatch.setenv("GNOMON_STAND_IN", "silent")
    monkeypatch.setattr(limits, "SERVER_START_TIMEOUT_S", 1.0)

    with pytest.raises(ServerUnreachable, match=r"did not answer within 1 s.*wrote nothing"):
        local.find_or_start(home)

    [pid] = starts(home)
    until(lambda: gone(pid))


def test_a_server_that_runs_but_does_not_answer_is_named(home, monkeypatch):
    server = local.find_or_start(home, shown=False)
    os.kill(server.pid, signal.SIGSTOP)
    monkeypatch.setattr(limits, "SERVER_START_TIMEOUT_S", 0.1)
    monkeypatch.setattr(local, "_HEALTH_TIMEOUT_S", 0.05)

    with pytest.raises(ServerUnreachable, match=rf"process {server.pid}\) runs, but does not"):
        local.find_or_start(home)
    with pytest.raises(ServerUnreachable, match="does not answer"):
        local.find(home)


def test_stopping_waits_until_the_server_is_gone(home):
    server = local.find_or_start(home, shown=False)

    local.stop(server)

    assert gone(server.pid)
    local.stop(server)  # twice is no error


def test_a_server_that_does_not_stop_is_said_to_run(home, monkeypatch):
    server = local.find_or_start(home, shown=False)
    os.kill(server.pid, signal.SIGSTOP)
    until(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED)
    monkeypatch.setattr(local, "_STOP_TIMEOUT_S", 0.05)

    with pytest.raises(ServerError, match=rf"kill -9 {server.pid}"):
        local.stop(server)


def test_stopping_never_hits_another_process(home):
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        ticks = local.start_ticks(bystander.pid)
        assert ticks is not None
        local.stop(local.RunningServer("", "", bystander.pid, ticks + 1, ""))
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")


def test_a_client_that_must_not_start_a_server_says_that_none_runs(home):
    with pytest.raises(ServerUnreachable, match=r"No gnomon server runs.*gnomon serve"):
        gnomon.Client(home=home.root, start=False)
    assert starts(home) == []


def test_elsewhere_than_on_linux_a_local_server_is_refused_in_words(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(Invalid, match=r"needs Linux; this is darwin"):
        gnomon.Client(home=home.root)


def test_a_file_as_home_is_refused_in_words(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")

    for home in (file, file / "below"):
        with pytest.raises(
            Invalid, match=r"cannot keep its data in .*must be a directory\. Choose"
        ):
            gnomon.Client(home=home, interactive=False)
    assert file.read_text() == "mine"


# Where nobody can write, root included.
@pytest.mark.parametrize("home", ["/sys/kernel", "/sys/gnomon"])
def test_a_home_that_cannot_be_written_is_refused_in_words(home):
    with pytest.raises(ServerError, match=rf"cannot keep its data in {home}.*Choose another"):
        gnomon.Client(home=home, interactive=False)


def test_a_full_disk_is_named_and_what_is_not_about_the_home_is_left_alone(home):
    def failing(number: int, file: Path) -> None:
        with local.home_errors(home):
            raise OSError(number, os.strerror(number), str(file))

    with pytest.raises(OutOfSpace, match=r"No space left on device.*Make room"):
        failing(errno.ENOSPC, home.server_lock)
    with pytest.raises(PermissionError):
        failing(errno.EACCES, home.root.with_name("other") / "file")
