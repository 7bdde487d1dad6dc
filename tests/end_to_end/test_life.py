"""The life of a local server: the first client starts it, others find it, `down` ends it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gnomon import samples
from tests.processes import works
from tests.waiting import until

START = "import gnomon; c = gnomon.Client(); print('workspace', c.get_current_workspace().name())"


def python(home: Path, code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "GNOMON_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def gnomon(home: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gnomon", *arguments],
        env={**os.environ, "GNOMON_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path):
    home = tmp_path / "a home with spaces"
    yield home
    gnomon(home, "down")


def test_two_kernels_at_once_start_one_server_and_it_outlives_them(home):
    kernels = [python(home, START) for _ in range(2)]
    outputs = [kernel.communicate(timeout=60) for kernel in kernels]

    assert [kernel.returncode for kernel in kernels] == [0, 0], outputs
    pid = json.loads((home / "server.json").read_text())["pid"]
    supervisors = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "serve" in (process.info["cmdline"] or ()) and f"GNOMON_HOME={home}" in _environ(process)
    ]
    assert [process.pid for process in supervisors] == [pid]
    assert sum("http://127.0.0.1" in out + err for out, err in outputs) >= 1
    assert gnomon(home, "status").returncode == 0
    assert gnomon(home, "down").returncode == 0
    assert not works(pid)
    assert gnomon(home, "status").returncode == 3


def _environ(process: psutil.Process) -> list[str]:
    try:
        return [f"{name}={value}" for name, value in process.environ().items()]
    except psutil.Error:
        return []


def test_secrets_are_the_owners_only(home):
    python(home, START).communicate(timeout=60)

    for name in ("token", "server.json"):
        assert (home / name).stat().st_mode & 0o777 == 0o600, name
    assert (home / "run").stat().st_mode & 0o777 == 0o700
    token = (home / "token").read_text().strip()
    for log in (home / "logs").iterdir():
        assert token not in log.read_text(), log
    for process in psutil.process_iter(["cmdline"]):
        assert token not in " ".join(process.info["cmdline"] or ())


def test_a_server_that_cannot_start_says_why_with_the_end_of_its_log(home):
    home.mkdir()
    (home / "metadata.sqlite").write_bytes(b"this is no database" * 1000)

    kernel = python(home, START)
    _, error = kernel.communicate(timeout=60)

    assert kernel.returncode != 0
    assert "metadata.sqlite is damaged" in error
    assert "gnomon restore DIR" in error
    assert not (home / "server.json").exists()


def test_a_deployed_pipeline_comes_back_after_down_and_a_broken_one_holds_up_no_other(server):
    # Given two deployed pipelines
    client = server.client()
    good = client.upload_model("good", samples.champion_path())
    bad = client.upload_model("bad", samples.challenger_paths()["fraud-forest"])
    first = client.build_pipeline("first").add_model_step(good).deploy()
    client.build_pipeline("second").add_model_step(bad).deploy()
    answer = first.infer_from_file(samples.smoke_test_path())[0].data()[0].item()
    url = first.url()

    # When the server is stopped, the second one's model rots, and the server is started again
    assert server.stop() == 0
    for path in (server.home / "artifacts" / bad.sha()).iterdir():
        path.chmod(0o600)
        path.write_bytes(b"rotten")
    server.start()

    # Then the first is back under its URL, with its log, and the second says what is wrong
    client = server.client()
    first = client.get_pipeline("first")
    until(lambda: first.status()["status"] == "Running")
    assert first.url() == url
    assert first.infer_from_file(samples.smoke_test_path())[0].data()[0].item() == answer
    assert len(first.logs()) == 2
    second = client.get_pipeline("second")
    until(lambda: second.status()["status"] == "Error")
    assert "bad" in json.dumps(second.status())


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"control": "x"}', b"\xff"])
def test_a_spoilt_file_of_ports_or_token_stops_no_start(server, content):
    token = server.token
    assert server.stop() == 0
    (server.home / "ports.json").write_bytes(content)
    (server.home / "token").write_bytes(b"")
    (server.home / "token").chmod(0o644)

    server.start()

    assert server.token not in ("", token)
    assert (server.home / "token").stat().st_mode & 0o777 == 0o600
    assert server.client().list_workspaces()
    assert set(json.loads((server.home / "ports.json").read_text())) == {"control", "front"}


def test_a_new_database_shows_nothing_of_the_old_ones_log(server):
    client = server.client()
    model = client.upload_model("mlp", samples.champion_path())
    client.build_pipeline("old").add_model_step(model).deploy().infer({"tensor": [[1.5] * 29]})
    assert len(client.get_pipeline("old").logs()) == 1
    assert server.stop() == 0
    for file in server.home.glob("metadata.sqlite*"):
        file.unlink()

    server.start()

    client = server.client()
    model = client.upload_model("mlp", samples.champion_path())
    fresh = client.build_pipeline("fresh").add_model_step(model).deploy()
    assert list(fresh.logs()) == []
    assert len(list(server.home.glob("inference-log-before-*/front-0.sqlite"))) == 1
