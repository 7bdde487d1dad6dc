"""Workspaces and models through the client."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import gnomon
from gnomon.core import limits
from gnomon.core.errors import (
    Conflict,
    Invalid,
    InvalidName,
    LimitReached,
    ModelRejected,
    NotFound,
    Unauthenticated,
)
from gnomon.object import EntityNotFoundError
from tests.sdk.wire import TOKEN


def test_a_workspace_is_made_found_and_listed(client):
    made = client.create_workspace("fraud")

    assert client.get_workspace("fraud") == made
    assert client.get_workspace("FRAUD") == made
    assert [space.name() for space in client.list_workspaces()] == ["fraud"]
    assert isinstance(made.id(), int)
    assert made.created_at().utcoffset() == timedelta(0)
    assert not made.archived()


def test_a_workspace_that_is_not_there_is_an_error_that_says_what_there_is(client):
    client.create_workspace("fraud")

    with pytest.raises(EntityNotFoundError, match=r"no workspace 'froud'; there are 'fraud'"):
        client.get_workspace("froud")
    assert client.get_workspace("froud", create_if_not_exist=True).name() == "froud"


def test_a_name_that_is_taken_or_bad_is_refused(client):
    client.create_workspace("fraud")

    with pytest.raises(Conflict):
        client.create_workspace("Fraud")
    with pytest.raises(InvalidName, match="'bad_name'"):
        client.create_workspace("bad_name")
    with pytest.raises(InvalidName):
        client.create_workspace(None)


def test_the_current_workspace_is_at_first_the_users_own(client):
    assert client.get_current_workspace().name() == "default-workspace"

    made = client.create_workspace("fraud")
    assert client.set_current_workspace(made) is made
    assert client.get_current_workspace() is made
    with pytest.raises(TypeError, match="takes a Workspace, got str"):
        client.set_current_workspace("fraud")


def test_a_wrong_token_is_refused(server):
    client = gnomon.Client(server.url, "gno_wrong")

    with pytest.raises(Unauthenticated, match="token"):
        client.list_workspaces()


def test_a_client_has_several_ways_to_its_address_and_token(server, monkeypatch, tmp_path):
    monkeypatch.setenv("GNOMON_HOME", str(tmp_path))
    assert gnomon.Client(api_endpoint=f"{server.url}/", token=TOKEN).api_endpoint == server.url

    monkeypatch.setenv("GNOMON_URL", server.url)
    monkeypatch.setenv("GNOMON_TOKEN", TOKEN)
    assert gnomon.Client().list_workspaces() == []

    monkeypatch.delenv("GNOMON_TOKEN")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert gnomon.Client().list_workspaces() == []


def test_the_token_of_this_machine_is_not_sent_to_another(server, monkeypatch, tmp_path):
    monkeypatch.setenv("GNOMON_HOME", str(tmp_path))
    (tmp_path / "token").write_text(TOKEN)
    elsewhere = server.url.replace("127.0.0.1", "127.0.0.2")  # loopback, but not by that name

    client = gnomon.Client.__new__(gnomon.Client)
    with pytest.raises(gnomon.GnomonError):
        client.__init__(elsewhere)
    assert client.auth.auth_header() == {}


def test_a_model_is_uploaded_as_a_version_and_found_again(client, tmp_path: Path):
    file = tmp_path / "Keras.onnx"
    file.write_text("2.0")

    first = client.upload_model("ccfraud", str(file))
    second = client.upload_model("ccfraud", file, framework=gnomon.Framework.ONNX)

    assert (first.name(), first.file_name(), first.ordinal()) == ("ccfraud", "Keras.onnx", 1)
    assert len(first.sha()) == 64
    assert second.ordinal() == 2
    assert first.version() != second.version()
    assert first.uid() == f"ccfraud-{first.id()}"
    assert first.last_update_time().utcoffset() == timedelta(0)
    assert client.get_model("ccfraud").version() == second.version()
    assert client.get_model("ccfraud", first.version()).id() == first.id()
    [family] = client.list_models()
    assert [version.ordinal() for version in family.versions()] == [2, 1]
    with pytest.raises(NotFound):
        client.get_model("other")
    assert [str(spec) for spec in first.inputs()] == ["float32 [?, 3]"]


def test_an_upload_streams_the_files_bytes(server, client, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b" " * 1_000_000 + b"2.0")

    client.upload_model("large", file)

    [sent] = [seen for seen in server.requests if seen.path.endswith("/versions")]
    assert sent.body == file.read_bytes()
    assert sent.headers["Content-Length"] == "1000003"
    assert sent.headers["Content-Type"] == "application/octet-stream"


def test_a_file_that_cannot_be_a_model_is_refused(client, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_text("not a model")

    with pytest.raises(ModelRejected, match="not ONNX") as caught:
        client.upload_model("broken", broken)
    assert caught.value.details["reason"] == "not_onnx"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        client.upload_model("broken", tmp_path / "nowhere.onnx")
    with pytest.raises(IsADirectoryError, match="directory"):
        client.upload_model("broken", tmp_path)
    with pytest.raises(InvalidName, match="bad_name"):
        client.upload_model("bad_name", broken)
    with pytest.raises(Invalid, match="exported to ONNX"):
        client.upload_model("broken", broken, framework=gnomon.Framework.KERAS)


def test_a_file_that_is_too_large_is_not_even_sent(server, client, tmp_path):
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(limits.MODEL_BYTES_MAX + 1)

    with pytest.raises(LimitReached):
        client.upload_model("huge", huge)
    assert not any(seen.path.endswith("/versions") for seen in server.requests)


def test_what_other_platforms_are_told_at_upload_is_kept(client, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_text("1.0")

    model = client.upload_model("kept", file, arch="x86", convert_wait=False)
    same = model.configure("onnx")

    assert same is model
    assert model.config() == {
        "arch": "x86",
        "convert_wait": False,
        "runtime": "onnx",
        "tensor_fields": None,
    }


def test_tensor_fields_are_stored_on_the_server(client, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_text("1.0")
    model = client.upload_model("fed", file)

    assert model.configure(tensor_fields=["amount"]) is model

    assert model.tensor_fields() == ("amount",)
    assert client.get_model("fed").config()["tensor_fields"] == ["amount"]
    with pytest.raises(Invalid, match=r"1 inputs \('dense_input'\), and 2 tensor_fields"):
        model.configure(tensor_fields=["a", "b"])
    with pytest.raises(Invalid, match="list of column names"):
        model.configure(tensor_fields="amount")
    with pytest.raises(Invalid, match="'mlflow'"):
        model.configure("mlflow")


def test_workspaces_show_what_is_in_them(client, shadow):
    workspace = client.list_workspaces()[0]

    assert [model.name() for model in workspace.models()] == [
        "ccfraud-rf",
        "ccfraud-xgb",
        "ccfraud-lstm",
    ]
    assert [pipeline.name() for pipeline in workspace.pipelines()] == ["cc-shadow"]
    assert "'models': 3, 'pipelines': 1" in repr(workspace)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"batch_config": "many"}, 'must be "single" or "batch", got \'many\''),
        ({"dynamic_batching_config": 4}, "must be a mapping of numbers"),
        ({"dynamic_batching_config": {"max": "4"}}, "must be a mapping of numbers"),
        ({"input_schema": "tensor"}, r"input_schema must be a pyarrow.Schema, .* got str"),
        ({"continuous_batching_config": object()}, "continuous_batching_config cannot be set"),
        ({"filter_threshold": 0.5}, "filter_threshold cannot be set"),
        ({"openai_config": {}}, "openai_config cannot be set"),
    ],
)
def test_what_a_model_cannot_be_told_is_not_silently_ignored(shadow, given, says):
    before = shadow.champion.config()

    with pytest.raises(Invalid, match=says):
        shadow.champion.configure(**given)
    assert shadow.champion.config() == before


@pytest.mark.parametrize("path", [None, 5, b"model.onnx"])
def test_an_upload_of_what_is_no_path_is_refused_in_words(client, path):
    with pytest.raises(Invalid, match="path must be where the ONNX file is, got"):
        client.upload_model("x", path)


@pytest.mark.parametrize("timeout", ["x", 0, float("nan"), True])
def test_a_client_has_a_time_to_wait(server, timeout):
    with pytest.raises(Invalid, match="request_timeout must be more than 0 seconds, got"):
        gnomon.Client(server.url, TOKEN, request_timeout=timeout)
