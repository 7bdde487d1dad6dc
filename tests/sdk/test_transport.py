"""The wire: the token, errors of both kinds, and servers that are not there."""

from __future__ import annotations

import socket

import pytest

import gnomon
from gnomon.core import errors
from gnomon.core.errors import Invalid, NotFound, ServerError, ServerUnreachable
from gnomon.sdk.transport import Transport, path
from tests.sdk.wire import TOKEN, Answer, problem, refusal


def test_the_token_goes_with_every_request_and_is_never_shown(server, client, shadow):
    shadow.pipeline.infer({"tensor": [[1.0, 2.0, 3.0]]})
    shadow.pipeline.logs()

    sent = {seen.headers.get("Authorization") for seen in server.requests}
    assert sent == {f"Bearer {TOKEN}"}
    for thing in (client, client._transport, shadow.pipeline, client.get_current_workspace()):
        assert TOKEN not in repr(thing)
    assert client.auth.auth_header() == {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("error", list(errors.all_errors()), ids=lambda error: error.code)
@pytest.mark.parametrize("kind", [problem, refusal])
def test_an_error_crosses_http_as_the_same_class(server, client, error, kind):
    server.answers["GET", "/v1/workspaces"] = lambda _: kind(418, error.code, "What to do.")

    with pytest.raises(error) as caught:
        client.list_workspaces()

    assert type(caught.value) is error
    assert str(caught.value) == "What to do."
    assert caught.value.request_id == "request-1"


def test_details_of_an_error_cross_too(server, client):
    told = {"reason": "not_onnx", "message": "even this one", "code": 7}
    server.answers["GET", "/v1/workspaces"] = lambda _: Answer(
        422, {"detail": "No.", "error_code": "model_rejected", "details": told}
    )

    with pytest.raises(errors.ModelRejected) as caught:
        client.list_workspaces()

    assert caught.value.details == told


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, b"<html>not found</html>"),
        Answer(500, {"unexpected": "json"}),
        Answer(200, b"<html>hello</html>"),
        Answer(302, b"", {"Location": "http://127.0.0.1:1/elsewhere"}),
    ],
    ids=lambda answer: str(answer.status),
)
def test_what_is_not_gnomon_is_said_not_to_be(server, client, answer):
    server.answers["GET", "/v1/workspaces"] = lambda _: answer

    with pytest.raises(ServerError, match=r"not as a gnomon server.*right address"):
        client.list_workspaces()


def test_a_server_that_is_not_there_is_named_with_what_to_do():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

        with pytest.raises(ServerUnreachable, match=r"No gnomon server answers at .*gnomon serve"):
            gnomon.Client(url, "token")


def test_a_read_whose_connection_broke_is_sent_again_and_a_write_is_not(server, client):
    calls = []

    def hang_up_once(seen):
        calls.append(seen.method)
        return Answer(0) if len(calls) == 1 else Answer(200, {"workspaces": []})

    server.answers["GET", "/v1/workspaces"] = hang_up_once
    assert client.list_workspaces() == []
    assert calls == ["GET", "GET"]

    calls.clear()
    server.answers["POST", "/v1/workspaces"] = hang_up_once
    with pytest.raises(ServerUnreachable, match="closed the connection before it answered"):
        client.create_workspace("fine")
    assert calls == ["POST"]


def test_an_answer_that_does_not_come_is_an_error_with_the_time(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = Transport(
            f"http://127.0.0.1:{silent.getsockname()[1]}", "token", timeout_s=0.05
        )
        with pytest.raises(ServerUnreachable, match=r"did not answer within 0\.05 s"):
            transport.call("GET", "/v1/health")
        with pytest.raises(errors.InferenceTimeout, match=r"did not return within 0\.05 s"):
            transport.send("POST", transport.url, late=errors.InferenceTimeout)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://server", "server"])
def test_an_address_must_be_http(url):
    with pytest.raises(Invalid, match="http://"):
        Transport(url, None)


def test_a_route_is_made_of_quoted_parts():
    assert path("workspaces", 3, "models", "a/b c") == "/v1/workspaces/3/models/a%2Fb%20c"
    for name in ("", ".", ".."):
        with pytest.raises(NotFound):
            path("models", name)
