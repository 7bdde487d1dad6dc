"""What deleted things left on the disk is found, told and removed; nothing else is."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from gnomon.log.flusher import Flusher
from gnomon.log.places import pipeline_directories
from tests.log.entries import ALONE, inference
from tests.log.files import all_records, ids, write
from tests.planes import owner
from tests.planes import upload as upload_to


def files(home: Path) -> set[str]:
    return {path.parent.name for path in home.rglob("model.onnx")}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def log_of(home: Path, pipeline, size: int) -> Path:
    """Make a log as the flusher does, with `size` bytes in it."""
    place = home / "inference-log" / str(pipeline._view["workspace_id"]) / str(pipeline.id()) / "1"
    (place / "_delta_log").mkdir(parents=True)
    (place / "_delta_log" / "0.json").write_text(json.dumps({}))
    (place / "part.parquet").write_bytes(b"x" * (size - 12))
    (place.parent / "blobs" / "ab").mkdir(parents=True)
    (place.parent / "blobs" / "ab" / "abcd").write_bytes(b"x" * 10)
    return place.parent


def test_what_nothing_needs_is_told_and_then_removed(api, client, upload, home, run):
    # Given a deleted version, one whose file another version has too, and a deleted pipeline
    gone, shared = upload("gone", "x" * 1000), upload("shared", "the same")
    kept = upload("kept", "the same")
    pipeline, deleted = client.build_pipeline("stays"), client.build_pipeline("goes")
    there, away = log_of(home, pipeline, 50), log_of(home, deleted, 3000)
    for thing in (gone, shared, deleted):
        thing.delete()

    # When it is only looked for, then it is told and stays
    expected = {
        "files": [{"name": gone.sha(), "size_bytes": 1000}],
        "logs": [{"name": f"1/{deleted.id()}", "size_bytes": 3000}],
    }
    assert api.call("GET", "/v1/garbage").json() == {**expected, "removed": False}
    assert run("gc", "--dry-run", "--json").json() == {**expected, "removed": False}
    shown = run("gc", "--dry-run")
    assert gone.sha() in shown.out
    assert "1,000 B" in shown.out
    assert "4,000 B in 1 model file and the logs of 1 pipeline" in shown.out
    assert files(home) == {gone.sha(), kept.sha()}
    assert away.exists()

    # And when it is removed, then only that is gone
    shown = run("gc", "--yes")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.endswith("Removed.\n")
    assert files(home) == {kept.sha()}
    assert there.exists()
    assert not away.exists()
    assert {path.name for path in (home / "inference-log").iterdir()} == {"1"}
    assert run("gc", "--yes").out == "There is nothing to remove.\n"


def test_without_yes_nothing_is_removed_unless_somebody_says_so(client, upload, home, run):
    version = upload("gone")
    version.delete()

    shown = run("gc")  # there is no terminal to ask

    assert shown.code != 0
    assert files(home) == {version.sha()}
    shown = run("gc", "--json")
    assert (shown.code, shown.out) == (2, "")
    assert "--yes" in shown.err
    assert run("gc", "--yes", "--json").json()["removed"] is True
    assert files(home) == set()


def test_a_deleted_workspace_leaves_nothing_after_it_is_collected(client, upload, home, run):
    workspace = client.set_current_workspace(client.create_workspace("team"))
    upload("lstm")
    place = log_of(home, client.build_pipeline("fraud"), 100)
    workspace.archive().delete()

    run("gc", "--yes")

    assert files(home) == set()
    assert not place.parent.exists()


def test_a_file_that_is_being_uploaded_is_not_garbage(api):
    # Given an upload whose file is kept, and whose probe has not ended
    plane, backend = api.plane, api.backend
    probing, go_on = threading.Event(), threading.Event()
    probe = backend.probe

    def slow(*asked):
        probing.set()
        assert go_on.wait(10)
        return probe(*asked)

    backend.probe = slow
    uploading = threading.Thread(target=upload_to, args=(plane, "lstm", b"content"))
    uploading.start()
    assert probing.wait(10)

    # When garbage is removed, then the file stays, and becomes a version
    found = plane.garbage.collect(owner(plane), remove=True)
    assert (found.files, found.removed) == ((), True)
    go_on.set()
    uploading.join(10)
    version = plane.catalog.version(owner(plane), 1, "lstm")
    assert plane.catalog._artifacts.path(version.sha256).read_bytes() == b"content"


def test_what_somebody_else_put_beside_the_model_files_stays(api, home):
    notes = home / "artifacts" / "notes"
    notes.mkdir()

    assert api.plane.garbage.collect(owner(api.plane), remove=True).files == ()

    assert notes.is_dir()


def test_what_a_removal_that_was_cut_short_left_is_removed_by_the_next(api, home):
    left = home / "inference-log" / "deleted-1-9" / "1"
    left.mkdir(parents=True)

    api.plane.garbage.collect(owner(api.plane), remove=True)

    assert not left.parent.exists()


def test_who_moves_requests_to_tables_goes_on_when_a_table_is_taken_away(api, home):
    # Given requests of two pipelines that the plane does not know, moved to tables
    path = home / "inference-log" / "front-0.sqlite"
    path.parent.mkdir()
    mine, theirs = (
        dataclasses.replace(ALONE, pipeline_id=7),
        dataclasses.replace(ALONE, pipeline_id=8),
    )
    flusher = Flusher(path.parent)
    write(path, [inference(1, mine), inference(2, theirs)])
    flusher.flush()
    tables = pipeline_directories(path.parent)
    assert len(tables) == 2

    # When they are removed and one of the pipelines is asked on, and tidied
    assert len(api.plane.garbage.collect(owner(api.plane), remove=True).logs) == 2
    flusher.tidy()
    write(path, [inference(3, mine)])
    flusher.flush()
    flusher.flush()  # had it failed, this one would not

    # Then what came since is in a table of its own
    assert len(pipeline_directories(path.parent)) == 1
    assert ids(all_records(path.parent, 7)) == ["3"]
