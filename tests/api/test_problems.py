"""What goes wrong: the form of every error, and the headers of every answer."""

from __future__ import annotations

import json
import sqlite3
import time

import pytest

from gnomon.core import limits
from tests.api.conftest import ref, shadow

SECURITY = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def check(answer, status: int, code: str):
    """Check that an answer is a well-formed problem, and return it."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {
        "type",
        "title",
        "status",
        "detail",
        "error_code",
        "request_id",
        "details",
    }
    assert body["status"] == status
    assert body["error_code"] == code
    assert body["request_id"] == answer.headers["x-gnomon-request-id"]
    text = answer.body.decode()
    for secret in ("/tmp", "Traceback", ".py", "SELECT", "sqlite", "gno_", ".sock"):
        assert secret not in text, text
    for name, value in SECURITY.items():
        assert answer.headers[name] == value
    return body


def test_every_good_answer_has_the_headers_too(shared_api):
    for path in ("/v1/health", "/v1/workspaces"):
        answer = shared_api.call("GET", path)
        assert SECURITY.items() <= answer.headers.items()
        assert answer.headers["x-gnomon-request-id"]


def test_the_caller_may_name_the_request(shared_api):
    answer = shared_api.call("GET", "/v1/workspaces", headers={"X-Gnomon-Request-Id": "my.id_1"})
    assert answer.headers["x-gnomon-request-id"] == "my.id_1"
    answer = shared_api.call("GET", "/nothing", headers={"X-Gnomon-Request-Id": "my.id_1"})
    assert check(answer, 404, "not_found")["request_id"] == "my.id_1"


@pytest.mark.parametrize("request_id", ["a b", "x" * 65, "a\tb", "<b>"])
def test_a_bad_request_id_is_refused_and_not_echoed(shared_api, request_id):
    answer = shared_api.call("GET", "/v1/workspaces", headers={"X-Gnomon-Request-Id": request_id})
    check(answer, 400, "malformed_request")
    assert request_id not in answer.body.decode()


def test_an_unknown_path_is_a_problem(shared_api):
    for path in ("/", "/v1", "/v1/", "/v1/workspaces/", "/v2/workspaces", "/v1/garbage/1"):
        check(shared_api.call("GET", path), 404, "not_found")


def test_a_wrong_method_names_the_right_ones(shared_api):
    path = "/v1/workspaces/1/pipelines/p/deployment"
    answer = shared_api.call("POST", path, {})
    check(answer, 405, "invalid")
    assert answer.headers["allow"] == "DELETE, GET, PUT"
    for method in ("OPTIONS", "HEAD", "TRACE"):
        answer = shared_api.call(method, path)
        assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, PUT")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'name': 'x'}",
        b'{"name": NaN}',
        b'{"name": 1e999999}',
        b"\xef\xbb\xbf{}",
        b'{"name": "x"} trailing',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b"\0",
    ],
)
def test_what_is_not_json_is_malformed(shared_api, body):
    answer = shared_api.call(
        "POST", "/v1/workspaces", raw=body, headers={"Content-Type": "application/json"}
    )
    check(answer, 400, "malformed_request")


@pytest.mark.parametrize(
    "body",
    [{}, {"name": 1}, {"name": None}, {"name": ["x"]}, [], "text", 1, None, {"Name": "x"}],
)
def test_json_of_another_form_is_invalid(shared_api, body):
    answer = shared_api.call(
        "POST",
        "/v1/workspaces",
        raw=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    check(answer, 422, "invalid")


def test_no_body_or_one_of_another_type_is_invalid(shared_api):
    check(shared_api.call("POST", "/v1/workspaces"), 422, "invalid")
    answer = shared_api.call(
        "POST", "/v1/workspaces", raw=b'{"name": "x"}', headers={"Content-Type": "text/plain"}
    )
    check(answer, 422, "invalid")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(shared_api, chunked):
    body = b'{"name": "' + b"x" * limits.CONTROL_BODY_BYTES_MAX + b'"}'
    raw = iter([body[:1000], body[1000:]]) if chunked else body
    headers = {"Content-Type": "application/json"}
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    answer = shared_api.call("POST", "/v1/workspaces", raw=raw, headers=headers, chunked=chunked)
    check(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/workspaces/abc/models",
        "/v1/workspaces/0/models",
        "/v1/workspaces/-1/models",
        "/v1/workspaces/99999999999999999999/models",
        "/v1/workspaces/1.5/models",
        "/v1/workspaces/1/pipelines?limit=0",
        "/v1/workspaces/1/pipelines?limit=1001",
        "/v1/workspaces/1/pipelines?limit=abc",
        "/v1/workspaces/1/pipelines/p/deployment?wait_s=21",
        "/v1/workspaces/1/pipelines/p/deployment?wait_s=nan",
        "/v1/workspaces/1/pipelines/p/deployment?wait_s=-1",
        "/v1/workspaces/1/pipelines/p/deployment?revision=x",
        "/v1/workspaces/1/pipelines/p/logs?limit=0",
        "/v1/workspaces/1/pipelines/p/logs?limit=-1",
        "/v1/workspaces/1/pipelines/p/logs?limit=1001",
        "/v1/workspaces/1/pipelines/p/logs?limit=1000000000",
    ],
)
def test_parameters_out_of_range_are_invalid(shared_api, path):
    check(shared_api.call("GET", path), 422, "invalid")


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "..%2fx", "%00", "a%0ab", "%F0%9F%98%80", "x" * 5000, "a;b", "'or'1"]
)
def test_hostile_names_in_paths_are_not_found_or_invalid(shared_api, name):
    for method, path in (
        ("GET", f"/v1/workspaces/1/models/{name}/versions/latest"),
        ("GET", f"/v1/workspaces/1/models/m/versions/{name}"),
        ("POST", f"/v1/workspaces/1/models/{name}/versions"),
        ("GET", f"/v1/workspaces/1/pipelines/{name}"),
        ("GET", f"/v1/workspaces/1/pipelines/{name}/deployment"),
        ("DELETE", f"/v1/workspaces/1/pipelines/{name}/deployment"),
        ("GET", f"/v1/workspaces/1/pipelines/{name}/logs"),
        ("GET", f"/v1/workspaces/1/pipelines?name={name}"),
    ):
        answer = shared_api.call(method, path, raw=b"x" if method == "POST" else None)
        assert answer.status in (404, 405, 422, 200 if "?name" in path else 404), (
            path,
            answer.body,
        )
        assert "Traceback" not in answer.body.decode()


@pytest.mark.parametrize("name", ["a_b", "-a", "", "a" * 64, "ä", "a\n", "<b>"])
def test_bad_names_are_invalid_names(shared_api, name):
    check(shared_api.call("POST", "/v1/workspaces", {"name": name}), 422, "invalid_name")
    check(
        shared_api.call("POST", "/v1/workspaces/1/pipelines", {"name": name}), 422, "invalid_name"
    )


def test_a_name_that_is_taken_is_a_conflict(api):
    assert api.call("POST", "/v1/workspaces", {"name": "twice"}).status == 201
    check(api.call("POST", "/v1/workspaces", {"name": "Twice"}), 409, "conflict")


def definitions(version):
    good = ref(version)
    shadowed = shadow(version, version)["steps"][0]["ShadowDeploy"]
    return {
        "no steps": ({"steps": []}, 422, "invalid"),
        "no step list": ({}, 422, "invalid"),
        "two steps": ({"steps": shadow(version)["steps"] * 2}, 422, "invalid"),
        "an unknown step": ({"steps": [{"Magic": {}}]}, 422, "invalid"),
        "the same version twice": (shadow(version, version), 422, "invalid"),
        "an unknown version": (
            {"steps": [{"ModelInference": {"model": {**good, "version_id": 999}}}]},
            404,
            "not_found",
        ),
        "an id that is text": (
            {"steps": [{"ModelInference": {"model": {**good, "version_id": "1"}}}]},
            422,
            "invalid",
        ),
        "an id beyond all ids": (
            {"steps": [{"ModelInference": {"model": {**good, "version_id": 2**63}}}]},
            422,
            "invalid",
        ),
        "an unknown mode": (
            {"steps": [{"ShadowDeploy": {**shadowed, "mode": "serial"}}]},
            422,
            "invalid",
        ),
        "a wait without end": (
            {"steps": [{"ShadowDeploy": {**shadowed, "shadow_wait_ms": 10**9}}]},
            422,
            "invalid",
        ),
        "nested too deep": (json.loads("[" * 500 + "]" * 500), 422, "invalid"),
    }


def test_definitions_that_cannot_be_deployed(api):
    version = api.upload("m")
    api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    for name, (definition, status, code) in definitions(version).items():
        answer = api.call(
            "PUT", "/v1/workspaces/1/pipelines/p/deployment", {"definition": definition}
        )
        assert check(answer, status, code)["detail"], name
    assert api.call("GET", "/v1/workspaces/1/pipelines/p").json()["deployment"] is None


def test_a_locked_database_is_busy_after_five_seconds_and_a_read_goes_on(api, tmp_path):
    other = sqlite3.connect(tmp_path / "home" / "metadata.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    answer = api.call("POST", "/v1/workspaces", {"name": "late"})
    assert check(answer, 503, "busy")
    assert 4.0 < time.monotonic() - began < 8.0
    assert answer.headers["retry-after"] == "1"
    assert api.call("GET", "/v1/workspaces").status == 200
    other.execute("ROLLBACK")
    other.close()
    assert api.call("POST", "/v1/workspaces", {"name": "late"}).status == 201


def test_a_fault_of_our_own_is_an_internal_error_with_its_details_in_the_log(api, caplog):
    # Given a log reader with a bug
    api.call("POST", "/v1/workspaces/1/pipelines", {"name": "p"})
    api.log.bug = RuntimeError("secret detail in /tmp/path.py")

    # When it is called, then the caller learns nothing of it and the log everything
    answer = api.call("GET", "/v1/workspaces/1/pipelines/p/logs")
    body = check(answer, 500, "internal")
    [record] = [r for r in caplog.records if r.getMessage().startswith("request.failed")]
    assert body["request_id"] in record.getMessage()
    assert "secret detail" in record.exc_text
    assert api.call("GET", "/v1/workspaces").status == 200


def test_a_supervisor_that_is_away_is_unreachable_where_it_is_needed(api):
    api.backend.away = True
    check(api.call("GET", "/v1/server"), 503, "server_unreachable")
    answer = api.call("POST", "/v1/workspaces/1/models/m/versions", raw=b"file")
    check(answer, 503, "server_unreachable")
    assert api.call("GET", "/v1/workspaces").status == 200
