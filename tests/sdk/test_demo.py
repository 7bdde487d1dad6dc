"""`gnomon demo` on a real server: what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gnomon.core.errors import Invalid
from gnomon.sdk import demo, local
from gnomon.settings import Home
from tests.processes import works
from tests.waiting import until


def gnomon(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gnomon", *map(str, arguments)]


def tree(home: Path) -> list[psutil.Process]:
    """The server's processes, as soon as it runs."""
    server = until(lambda: local.read(Home(home)), within_s=20)
    supervisor = psutil.Process(server.pid)
    return [supervisor, *supervisor.children(recursive=True)]


@pytest.fixture
def home(tmp_path: Path):
    home = tmp_path / "a demo"
    yield home
    server = local.read(Home(home))
    if server is not None:
        local.stop(server)


def test_a_demo_shows_everything_and_stops_what_it_started(home, tmp_path):
    page = tmp_path / "pages" / "run.html"

    running = subprocess.Popen(
        gnomon("demo", "--home", home, "--page", page), stdout=subprocess.PIPE, text=True
    )
    processes = tree(home)
    shown, _ = running.communicate(timeout=60)

    assert running.returncode == 0
    for text in (
        "Waiting for deployment - this will take up to 45s ",
        "shadow_data  fraud-boosted: [array([[0.67",
        "('fraud-champion', [array([[0.0674]])])",
        "The shadow log, by request:",
        "challenger  fraud-forest      ok",
        "/v1/api/pipelines/infer/fraud-shadow-",
        "Authorization: Bearer gno_",
        str(page),
        "The server is stopped.",
    ):
        assert text in shown
    assert "fraud-boosted" in page.read_text()
    assert "gno_" not in page.read_text()
    assert not any(map(works, processes))
    assert not (home / "server.json").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_demo_that_is_stopped_stops_what_it_started(home, number, code):
    running = subprocess.Popen(
        gnomon("demo", "--home", home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    processes = tree(home)

    running.send_signal(number)

    _, error = running.communicate(timeout=60)
    assert running.returncode == code
    assert error == ""
    assert not any(map(works, processes))


def test_a_demo_can_leave_its_server_running_and_the_next_one_stops_it(home):
    def run(*options: str) -> dict:
        done = subprocess.run(
            gnomon("demo", "--home", home, "--json", *options), capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = run("--keep")
    kept = tree(home)
    second = run()

    assert first["kept"]
    assert not second["kept"]
    assert not any(map(works, kept))
    assert first["answer"]["outputs"] == second["answer"]["outputs"]
    assert len(second["logs"]) == 6


@pytest.mark.parametrize("name", ["thesis.tex", "token", "metadata.sqlite"])
def test_a_demo_empties_nothing_but_what_a_demo_made(home, name):
    home.mkdir()
    (home / name).write_text("precious")

    with pytest.raises(Invalid, match="not empty"):
        demo.run(Home(home), keep=False, page_file=None, shown=False)

    assert (home / name).read_text() == "precious"
    assert os.listdir(home) == [name]


def test_a_demo_needs_a_directory(home):
    home.write_text("a file")

    with pytest.raises(Invalid, match="is a file"):
        demo.run(Home(home), keep=False, page_file=None, shown=False)


def test_emptying_follows_no_link(home, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    demo._empty(Home(home))
    (home / "link").symlink_to(outside)
    (home / "folder").mkdir()
    (home / "folder" / "link").symlink_to(outside)

    demo._empty(Home(home))

    assert (outside / "precious").exists()
    assert os.listdir(home) == [".gnomon-demo"]


def test_a_demo_has_a_place_of_its_own_beside_the_users_data(monkeypatch, tmp_path):
    monkeypatch.setenv("GNOMON_HOME", str(tmp_path / "data"))

    assert demo.demo_home() == tmp_path / "data-demo"
