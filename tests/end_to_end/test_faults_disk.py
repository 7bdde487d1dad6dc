"""Uploads to a server whose disk is full."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from gnomon.core.errors import OutOfSpace
from tests import hostile_models
from tests.end_to_end.conftest import Server, running

DISK_BYTES = 32 << 20
ROOM_BYTES = 1 << 20
LARGE_BYTES = 16 << 20


@contextlib.contextmanager
def disk(directory: Path):
    """Mount a small disk; only root may."""
    directory.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "small", directory]
    if os.geteuid() or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A server whose home is a small disk."""
    with disk(tmp_path / "disk") as directory:
        yield from running(directory / "home")


@contextlib.contextmanager
def filled(directory: Path, room_bytes: int):
    """Leave so much room on a disk."""
    filler = directory / "filler"
    free = os.statvfs(directory)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - room_bytes)
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def files_not_growing(pid: int):
    """Let no file that a process writes become larger than there is room."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def log_of_database_growing(server: Server):
    """Read the metadata database all the while, so that a write finds no room it may use again."""
    with contextlib.closing(sqlite3.connect(server.home / "metadata.sqlite")) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM models").fetchall()
        yield


def check_refused_and_then_taken(
    server: Server, path: Path, full_disk, says: str = "the file was not kept"
) -> None:
    """Check that an upload to a full disk leaves nothing behind, and the next one is taken."""
    client = server.client()
    url = f"{server.facts['control_url']}/v1/workspaces/1/models/large/versions"
    with full_disk:
        # Given a full disk, the SDK and whoever speaks HTTP are told so
        with pytest.raises(OutOfSpace, match=f"The disk is full: {says}. Free some space"):
            client.upload_model("large", path)
        answer = server.post(url, path.read_bytes(), Content_Type="application/octet-stream")
        assert answer.status == 507
        assert answer.json()["error_code"] == "out_of_space"
        assert str(server.home) not in answer.data.decode()

        # Then there is no file of it, whole or not, and no row
        assert files(server) == []
        assert client.list_models() == []
        assert rows(server) == []

    # And when there is room again it is taken, as if nothing had been
    version = client.upload_model("large", path)
    assert version.ordinal() == 1
    assert files(server) == [f"{version.sha()}/model.onnx"]
    assert rows(server) == [version.version()]


def files(server: Server) -> list[str]:
    """The files that the server keeps of models, whole or not; nothing else is beside them."""
    artifacts = server.home / "artifacts"
    names = [path.relative_to(artifacts) for path in artifacts.rglob("*") if path.is_file()]
    directories = {path.name for path in artifacts.rglob("*") if path.is_dir()}
    assert directories == {"incoming", *(path.parent.name for path in names)}
    return sorted(map(str, names))


def rows(server: Server) -> list[str]:
    database = f"file:{server.home / 'metadata.sqlite'}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
        return [uuid for (uuid,) in connection.execute("SELECT uuid FROM model_versions")]


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.onnx"
    weights = numpy_helper.from_array(np.ones((LARGE_BYTES // 8, 2), np.float32), "weights")
    node = helper.make_node("ReduceMean", ["weights"], ["mean"], keepdims=0)
    nodes = [node, helper.make_node("Mul", ["x", "mean"], ["y"])]
    x, y = hostile_models.value("x"), hostile_models.value("y")
    path.write_bytes(hostile_models.model(nodes, [x], [y], initializers=[weights]))
    return path


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(hostile_models.doubling())
    return path


def test_an_upload_that_no_file_may_hold_leaves_nothing_behind(server, large):
    control = server.pids()["control"]
    check_refused_and_then_taken(server, large, files_not_growing(control))


def test_an_upload_to_a_full_disk_leaves_nothing_behind(small_disk, large):
    disk = small_disk.home.parent
    check_refused_and_then_taken(small_disk, large, filled(disk, ROOM_BYTES))


def test_an_upload_whose_row_finds_a_full_disk_leaves_nothing_behind(small_disk, small):
    full = filled(small_disk.home.parent, 2 * resource.getpagesize())
    with log_of_database_growing(small_disk):
        check_refused_and_then_taken(small_disk, small, full, "nothing was changed")
