"""Which requests are taken, and from whom."""

from __future__ import annotations

import pytest

from gnomon.front import routes
from tests.front.conftest import FrontServer
from tests.front.models import TOKEN, challenger, champion, route
from tests.front.wire import BODY, Client, head
from tests.waiting import until

INFER = "/v1/api/pipelines/infer/"


@pytest.mark.parametrize(
    "path", ["fraud-7/fraud", "fraud-7", "fraud-7/", "fraud-7/fraud/", "fraud%2D7/fraud"]
)
def test_a_deployment_is_found_with_and_without_the_pipelines_name(doubling: FrontServer, path):
    assert doubling.ask("POST", INFER + path, BODY).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "",
        "fraud",
        "fraud-",
        "fraud-8/fraud",
        "fraud-07/fraud",
        "fraud-7-7/fraud",
        "other-7/other",
        "fraud-7/other",
        "other-7/fraud",
        "fraud-7/fraud/x",
        "Fraud-7/fraud",
        "fraud-7%00",
        "../infer/fraud-7",
        "-7",
        "%ff%fe-7",
    ],
)
def test_another_address_is_404_not_deployed(doubling: FrontServer, path):
    answer = doubling.ask("POST", INFER + path, BODY)
    assert (answer.status, answer.json["error_code"]) == (404, "not_deployed")


def test_a_pipeline_with_dashes_in_its_name_is_split_at_the_last(server: FrontServer):
    model = champion()
    server.host(model)
    server.route(route(model, pipeline="a-1-b-2", deployment_id=12))
    server.wait_connected(model.host)
    assert server.ask("POST", INFER + "a-1-b-2-12/a-1-b-2", BODY).status == 200
    assert server.ask("POST", INFER + "a-1-b-2/a-1-b", BODY).status == 404


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer gno_wrong",
        "Basic Zm9vOmJhcg==",
        TOKEN,
        f"Bearer {TOKEN}x",
    ],
)
def test_without_the_right_token_it_is_401(doubling: FrontServer, authorization):
    for path in (INFER + "fraud-7/fraud", INFER + "unknown-9"):
        answer = doubling.ask("POST", path, BODY, authorization=authorization)
        assert (answer.status, answer.json["error_code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.json["error"]


def test_the_scheme_is_written_as_one_likes(doubling: FrontServer):
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = doubling.ask("POST", INFER + "fraud-7", BODY, authorization=f"{scheme} {TOKEN}")
        assert answer.status == 200


def test_open_inference_needs_no_token(doubling: FrontServer):
    doubling.route(route(champion()), open_inference=True)
    assert doubling.ask("POST", INFER + "fraud-7", BODY, authorization=None).status == 200
    doubling.route(route(champion()))
    assert doubling.ask("POST", INFER + "fraud-7", BODY, authorization=None).status == 401


def test_a_token_that_is_taken_back_works_no_longer(doubling: FrontServer, monkeypatch):
    assert doubling.infer({"tensor": [[1, 2]]}).status == 200
    monkeypatch.setattr("tests.front.conftest.TOKEN", "gno_another")
    doubling.route(route(champion()))
    answer = doubling.infer({"tensor": [[1, 2]]}, authorization=f"Bearer {TOKEN}")
    assert answer.status == 401


def test_before_the_first_routing_table_it_is_503(server: FrontServer):
    assert server.infer({"tensor": [[1, 2]]}).status == 503
    assert server.ask("GET", "/v1/health").status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/health", INFER + "fraud-7", "/nowhere"])
def test_host_and_origin_are_checked_for_every_method_and_route(
    doubling: FrontServer, method, path
):
    good = f"127.0.0.1:{doubling.port}"
    refused = [
        (421, {"host": "evil.example"}),
        (421, {"host": f"{good}.evil.example"}),
        (421, {"host": "127.0.0.1:1"}),
        (403, {"origin": "http://evil.example"}),
        (403, {"origin": "null"}),
        (403, {"origin": f"http://{good}.evil.example"}),
        (403, {"sec_fetch_site": "cross-site"}),
        (403, {"sec_fetch_site": "same-site"}),
    ]
    for status, headers in refused:
        answer = doubling.ask(method, path, BODY, **headers)
        assert answer.status == status, headers
    for headers in (
        {"host": f"localhost:{doubling.port}"},
        {"host": f"LOCALHOST:{doubling.port}"},
        {"origin": f"http://{good}"},
        {"sec_fetch_site": "same-origin"},
    ):
        assert doubling.ask(method, path, BODY, **headers).status not in (403, 421)


def test_a_request_without_or_with_two_host_headers_is_421(doubling: FrontServer):
    client = Client(doubling.raw())
    assert client.ask(b"GET /v1/health HTTP/1.1\r\n\r\n").status == 421
    good = f"Host: 127.0.0.1:{doubling.port}"
    twice = f"GET /v1/health HTTP/1.1\r\n{good}\r\n{good}\r\n\r\n".encode()
    assert client.ask(twice).status == 421
    assert client.ask(head(doubling.port) + BODY).status == 200


def test_refused_requests_are_not_counted_and_reach_no_model(doubling: FrontServer):
    doubling.ask("POST", INFER + "fraud-7", BODY, authorization=None)
    doubling.ask("POST", INFER + "fraud-7", BODY, host="evil.example")
    assert doubling.client.stats()["requests"] == 0
    assert doubling.hosts[champion().host].questions == []


def test_known_callers_are_remembered_within_bounds(doubling: FrontServer, monkeypatch):
    router = doubling.front._router
    for number in range(3):
        assert doubling.infer({"tensor": [[number, 2]]}).status == 200
    assert len(router._callers) == 1
    monkeypatch.setattr(routes, "_CALLERS_MAX", 2)
    for scheme in ("bearer", "BEARER", "bEARER", "BeAReR"):
        doubling.infer({"tensor": [[1, 2]]}, authorization=f"{scheme} {TOKEN}")
    assert len(router._callers) <= 2


@pytest.mark.parametrize(
    ("body", "headers", "status", "error_code"),
    [
        (b"", {}, 400, "malformed_request"),
        (b"not json", {}, 400, "malformed_request"),
        (b'{"tensor": [[NaN, 1]]}', {}, 400, "malformed_request"),
        (b'{"tensor": [[1, 2]]', {}, 400, "malformed_request"),
        (b"null", {}, 400, "malformed_request"),
        (b"[]", {}, 422, "input_mismatch"),
        (b'{"tensor": [["a", "b"]]}', {}, 422, "input_mismatch"),
        (b'{"tensor": [[1, 2], [3]]}', {}, 422, "input_mismatch"),
        (b'{"tensor": [[1, 2, 3]]}', {}, 422, "input_mismatch"),
        (b"x", {"content_type": "application/vnd.apache.arrow.file"}, 400, "malformed_request"),
        (b"\x1f\x8b", {"content_encoding": "gzip"}, 415, "malformed_request"),
        (BODY, {"x_gnomon_timeout_ms": "soon"}, 400, "malformed_request"),
        (BODY, {"x_gnomon_shadow_wait_ms": "60001"}, 400, "malformed_request"),
        (BODY, {"x_gnomon_request_id": "a b"}, 400, "malformed_request"),
    ],
)
def test_bad_bodies_and_headers_get_a_clear_error(
    doubling: FrontServer, body, headers, status, error_code
):
    answer = doubling.infer(body, **headers)
    assert (answer.status, answer.json["error_code"]) == (status, error_code)
    assert answer.headers["content-type"] == "application/json"
    assert 10 < len(answer.json["error"]) < 400
    assert doubling.infer(BODY).status == 200


def test_ready_means_that_every_champion_has_its_host(doubling: FrontServer):
    assert doubling.ask("GET", "/livez", authorization=None).status == 200
    ready = doubling.ask("GET", "/readyz", authorization=None)
    assert (ready.status, ready.json) == (200, {"status": "ready"})
    # A challenger's host does not matter
    doubling.route(route(champion(), challenger("rf")))
    assert doubling.ask("GET", "/readyz", authorization=None).status == 200
    # The champion's does
    doubling.hosts[champion().host].kill()
    until(lambda: not doubling.connected(champion().host))
    lacking = doubling.ask("GET", "/readyz", authorization=None)
    assert (lacking.status, lacking.headers["retry-after"]) == (503, "1")
    assert lacking.json == {"status": "not ready", "reason": "1 champion without a host"}
    assert doubling.ask("GET", "/livez", authorization=None).status == 200


def test_a_log_in_trouble_is_told_and_leaves_a_front_ready(doubling: FrontServer):
    doubling.log.trouble = "no space left on device"
    answer = doubling.ask("GET", "/readyz", authorization=None)
    assert answer.status == 200
    assert answer.json == {"status": "ready", "log": "degraded: no space left on device"}
    assert doubling.infer(BODY).headers["x-gnomon-log"] == "waiting"
    doubling.log.is_full = True
    assert doubling.infer(BODY).headers["x-gnomon-log"] == "dropped"
    doubling.log.trouble, doubling.log.is_full = None, False
    assert "x-gnomon-log" not in doubling.infer(BODY).headers


def test_before_the_first_routing_table_it_is_not_ready(server: FrontServer):
    answer = server.ask("GET", "/readyz", authorization=None)
    assert (answer.status, answer.json["reason"]) == (503, "waiting for the routing table")
