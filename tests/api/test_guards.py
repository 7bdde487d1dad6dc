from __future__ import annotations

import asyncio

import pytest

from gnomon.api.guards import bounded
from gnomon.api.problems import Refused
from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, MalformedRequest


def piece(body: bytes, more: bool = True) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


def receive_all(messages, bytes_max: int) -> bytes:
    waiting = iter(messages)

    async def receive():
        for message in waiting:
            return message
        return await asyncio.Event().wait()

    async def read() -> bytes:
        body, bounded_receive = b"", bounded(receive, bytes_max)
        while True:
            message = await bounded_receive()
            body += message["body"]
            if not message["more_body"]:
                return body

    return asyncio.run(read())


def test_a_body_within_its_bound_comes_through():
    assert receive_all([piece(b"12"), piece(b"345", more=False)], 5) == b"12345"


def test_a_body_that_grows_over_its_bound_is_refused_on_the_way():
    with pytest.raises(Refused) as caught:
        receive_all([piece(b"12"), piece(b"3456")], 5)
    assert isinstance(caught.value.error, BodyTooLarge)


def test_a_body_that_stops_coming_is_given_up(monkeypatch):
    monkeypatch.setattr(limits, "BODY_STALL_TIMEOUT_S", 0.05)
    with pytest.raises(Refused) as caught:
        receive_all([piece(b"12")], 5)
    assert isinstance(caught.value.error, MalformedRequest)
