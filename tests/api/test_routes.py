"""The good ways through the API, as the SDK goes them."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.log.query import Cursor, LogQuery
from tests.api.conftest import Api, ref, shadow
from tests.waiting import until


def test_health_tells_the_version(api):
    answer = api.call("GET", "/v1/health", headers={"Authorization": None})
    assert answer.json() == {"status": "ok", "version": "1.2.3"}


def test_the_server_tells_its_processes_and_deployments(api, tmp_path):
    api.deploy("p", shadow(api.upload("m")))
    api.settled("p")
    server = api.call("GET", "/v1/server").json()
    assert server["version"] == "1.2.3"
    assert server["control_url"] == f"http://127.0.0.1:{api.port}"
    assert (server["front_url"], server["pid"]) == ("http://127.0.0.1:8081", 1234)
    assert server["home"] == str(tmp_path / "home")
    assert set(server["processes"][0]) == {"name", "pid", "state", "restarts", "log"}
    assert [deployment["pipeline"] for deployment in server["deployments"]] == ["p"]


def test_workspaces_are_made_and_listed_with_what_is_in_them(api):
    default = api.call("GET", "/v1/workspaces/default").json()
    made = api.call("POST", "/v1/workspaces", {"name": "Fraud"}).json()
    version = api.upload("m", workspace=made["id"])
    pipeline = api.call("POST", f"/v1/workspaces/{made['id']}/pipelines", {"name": "p"}).json()
    listed = api.call("GET", "/v1/workspaces").json()["workspaces"]
    assert [w["name"] for w in listed] == ["default-workspace", "Fraud"]
    assert listed[0] == default
    assert listed[1] == {
        **made,
        "models": [version["model_id"]],
        "pipelines": [pipeline["id"]],
    }
    assert set(made) == {
        "id",
        "name",
        "created_at",
        "created_by",
        "archived",
        "users",
        "models",
        "pipelines",
    }


def test_times_are_utc_with_offset_and_microseconds(api):
    text = api.call("GET", "/v1/workspaces/default").json()["created_at"]
    assert len(text) == len("2026-01-02T03:04:05.123456+00:00")
    assert datetime.fromisoformat(text).utcoffset() == timedelta(0)


def test_a_model_is_uploaded_found_and_configured(api):
    content = os.urandom(3 * limits.MIB + 17)  # several pieces
    version = api.upload("m", content)
    assert version["sha256"] == hashlib.sha256(content).hexdigest()
    assert version["size_bytes"] == len(content)
    assert set(version) == {
        "id",
        "uuid",
        "model_id",
        "workspace_id",
        "name",
        "ordinal",
        "sha256",
        "size_bytes",
        "file_name",
        "signature",
        "runtime",
        "tensor_fields",
        "batch_config",
        "input_schema",
        "output_schema",
        "dynamic_batching_config",
        "workspace",
        "tags",
        "author",
        "created_at",
        "created_by",
    }
    assert version["signature"]["inputs"] == [
        {"name": "tensor", "dtype": "float32", "shape": [None, 2]}
    ]
    versions = "/v1/workspaces/1/models/m/versions"
    assert api.call("GET", f"{versions}/latest").json() == version
    assert api.call("GET", f"{versions}/{version['uuid']}").json() == version

    path = f"/v1/workspaces/1/model-versions/{version['uuid']}"
    changed = api.call("PATCH", path, {"tensor_fields": ["column"]}).json()
    assert changed == {**version, "tensor_fields": ["column"]}
    assert api.call("PATCH", path, {"tensor_fields": None}).json() == version
    assert api.call("PATCH", path, {}).status == 422

    second = api.upload("m", b"better")
    [model] = api.call("GET", "/v1/workspaces/1/models").json()["models"]
    assert [v["uuid"] for v in model["versions"]] == [second["uuid"], version["uuid"]]
    assert set(model) == {"id", "name", "created_at", "updated_at", "versions"}


def test_an_upload_in_chunks_without_a_length_works(api):
    pieces = [b"a" * 1000, b"b" * 1000]
    answer = api.call(
        "POST",
        "/v1/workspaces/1/models/m/versions",
        raw=iter(pieces),
        headers={"Transfer-Encoding": "chunked"},
        chunked=True,
    )
    assert answer.status == 201
    assert answer.json()["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert answer.json()["file_name"] == "model.onnx"


def test_a_rejected_file_says_why_and_leaves_nothing(api, tmp_path):
    api.backend.rejects(hashlib.sha256(b"zip").hexdigest(), "not_onnx", "The file is not ONNX.")
    answer = api.call("POST", "/v1/workspaces/1/models/m/versions", raw=b"zip")
    assert answer.status == 422
    problem = answer.json()
    assert (problem["error_code"], problem["detail"]) == ("model_rejected", "The file is not ONNX.")
    assert problem["details"]["reason"] == "not_onnx"
    empty = api.call("POST", "/v1/workspaces/1/models/m/versions", raw=b"").json()
    assert (empty["error_code"], empty["details"]["reason"]) == ("model_rejected", "empty_file")
    assert api.call("GET", "/v1/workspaces/1/models").json() == {"models": []}
    assert not list((tmp_path / "home" / "artifacts").rglob("model.onnx"))


def test_a_model_file_that_is_too_large_is_refused_before_it_is_sent(api):
    head = (
        f"POST /v1/workspaces/1/models/m/versions HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n"
        f"Authorization: {api.headers['Authorization']}\r\n"
        f"Content-Length: {limits.MODEL_BYTES_MAX + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as connection:
        connection.sendall(head.encode())
        answer = connection.makefile("rb").readline()
    assert b" 413 " in answer


def test_an_upload_whose_sender_goes_away_leaves_nothing(api, tmp_path):
    artifacts = tmp_path / "home" / "artifacts"
    head = (
        f"POST /v1/workspaces/1/models/m/versions HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n"
        f"Authorization: {api.headers['Authorization']}\r\nContent-Length: 5000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as connection:
        connection.sendall(head.encode() + bytes(2 * limits.MIB))
        until(lambda: list((artifacts / "incoming").iterdir()))
    until(lambda: not list((artifacts / "incoming").iterdir()))
    assert list(artifacts.rglob("model.onnx")) == []
    assert api.call("GET", "/v1/workspaces/1/models").json() == {"models": []}


def test_a_pipeline_is_built_deployed_waited_for_and_undeployed(api):
    champion, *rivals = (api.upload(name) for name in ("champ", "rival-a", "rival-b"))
    built = api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    assert built.status == 201
    assert set(built.json()) == {
        "id",
        "workspace_id",
        "workspace",
        "name",
        "created_at",
        "updated_at",
        "created_by",
        "tags",
        "versions",
        "definition",
        "deployment",
    }
    assert built.json()["definition"] == {"steps": []}
    again = api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    assert again.status == 200
    assert len(again.json()["versions"]) == 2

    began = time.monotonic()
    path = "/v1/workspaces/1/pipelines/p/deployment"
    definition = shadow(champion, *rivals)
    wanted = api.call("PUT", path, {"definition": definition})
    assert (wanted.status, wanted.json()["state"]) == (202, "starting")
    view = api.settled("p")
    assert time.monotonic() - began < 1.0
    assert set(view) == {
        "id",
        "pipeline_id",
        "pipeline",
        "workspace_id",
        "revision",
        "desired",
        "state",
        "settled",
        "reason",
        "pipeline_version",
        "wanted_version",
        "url",
        "models",
        "shadow",
        "log",
        "updated_at",
    }
    assert (view["state"], view["desired"], view["revision"]) == ("running", "running", 1)
    assert view["url"].endswith(f"/v1/api/pipelines/infer/p-{view['id']}/p")
    assert [(m["label"], m["role"], m["state"]) for m in view["models"]] == [
        ("champ", "champion", "ready"),
        ("rival-a", "challenger", "ready"),
        ("rival-b", "challenger", "ready"),
    ]
    assert set(view["models"][0]) == {
        "label",
        "role",
        "step",
        "name",
        "version",
        "sha",
        "state",
        "reason",
        "restarts",
        "pid",
        "hosts",
        "sample",
        "on",
    }
    pipeline = api.call("GET", "/v1/workspaces/1/pipelines/p").json()
    assert pipeline["definition"] == definition
    assert pipeline["deployment"] == view
    assert pipeline["versions"][0] == view["pipeline_version"]

    stopped = api.call("DELETE", path)
    assert (stopped.status, stopped.json()["desired"]) == (202, "stopped")
    assert api.settled("p")["state"] == "stopped"
    assert api.call("DELETE", path).status == 200


def test_undeploying_what_was_never_deployed_is_no_error(api):
    api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    answer = api.call("DELETE", "/v1/workspaces/1/pipelines/p/deployment")
    assert (answer.status, answer.json()) == (200, None)
    assert api.call("GET", "/v1/workspaces/1/pipelines/p/deployment").status == 404


def test_the_shortest_definition_is_enough(api):
    version = api.upload("m")
    short = {"version_id": version["id"], "version": version["uuid"]}
    api.deploy("p", {"steps": [{"ShadowDeploy": {"champion": short, "challengers": []}}]})
    assert api.settled("p")["models"][0]["name"] == "m"
    pipeline = api.call("GET", "/v1/workspaces/1/pipelines/p").json()
    assert pipeline["definition"] == {"steps": [{"ModelInference": {"model": ref(version)}}]}


def test_pipelines_are_listed_newest_first(api):
    for name in ("a", "b", "c"):
        api.call("POST", "/v1/workspaces/1/pipelines", {"name": name})

    def names(query: str = "") -> list[str]:
        found = api.call("GET", f"/v1/workspaces/1/pipelines{query}").json()["pipelines"]
        return [pipeline["name"] for pipeline in found]

    assert names() == ["c", "b", "a"]
    assert names("?limit=1") == ["c"]
    assert names("?name=b") == ["b"]


def test_many_who_wait_keep_nobody_else_waiting(api: Api):
    # Given a deployment that does not come up, and more waiting calls than there are threads
    version = api.upload("m")
    api.backend.hosts_become(version["sha256"], "starting")
    api.deploy("p", shadow(version))
    path = "/v1/workspaces/1/pipelines/p/deployment?wait_s=3"
    waiters = [threading.Thread(target=api.call, args=("GET", path)) for _ in range(60)]
    for waiter in waiters:
        waiter.start()

    # Then others are answered at once
    began = time.monotonic()
    for _ in range(20):
        assert api.call("GET", "/v1/workspaces").status == 200
    assert time.monotonic() - began < 2.0
    [host] = api.backend.hosts()
    api.backend.set_state(host.name, "ready")
    for waiter in waiters:
        waiter.join(10)


def read(answer) -> pa.Table:
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    return pa.ipc.open_stream(answer.body).read_all()


def test_logs_come_as_an_arrow_stream(api, tmp_path):
    pipeline = api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"}).json()
    api.log.rows = [f"request-{number}" for number in range(250)]
    answer = api.call("GET", "/v1/workspaces/1/pipelines/p/logs?limit=240")
    assert read(answer)["request_id"].to_pylist() == api.log.rows[:240]
    assert answer.headers["x-gnomon-more"] == "true"
    assert answer.headers["x-gnomon-unread"] == ""
    [(directory, pipeline_id, asked)] = api.log.asked
    assert (directory, pipeline_id) == (tmp_path / "log", pipeline["id"])
    assert asked == {"query": LogQuery(), "limit": 240, "after": None}


def test_logs_of_nothing_are_an_empty_stream(api):
    api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    api.backend.unread = ["front-0"]
    answer = api.call("GET", "/v1/workspaces/1/pipelines/p/logs")
    assert read(answer).num_rows == 0
    assert answer.headers["x-gnomon-more"] == "false"
    assert answer.headers["x-gnomon-unread"] == "front-0"
    assert api.log.asked[0][2]["limit"] == limits.LOGS_DEFAULT


def test_logs_are_asked_for_by_time_status_model_and_request(api):
    api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    path = "/v1/workspaces/1/pipelines/p/logs"
    api.log.rows = ["b", "a"]
    api.log.notices = ("ü" * 500,)
    first = api.call("GET", f"{path}?limit=1")
    api.call(
        "GET",
        f"{path}?start_datetime=1970-01-01T00:00:01&end_datetime=1970-01-01T01:00:02%2B01:00"
        f"&status=timeout&model=m&request_id=r&order=oldest&cursor={first.headers['x-gnomon-cursor']}",
    )

    assert json.loads(first.headers["x-gnomon-notices"]) == ["ü" * 200]
    _, _, asked = api.log.asked[-1]
    assert asked["query"] == LogQuery(
        start_us=1_000_000,
        end_us=2_000_000,
        status=Status.TIMEOUT,
        model="m",
        request_id="r",
        oldest_first=True,
    )
    assert asked["after"] == Cursor({"log": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        "start_datetime=yesterday",
        "status=fine",
        "where=1%3D",
        'where="x"',
        "order=random",
        "cursor=x",
        "cursor=eyJhIjoieCJ9",
        "cursor=W10=",
        "cursor=eyJhIjo5MjIzMzcyMDM2ODU0Nzc1ODA4fQ==",
        "cursor=eyJhIjotMX0=",
        "cursor=%F0%9F%98%80",
    ],
)
def test_logs_that_are_asked_for_wrongly_are_an_error_that_says_so(api, wrong):
    api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    answer = api.call("GET", f"/v1/workspaces/1/pipelines/p/logs?{wrong}")
    assert 400 <= answer.status < 500
    assert wrong.split("=")[0] in answer.json()["detail"]


def test_logs_of_an_unknown_pipeline_are_not_found(api):
    assert api.call("GET", "/v1/workspaces/1/pipelines/x/logs").status == 404


def test_the_description_of_the_api_names_every_route_and_the_token(api):
    description = api.call("GET", "/v1/openapi.json").json()
    assert "/v1/workspaces/{workspace}/pipelines/{name}/deployment" in description["paths"]
    assert description["security"] == [{"token": []}]


@pytest.mark.parametrize("count", [limits.UPLOADS_MAX + 1])
def test_more_uploads_at_once_than_there_is_room_for_are_told_so(api, count):
    head = (
        f"POST /v1/workspaces/1/models/m/versions HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n"
        f"Authorization: {api.headers['Authorization']}\r\nContent-Length: 10\r\n\r\n"
    )
    senders = []
    for _ in range(count - 1):
        sender = socket.create_connection(("127.0.0.1", api.port), timeout=5)
        sender.sendall(head.encode() + b"12345")
        senders.append(sender)

    def full() -> bool:
        answer = api.call("POST", "/v1/workspaces/1/models/m/versions", raw=b"file")
        return answer.status == 503 and answer.json()["error_code"] == "busy"

    until(full)
    for sender in senders:
        sender.sendall(b"67890")
        assert b" 201 " in sender.makefile("rb").readline()
        sender.close()
    until(lambda: not full())
