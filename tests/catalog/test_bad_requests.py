"""Whatever is asked of these routes: a clear refusal, never a fault of the server."""

from __future__ import annotations

import threading
from urllib.parse import quote

import pytest

from gnomon.core.errors import Conflict, NotFound
from tests.planes import owner, ref, shadow
from tests.planes import upload as upload_to

VALUES = [
    "", "x", "-1", "0", "9" * 40, "1e999", "NaN", "null", "true", "%", "%00", "' OR 1=1 --", "\x00",
    "\ud7ff", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30", "a" * 300,
    "../../x", "latest",
]  # fmt: skip
QUERIES = [
    *(f"model-versions?{name}=" for name in ("term", "uploaded_start", "uploaded_end", "limit")),
    *(
        f"pipeline-versions?{name}="
        for name in (
            "term", "deployed", "limit",
            "created_start", "created_end", "updated_start", "updated_end",
        )
    ),
    "pipelines/fraud/versions?limit=",
    "pipelines/fraud/versions/",
    "models/lstm/versions/",
    "models/",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_no_value_of_a_query_or_path_is_a_fault(api, deployed, query):
    for value in VALUES:
        answer = api.call("GET", f"/v1/workspaces/1/{query}{quote(value.encode(), safe='')}")
        assert answer.status in (200, 404, 422), (value, answer.body)
        if answer.status != 200:
            assert answer.json()["error_code"] in ("not_found", "invalid")


@pytest.mark.parametrize(
    ("method", "path", "bodies"),
    [
        ("PATCH", "", [None, {}, {"archived": "yes"}, {"archived": 1}, [], "x"]),
        ("POST", "/tags", [None, {}, {"tag": 5}, {"tag": None}, {"tag": "x" * 101}, {"tag": "\n"}]),
        ("PUT", "/users/jo", [None, {}, {"role": "king"}, {"role": None}, {"role": ["user"]}]),
        ("PUT", "/users/a%20b", [{"role": "user"}]),
        ("PUT", f"/users/{'x' * 64}", [{"role": "user"}]),
        ("PUT", "/tags/0/models/1", [None]),
        ("PUT", "/tags/x/models/1", [None]),
        ("PUT", f"/tags/1/models/{2**63}", [None]),
    ],
)
def test_no_body_is_a_fault(api, method, path, bodies):
    for body in bodies:
        answer = api.call(method, f"/v1/workspaces/1{path}", body)
        assert answer.status in (400, 422), (body, answer.body)
    assert api.call("GET", "/v1/workspaces/1/tags").json() == {"tags": []}
    assert len(api.call("GET", "/v1/workspaces/1/users").json()["users"]) == 1


def test_of_a_deletion_and_a_deploy_at_once_one_is_refused(api):
    plane, call = api.plane, owner(api.plane)
    for number in range(12):
        version = upload_to(plane, "lstm")
        name = f"p-{number}"
        plane.pipelines.build(call, 1, name)
        done: dict[str, bool] = {}
        start = threading.Barrier(2)

        def delete(version=version, done=done, start=start):
            start.wait(5)
            try:
                plane.catalog.delete_version(call, 1, "lstm", version.uuid)
                done["deleted"] = True
            except Conflict:
                done["deleted"] = False

        def deploy(version=version, name=name, done=done, start=start):
            start.wait(5)
            try:
                plane.deployments.request(call, 1, name, shadow(version))
                done["deployed"] = True
            except NotFound:
                done["deployed"] = False

        threads = [threading.Thread(target=work) for work in (delete, deploy)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert done["deleted"] != done["deployed"], ref(version)
