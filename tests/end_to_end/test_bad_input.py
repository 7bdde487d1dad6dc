"""What users get wrong, each with a named error that says what to do; and the server goes on."""

import json
from pathlib import Path

import pandas as pd
import psutil
import pytest
import urllib3

from gnomon import samples
from gnomon.core import limits
from gnomon.object import (
    CommunicationError,
    EntityNotFoundError,
    InferenceError,
    InvalidNameError,
    ModelUploadError,
)
from tests import hostile_models

UPLOADS = {
    "external_data": "external_data_not_allowed",
    "custom_operator": "custom_operator",
    "crashes_on_zeros": "model_crashed_loader",
    "endless_loop": "model_load_timeout",
    "memory_bomb": "model_memory_exceeded",
    "function_bomb": "model_too_complex",
    "sequence_output": "model_load_failed",
    "hostile_names": "model_load_failed",
}


@pytest.fixture(scope="module")
def client(shared_server):
    return shared_server.client()


@pytest.fixture(scope="module")
def pipeline(client):
    model = client.upload_model("mlp", samples.champion_path())
    return client.build_pipeline("alone").add_model_step(model).deploy()


@pytest.fixture(autouse=True)
def the_server_goes_on(pipeline):
    yield
    assert pipeline.infer_from_file(samples.smoke_test_path())[0].data()[0].shape == (1, 1)


def upload(client, tmp_path: Path, content: bytes):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return client.upload_model("hostile", path)


@pytest.mark.parametrize("name", UPLOADS)
def test_a_hostile_model_is_refused_with_its_reason(client, tmp_path, name):
    with pytest.raises(ModelUploadError) as caught:
        upload(client, tmp_path, getattr(hostile_models, name)())

    assert caught.value.details["reason"] == UPLOADS[name]
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(EntityNotFoundError):
        client.get_model("hostile")


@pytest.mark.parametrize("name", hostile_models.NOT_ONNX)
def test_what_is_no_model_is_refused(client, tmp_path, name):
    with pytest.raises(ModelUploadError, match=r"not an ONNX model|empty|\.ort"):
        upload(client, tmp_path, hostile_models.NOT_ONNX[name])


def test_a_missing_file_a_directory_and_a_bad_name_are_refused(client, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        client.upload_model("fine", tmp_path / "nowhere.onnx")
    with pytest.raises(OSError, match=tmp_path.name):
        client.upload_model("fine", tmp_path)
    with pytest.raises(InvalidNameError, match="bad_name"):
        client.upload_model("bad_name", samples.champion_path())
    with pytest.raises(InvalidNameError, match="try 'upper'"):
        client.build_pipeline("Upper")
    with pytest.raises(InvalidNameError):
        client.create_workspace("../etc")


ROW = [0.0] * 29


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        ({"tensor": [ROW[:28]]}, "[?, 29], got [1, 28]"),
        ({"tensor": ROW}, "[?, 29], got [29]"),
        ({"tensor": [ROW, ROW[:3]]}, "ragged"),
        ({"tensor": [["0.5"] * 29]}, "must be float32, got string"),
        ({"tensor": [[True] * 29]}, "must be float32, got bool"),
        ({"tensor": [[None] * 29]}, "null"),
        ({"tensor": [[1e300] * 29]}, "too large"),
        ({"tensor": [[2**24 + 1] * 29]}, "exactly"),
        ({"tenosr": [ROW], "x": [ROW]}, "Did you mean 'tenosr'"),
        ({"tensor": [ROW], "extra": [1.0]}, "nothing takes the input 'extra'"),
        ({}, "missing"),
    ],
)
def test_an_input_that_does_not_fit_is_named(pipeline, tensor, says):
    with pytest.raises(InferenceError) as caught:
        pipeline.infer(tensor)

    assert says in str(caught.value)
    assert caught.value.code == "input_mismatch"
    assert caught.value.request_id


def test_a_frame_with_the_wrong_column_is_refused(pipeline):
    with pytest.raises(InferenceError, match="Did you mean"):
        pipeline.infer(pd.DataFrame({"tensors": [ROW], "index": [1]}))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_request"),
        (b"{", 400, "malformed_request"),
        (b"\xff\xfe", 400, "malformed_request"),
        (b'{"tensor": [[NaN]]}', 400, "malformed_request"),
        (b'{"tensor": [[Infinity]]}', 400, "malformed_request"),
        (b'"text"', 400, "malformed_request"),
        (b"null", 400, "malformed_request"),
        (b"[" * 100_000, 400, "malformed_request"),
        (b"[]", 422, "input_mismatch"),
        (b'{"tensor": []}', 422, "input_mismatch"),
    ],
)
def test_a_broken_body_is_refused_on_the_wire(shared_server, pipeline, body, status, code):
    response = shared_server.post(pipeline.url(), body, X_Gnomon_Request_Id="mine")

    error = response.json()
    assert (response.status, error["error_code"]) == (status, code)
    assert error["request_id"] == "mine" == response.headers["X-Gnomon-Request-Id"]
    assert error["code"] == status
    assert error["source"] == "gnomon"


def test_a_body_of_64_mb_is_refused_without_being_read(shared_server, pipeline):
    body = b'{"tensor": [[' + b"0," * (32 * limits.MIB) + b"0]]}"
    try:
        response = shared_server.post(pipeline.url(), body)
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.HTTPError):
        return  # closed in the middle of the body, which HTTP allows
    assert response.status == 413
    assert json.loads(response.data)["error_code"] == "body_too_large"


def test_what_is_not_deployed_cannot_be_asked(client, shared_server, pipeline):
    model = client.get_model("mlp")
    resting = client.build_pipeline("resting").add_model_step(model)
    with pytest.raises(InferenceError, match="resting"):
        resting.infer({"tensor": [ROW]})
    resting.deploy()
    url = resting.url()
    resting.undeploy()
    resting.undeploy()  # twice is no error
    with pytest.raises(InferenceError, match="resting"):
        resting.infer({"tensor": [ROW]})
    assert shared_server.post(url, {"tensor": [ROW]}).status == 404
    assert shared_server.post(url.replace("resting", "other"), {"tensor": [ROW]}).status == 404


def test_a_pipeline_without_steps_cannot_be_deployed(client):
    with pytest.raises(Exception, match="no steps"):
        client.build_pipeline("empty").deploy()


def test_deploying_twice_and_uploading_again_are_no_errors(client, pipeline):
    before = pipeline.url()
    assert pipeline.deploy().url() == before
    first = client.get_model("mlp")
    second = client.upload_model("mlp", samples.champion_path())
    assert second.version() != first.version()
    assert second.id() != first.id() or second.uid() != first.uid()


def test_a_challenger_that_does_not_fit_says_schema_and_nothing_else_happens(client, tmp_path):
    path = tmp_path / "doubling.onnx"
    path.write_bytes(hostile_models.doubling())
    champion = client.get_model("mlp")
    narrow = client.upload_model("narrow", path)
    pipeline = client.build_pipeline("unfit").add_shadow_deploy(champion, [narrow]).deploy()

    [result] = pipeline.infer({"tensor": [ROW]})

    assert result.data()[0].shape == (1, 1)
    assert result.challengers["narrow"].status == "schema"
    assert "narrow@1: input 'tensor' must have shape [?, 2]" in result.challengers["narrow"].error
    [narrow_entry, champion_entry] = pipeline.logs()
    assert (narrow_entry.status, champion_entry.status) == ("schema", "ok")
    assert narrow_entry.output == []
    pipeline.undeploy()


def test_a_challenger_that_was_retrained_under_the_champions_name_has_a_label(client, tmp_path):
    versions = []
    for factor in (2.0, 3.0):
        path = tmp_path / "model.onnx"
        path.write_bytes(hostile_models.doubling(factor=factor))
        versions.append(client.upload_model("retrained", path))
    pipeline = client.build_pipeline("retrained").add_shadow_deploy(versions[0], [versions[1]])

    [result] = pipeline.deploy().infer({"x": [[1.0, 2.0]]})

    assert result.data()[0].tolist() == [[2.0, 4.0]]
    assert result.shadow_data()["retrained_v2"][0].tolist() == [[3.0, 6.0]]
    assert [entry.model_name for entry in pipeline.logs()] == ["retrained_v2", "retrained"]
    pipeline.undeploy()


def test_the_server_gone_in_the_middle_is_said_with_its_address(server):
    client = server.client()
    model = client.upload_model("mlp", samples.champion_path())
    pipeline = client.build_pipeline("gone").add_model_step(model).deploy()
    processes = server.tree()
    server.kill()
    psutil.wait_procs(processes, timeout=10)  # each sees by itself that the supervisor is gone

    with pytest.raises(CommunicationError, match=r"127\.0\.0\.1"):
        pipeline.infer({"tensor": [ROW]})
    with pytest.raises(CommunicationError, match=r"127\.0\.0\.1"):
        client.list_workspaces()
