"""The command line in this process, against a small real server that speaks the contracts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon.cli import main
from tests.sdk.contract_server import ContractServer
from tests.sdk.wire import TOKEN


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run `gnomon ARGUMENTS`."""

    def command(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return command


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ContractServer]:
    """A server with the pipeline `cc-shadow` in the workspace `fraud`, which the commands find."""
    with ContractServer() as running:
        monkeypatch.setenv("GNOMON_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("GNOMON_URL", running.url)
        monkeypatch.setenv("GNOMON_TOKEN", TOKEN)
        client = gnomon.Client(interactive=False)
        client.set_current_workspace(client.create_workspace("fraud"))
        file = tmp_path / "model.onnx"
        file.write_text("2.0")
        models = [client.upload_model(name, file) for name in ("lstm", "xgb")]
        client.build_pipeline("cc-shadow").add_shadow_deploy(models[0], [models[1]]).deploy()
        yield running


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    file = tmp_path / "tensors.json"
    file.write_text('{"tensor": [[1.0, 2.0, 3.0]]}')
    return file
