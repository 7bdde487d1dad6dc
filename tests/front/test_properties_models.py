"""Real models: an answer from a batch is, bit for bit, the answer that the row gets alone."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gnomon
from gnomon import samples
from tests.bare_server import serving
from tests.front.wire import Client
from tests.front.wire import head as request_head

TUTORIAL = Path(__file__).parents[3] / "shared" / "tutorial" / "models"
ROWS = 48
WIDTH = 29


@dataclass(frozen=True)
class Trio:
    """A pipeline with a champion and two challengers, and what each makes of single rows.

    Attributes:
        alone: Label to the outputs of the rows of the pool, [ROWS, 1], each run by itself.
    """

    url: str
    token: str
    alone: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def client() -> Iterator[gnomon.Client]:
    with tempfile.TemporaryDirectory() as home, serving(Path(home) / "home") as client:
        yield client


@pytest.fixture(scope="module", params=["tutorial", "samples"])
def trio(request, client) -> Trio:
    if request.param == "samples":
        files = {samples.CHAMPION: samples.champion_path(), **samples.challenger_paths()}
    elif TUTORIAL.is_dir():
        files = {
            "ccfraud-lstm": TUTORIAL / "keras_ccfraud.onnx",
            "ccfraud-xgb": TUTORIAL / "xgboost_ccfraud.onnx",
            "ccfraud-rf": TUTORIAL / "modelA.onnx",
        }
    else:
        pytest.skip(f"the tutorial's models are not at {TUTORIAL}")
    models = [client.upload_model(name, path) for name, path in files.items()]
    pipeline = client.build_pipeline(request.param)
    pipeline.add_shadow_deploy(models[0].configure(), [each.configure() for each in models[1:]])
    pipeline.deploy()
    alone = {name: run_alone(path) for name, path in files.items()}
    token = client.auth.auth_header()["Authorization"].removeprefix("Bearer ")
    return Trio(pipeline.url(), token, alone)


def pool() -> np.ndarray:
    """Return rows of all magnitudes, float32 [ROWS, WIDTH]."""
    chance = np.random.default_rng(20221019)
    scales = np.repeat([1e-30, 0.1, 1.0, 10.0, 1e6, 1e30], ROWS // 6)[:, None]
    rows = (chance.standard_normal((ROWS, WIDTH)) * scales).astype(np.float32)
    rows[0], rows[1], rows[2, ::2] = 0.0, -0.0, 0.0
    return rows


POOL = pool()


def run_alone(path: Path) -> np.ndarray:
    """Return what onnxruntime itself makes of each row by itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in POOL])


def connect(trio: Trio) -> Client:
    address = urlsplit(trio.url)
    client = socket.create_connection((address.hostname, address.port))
    client.settimeout(20)
    return Client(client)


def ask_for(trio: Trio, rows: list[int]) -> bytes:
    """Return a request for an inference of rows of the pool, that waits for the challengers."""
    address = urlsplit(trio.url)
    body = json.dumps({"tensor": POOL[rows].tolist()}).encode()
    return (
        request_head(
            address.port,
            "X-Gnomon-Shadow-Wait-Ms: 20000",
            path=address.path,
            length=len(body),
            token=trio.token,
        )
        + body
    )


def outputs(reply: Any) -> dict[str, np.ndarray]:
    """Return each model's output, by its label."""
    assert reply.status == 200, reply.body
    [answer] = reply.json
    tensors = {answer["model_name"]: answer["outputs"][0]}
    tensors.update({label: each[0] for label, each in answer["shadow_data"].items()})
    return {label: tensor_of(tensor["Float"]) for label, tensor in tensors.items()}


def tensor_of(tensor: dict[str, Any]) -> np.ndarray:
    values = tensor["data"]
    for index, word in tensor.get("non_finite", {}).items():
        values[int(index)] = float(word)
    return np.array(values, np.float32).reshape(tensor["dim"])


def assert_alone(trio: Trio, got: dict[str, np.ndarray], rows: list[int]) -> None:
    assert got.keys() == trio.alone.keys()
    for label, array in got.items():
        wanted = trio.alone[label][rows]
        nan = np.isnan(wanted)
        assert np.array_equal(np.isnan(array), nan)
        assert array[~nan].tobytes() == wanted[~nan].tobytes(), label


def test_single_rows_are_answered_as_onnxruntime_does(trio):
    client = connect(trio)
    with client.socket:
        for row in range(ROWS):
            assert_alone(trio, outputs(client.ask(ask_for(trio, [row]))), [row])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(  # a connection
        st.lists(  # its requests
            st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=9), min_size=1, max_size=5
        ),
        min_size=1,
        max_size=6,
    )
)
def test_rows_in_any_company_are_answered_as_alone(trio, conversation):
    with ExitStack() as stack:
        clients = [connect(trio) for _ in conversation]
        for client in clients:
            stack.enter_context(client.socket)
        for client, requests in zip(clients, conversation, strict=True):
            client.send(b"".join(ask_for(trio, rows) for rows in requests))
        for client, requests in zip(clients, conversation, strict=True):
            for rows in requests:
                assert_alone(trio, outputs(client.read()), rows)


@pytest.mark.parametrize("count", [2, 3, 7, 16, 17, 100, 1_000])
def test_rows_of_one_large_request_are_answered_as_alone(trio, count):
    rows = [number % ROWS for number in range(count)]
    client = connect(trio)
    with client.socket:
        assert_alone(trio, outputs(client.ask(ask_for(trio, rows))), rows)
