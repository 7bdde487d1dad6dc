"""A small real server that speaks gnomon's contracts, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import gnomon
from tests.sdk.contract_server import ContractServer
from tests.sdk.wire import TOKEN


@pytest.fixture
def server() -> Iterator[ContractServer]:
    with ContractServer() as running:
        yield running


@pytest.fixture
def client(server: ContractServer) -> gnomon.Client:
    return gnomon.Client(server.url, TOKEN, interactive=False)


class Shadow:
    """A deployed pipeline: the champion doubles the sum of a row, xgb halves it, rf negates it."""

    def __init__(self, server: ContractServer, client: gnomon.Client, folder: Path) -> None:
        self.server = server
        self.client = client
        self.folder = folder
        self.champion = self.model("ccfraud-lstm", 2.0)
        self.xgb = self.model("ccfraud-xgb", 0.5)
        self.rf = self.model("ccfraud-rf", -1.0)
        self.pipeline = client.build_pipeline("cc-shadow")
        self.pipeline.add_shadow_deploy(self.champion, [self.xgb, self.rf]).deploy()

    def model(self, name: str, factor: float) -> gnomon.Model:
        file = self.folder / f"{name}.onnx"
        file.write_text(str(factor))
        return self.client.upload_model(name, file)


@pytest.fixture
def shadow(server: ContractServer, client: gnomon.Client, tmp_path: Path) -> Shadow:
    return Shadow(server, client, tmp_path)
