"""Who is let in: tokens, rights, Host and Origin, on every route and method."""

from __future__ import annotations

import socket

import pytest
from fastapi import APIRouter

from gnomon.api.app import create_app, guarded_routes
from gnomon.api.guards import PUBLIC, GuardedRoute, guarded_router
from gnomon.core.access import Right
from tests.api.conftest import identity, shadow

# What each route answers to the owner's token, in a workspace with the model `m` and the running
# pipeline `p`. A route without a row here fails the test below.
ROUTES = {
    ("GET", "/v1/health"): 200,
    ("GET", "/v1/server"): 200,
    ("GET", "/v1/openapi.json"): 200,
    ("GET", "/v1/stats"): 200,
    ("GET", "/v1/metrics"): 200,
    ("GET", "/v1/workspaces"): 200,
    ("POST", "/v1/workspaces"): 201,
    ("GET", "/v1/workspaces/default"): 200,
    ("GET", "/v1/garbage"): 200,
    ("DELETE", "/v1/garbage"): 200,
    ("GET", "/v1/users"): 200,
    ("GET", "/v1/workspaces/{workspace}"): 200,
    ("PATCH", "/v1/workspaces/{workspace}"): 200,
    ("DELETE", "/v1/workspaces/{workspace}"): 409,  # it is not archived
    ("GET", "/v1/workspaces/{workspace}/users"): 200,
    ("PUT", "/v1/workspaces/{workspace}/users/{user}"): 200,
    ("DELETE", "/v1/workspaces/{workspace}/users/{user}"): 200,
    ("GET", "/v1/workspaces/{workspace}/tags"): 200,
    ("POST", "/v1/workspaces/{workspace}/tags"): 201,
    ("PUT", "/v1/workspaces/{workspace}/tags/{tag}/models/{tagged}"): 200,
    ("PUT", "/v1/workspaces/{workspace}/tags/{tag}/pipelines/{tagged}"): 200,
    ("DELETE", "/v1/workspaces/{workspace}/tags/{tag}/models/{tagged}"): 200,
    ("DELETE", "/v1/workspaces/{workspace}/tags/{tag}/pipelines/{tagged}"): 200,
    ("DELETE", "/v1/workspaces/{workspace}/tags/{tag}"): 204,
    ("GET", "/v1/workspaces/{workspace}/model-versions"): 200,
    ("GET", "/v1/workspaces/{workspace}/models"): 200,
    ("GET", "/v1/workspaces/{workspace}/models/{name}"): 200,
    ("POST", "/v1/workspaces/{workspace}/models/{name}/versions"): 201,
    ("GET", "/v1/workspaces/{workspace}/models/{name}/versions/{version}"): 200,
    ("DELETE", "/v1/workspaces/{workspace}/models/{name}/versions/{version}"): 409,  # it runs
    ("PATCH", "/v1/workspaces/{workspace}/model-versions/{version}"): 200,
    ("GET", "/v1/workspaces/{workspace}/pipeline-versions"): 200,
    ("GET", "/v1/workspaces/{workspace}/pipelines"): 200,
    ("POST", "/v1/workspaces/{workspace}/pipelines"): 201,
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}"): 200,
    ("DELETE", "/v1/workspaces/{workspace}/pipelines/{name}"): 409,  # it is deployed
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}/versions"): 200,
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}/versions/{version}"): 200,
    ("PUT", "/v1/workspaces/{workspace}/pipelines/{name}/versions/{version}/deployment"): 202,
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}/deployment"): 200,
    ("PUT", "/v1/workspaces/{workspace}/pipelines/{name}/deployment"): 202,
    ("DELETE", "/v1/workspaces/{workspace}/pipelines/{name}/deployment"): 202,
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}/deployment/stats"): 200,
    ("PATCH", "/v1/workspaces/{workspace}/pipelines/{name}/deployment/shadow"): 200,
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}/deployment/shadow/changes"): 200,
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}/logs"): 200,
    ("GET", "/v1/workspaces/{workspace}/pipelines/{name}/logs/tables"): 404,  # none yet
}
TOKENS = {
    "none": None,
    "garbage": "Bearer gno_garbage",
    "empty": "Bearer ",
    "basic": "Basic Z25vOng=",
    "no scheme": "gno_of-the-owner",
    "the hash": "Bearer 4b6f0a3c",
}
PUBLIC_ROUTES = {("GET", "/v1/health")}


def test_every_route_has_a_row_here():
    routes = {(method, r.path) for r in guarded_routes() for method in r.methods}
    assert routes == set(ROUTES)


def test_only_health_is_public():
    public = {(m, r.path) for r in guarded_routes() for m in r.methods if r.right is PUBLIC}
    assert public == PUBLIC_ROUTES


def test_what_changes_something_needs_the_right_to_write():
    for route in guarded_routes():
        expected = {Right.READ, PUBLIC} if route.methods == {"GET"} else {Right.WRITE}
        assert route.right in expected, route.path


def test_a_route_without_a_declared_right_cannot_be_made():
    router = guarded_router()
    with pytest.raises(TypeError, match="declares no right"):

        @router.get("/x")
        def handler() -> None: ...


def test_every_route_of_the_app_is_guarded(shared_api, tmp_path):
    app = create_app(
        shared_api.plane,
        identity=identity(shared_api.port, tmp_path),
        read_logs=shared_api.log,
        log_directory=tmp_path,
        allowed_hosts=frozenset(),
    )
    for included in app.router.routes:
        router = getattr(included, "original_router", None)
        assert isinstance(router, APIRouter), included
        assert all(isinstance(route, GuardedRoute) for route in router.routes)


def arranged(api):
    version = api.upload("m")
    api.deploy("p", shadow(version))
    api.settled("p")
    tag = api.call("POST", "/v1/workspaces/1/tags", {"tag": "fraud"}).json()
    bodies = {
        ("PATCH", "/v1/workspaces/{workspace}"): {"archived": False},
        ("PUT", "/v1/workspaces/{workspace}/users/{user}"): {"role": "user"},
        ("POST", "/v1/workspaces/{workspace}/tags"): {"tag": "other"},
        ("POST", "/v1/workspaces"): {"name": "other"},
        ("POST", "/v1/workspaces/{workspace}/pipelines"): {"name": "other"},
        ("PATCH", "/v1/workspaces/{workspace}/model-versions/{version}"): {"tensor_fields": None},
        ("PUT", "/v1/workspaces/{workspace}/pipelines/{name}/deployment"): {
            "definition": shadow(version)
        },
        ("PATCH", "/v1/workspaces/{workspace}/pipelines/{name}/deployment/shadow"): {
            "mode": "joined"
        },
    }
    uploads = ("POST", "/v1/workspaces/{workspace}/models/{name}/versions")

    def send(route, workspace=1, **options):
        method, path = route
        is_model = "/models/" in path
        path = path.format(
            workspace=workspace,
            name="m" if is_model else "p",
            version=2 if "/pipelines/" in path else version["uuid"],
            tag=tag["id"],
            tagged=version["id"] if is_model else 1,
            user="jo@example.org",
        )
        raw = b"a file" if route == uploads else None
        return api.call(method, path, bodies.get(route), raw=raw, **options)

    return send


def test_every_route_with_and_without_a_token(api):
    send = arranged(api)
    for route in sorted(ROUTES, key=lambda route: route[0] == "DELETE"):
        for name, token in TOKENS.items():
            answer = send(route, headers={"Authorization": token})
            expected = 200 if route in PUBLIC_ROUTES else 401
            assert answer.status == expected, (route, name, answer.body)
            if expected == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["error_code"] == "unauthenticated"
        answer = send(route)
        assert answer.status == ROUTES[route], (route, answer.body)


def test_every_route_of_another_workspace_looks_as_if_it_were_not_there(api):
    send = arranged(api)
    foreign = api.call("POST", "/v1/workspaces", {"name": "foreign"}).json()["id"]
    for route in ROUTES:
        if "{workspace}" in route[1]:
            nowhere = send(route, workspace=999)
            assert nowhere.status == 404, (route, nowhere.body)
            about_an_object = any(part in route[1] for part in ("{name}", "{version}", "{tag}"))
            if about_an_object and route[0] != "POST":
                assert send(route, workspace=foreign).status == 404, route


def test_without_a_token_the_body_is_not_even_read(shared_api):
    for body in (b"{broken", b"x" * 100):
        answer = shared_api.call(
            "POST", "/v1/workspaces", raw=body, headers={"Authorization": None}
        )
        assert answer.status == 401


def raw_request(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        return connection.makefile("rb").readline().decode()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/health", "/v1/workspaces", "/nothing"])
def test_a_foreign_host_or_origin_is_refused_on_every_method_and_path(shared_api, method, path):
    for host in ("evil.example", "127.0.0.1:1", "127.0.0.1.evil.example", "192.168.0.1"):
        assert shared_api.call(method, path, headers={"Host": host}).status == 421, host
    for header in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert shared_api.call(method, path, headers=header).status == 403, header


def test_no_host_or_two_are_refused(shared_api):
    token = "Authorization: Bearer gno_of-the-owner"
    none = f"GET /v1/workspaces HTTP/1.0\n{token}\n\n"
    two = (
        f"GET /v1/workspaces HTTP/1.1\nHost: 127.0.0.1:{shared_api.port}\nHost: evil.example\n"
        f"{token}\nConnection: close\n\n"
    )
    assert " 421 " in raw_request(shared_api.port, none)
    assert " 421 " in raw_request(shared_api.port, two) or " 400 " in raw_request(
        shared_api.port, two
    )


def test_localhost_and_its_own_origin_are_fine(shared_api):
    host = f"localhost:{shared_api.port}"
    answer = shared_api.call(
        "GET", "/v1/workspaces", headers={"Host": host, "Origin": f"http://{host}"}
    )
    assert answer.status == 200


def test_a_websocket_is_refused(shared_api):
    head = (
        f"GET /v1/server HTTP/1.1\nHost: 127.0.0.1:{shared_api.port}\nUpgrade: websocket\n"
        "Connection: Upgrade\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
        "Sec-WebSocket-Version: 13\n\n"
    )
    status = int(raw_request(shared_api.port, head).split()[1])
    assert 400 <= status < 500


def test_there_are_no_public_docs(shared_api):
    for path in ("/docs", "/redoc", "/openapi.json", "/v1/docs", "/"):
        assert shared_api.call("GET", path).status == 404
