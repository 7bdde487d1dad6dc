from __future__ import annotations

import hashlib
import sqlite3
import threading
from functools import partial

import pytest

from gnomon.core import limits
from gnomon.core.errors import (
    Conflict,
    Invalid,
    InvalidName,
    LimitReached,
    ModelRejected,
    NotFound,
    ServerUnreachable,
)
from tests.planes import owner, upload, workspace_of


def stored(plane) -> int:
    return len(list(plane.catalog._artifacts.path("x").parents[1].rglob("model.onnx")))


def test_an_upload_becomes_a_version_with_its_signature(plane, backend):
    version = upload(plane, "ccfraud", b"content")
    assert (version.name, version.ordinal, version.size_bytes) == ("ccfraud", 1, 7)
    assert version.sha256 == hashlib.sha256(b"content").hexdigest()
    assert version.signature.inputs[0].name == "tensor"
    assert version.file_name == "ccfraud.onnx"
    call, workspace = owner(plane), workspace_of(plane)
    assert plane.catalog.version(call, workspace, "ccfraud") == version
    assert plane.catalog.version(call, workspace, "CCFraud", version.uuid) == version


def test_the_same_name_again_is_a_new_version_whatever_its_case(plane):
    first, second = upload(plane, "ccfraud"), upload(plane, "CCfraud", b"more")
    assert (second.name, second.ordinal, second.model_id) == ("ccfraud", 2, first.model_id)
    [model] = plane.catalog.models(owner(plane), workspace_of(plane))
    assert [version.ordinal for version in model.versions] == [2, 1]
    assert model.updated_at == second.created_at


def test_the_same_file_twice_is_two_versions_of_one_file(plane):
    first, second = upload(plane, "a", b"same"), upload(plane, "b", b"same")
    assert first.sha256 == second.sha256
    assert first.uuid != second.uuid
    assert stored(plane) == 1


def test_an_empty_file_is_refused(plane):
    with pytest.raises(ModelRejected) as caught:
        upload(plane, "empty", b"")
    assert caught.value.details["reason"] == "empty_file"
    assert stored(plane) == 0


def test_a_file_that_the_probe_refuses_leaves_nothing(plane, backend):
    backend.rejects(hashlib.sha256(b"zip").hexdigest(), "not_onnx", "The file is not ONNX.")
    with pytest.raises(ModelRejected, match="not ONNX") as caught:
        upload(plane, "bad", b"zip")
    assert caught.value.details["reason"] == "not_onnx"
    assert stored(plane) == 0
    assert plane.catalog.models(owner(plane), workspace_of(plane)) == []


def test_a_refused_file_that_a_version_has_stays(plane, backend):
    version = upload(plane, "good", b"content")
    backend.rejects(version.sha256, "model_load_timeout")
    with pytest.raises(ModelRejected):
        upload(plane, "again", b"content")
    assert stored(plane) == 1


def test_an_upload_while_the_backend_is_away_leaves_nothing(plane, backend):
    backend.away = True
    with pytest.raises(ServerUnreachable):
        upload(plane, "m")
    assert stored(plane) == 0


def test_an_upload_that_is_given_up_leaves_nothing(plane):
    call, workspace = owner(plane), workspace_of(plane)
    with plane.catalog.begin_upload(call, workspace, "m", file_name="m.onnx") as incoming:
        incoming.write(b"half")
    assert stored(plane) == 0


@pytest.mark.parametrize("name", ["", "a_b", "-a", "a-", "ä", "../x", "a" * 64, "a\n"])
def test_a_bad_name_is_refused_before_a_byte_is_taken(plane, name):
    with pytest.raises(InvalidName):
        plane.catalog.begin_upload(owner(plane), workspace_of(plane), name, file_name="m")


@pytest.mark.parametrize("name", ["", "dir/", "a\nb", "x" * 256, "nul\0"])
def test_a_bad_file_name_is_refused(plane, name):
    with pytest.raises(Invalid):
        plane.catalog.begin_upload(owner(plane), workspace_of(plane), "m", file_name=name)


def test_of_a_file_name_only_the_last_part_is_kept(plane):
    call, workspace = owner(plane), workspace_of(plane)
    with plane.catalog.begin_upload(call, workspace, "m", file_name="C:\\x/y.onnx") as incoming:
        incoming.write(b"content")
        assert incoming.finish().file_name == "y.onnx"


def test_a_workspace_has_a_bounded_number_of_models(plane, monkeypatch):
    monkeypatch.setattr(limits, "MODELS_PER_WORKSPACE_MAX", 2)
    upload(plane, "a")
    upload(plane, "b")
    with pytest.raises(LimitReached):
        upload(plane, "c")
    assert upload(plane, "a").ordinal == 2, "another version is no other model"


def test_what_is_not_there_is_not_found(plane):
    call, workspace = owner(plane), workspace_of(plane)
    version = upload(plane, "m")
    upload(plane, "other")
    for name, wanted in (("x", "latest"), ("m", "not-a-uuid"), ("other", version.uuid)):
        with pytest.raises(NotFound):
            plane.catalog.version(call, workspace, name, wanted)
    for foreign in (workspace + 1, 2**62):
        with pytest.raises(NotFound):
            plane.catalog.models(call, foreign)


def test_a_version_of_another_workspace_is_not_found(plane):
    call = owner(plane)
    version = upload(plane, "m")
    other = plane.workspaces.add(call, "other")
    with pytest.raises(NotFound):
        plane.catalog.configure(call, other.id, version.uuid, {"tensor_fields": None})


def test_columns_are_configured_one_for_each_input(plane):
    call, workspace = owner(plane), workspace_of(plane)
    version = upload(plane, "m")
    configure = partial(plane.catalog.configure, call, workspace, version.uuid)
    assert configure({"tensor_fields": ["column"]}).tensor_fields == ("column",)
    assert configure({"batch_config": "single"}).tensor_fields == ("column",)
    assert configure({"tensor_fields": None}).tensor_fields is None
    with pytest.raises(Invalid, match="Nothing is to be changed"):
        configure({})
    for fields in ([], ["a", "b"], [""], ["x" * 257]):
        with pytest.raises(Invalid):
            configure({"tensor_fields": fields})


def test_workspaces_have_names_of_their_own(plane):
    call = owner(plane)
    made = plane.workspaces.add(call, "Fraud")
    with pytest.raises(Conflict):
        plane.workspaces.add(call, "fraud")
    assert [w.name for w in plane.workspaces.all(call)] == ["default-workspace", "Fraud"]
    assert made.models == ()


def test_many_uploads_of_the_same_name_at_once_number_without_gaps(plane):
    versions, workers = [], []
    for number in range(8):
        content = str(number % 2).encode()
        work = threading.Thread(target=lambda c=content: versions.append(upload(plane, "m", c)))
        workers.append(work)
        work.start()
    for work in workers:
        work.join()
    assert sorted(version.ordinal for version in versions) == list(range(1, 9))
    assert stored(plane) == 2


def test_no_token_and_no_row_says_a_token(plane, tmp_path):
    tables = sqlite3.connect(tmp_path / "metadata.sqlite")
    dump = "\n".join(tables.iterdump())
    tables.close()
    assert "gno_" not in dump
