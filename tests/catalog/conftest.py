"""The SDK and the command line against the real API and a real database; only hosts are fake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon.cli import main
from tests.api.conftest import Api, serving
from tests.planes import TOKEN


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def client(api: Api) -> gnomon.Client:
    return gnomon.Client(f"http://127.0.0.1:{api.port}", TOKEN, interactive=False)


@pytest.fixture
def upload(client: gnomon.Client, tmp_path: Path):
    """Upload a model's next version, into the client's workspace; each file is another one."""
    count = 0

    def model(name: str, content: str | None = None) -> gnomon.Model:
        nonlocal count
        count += 1
        file = tmp_path / f"{name}.onnx"
        file.write_text(f"file {count} of {name}" if content is None else content)
        return client.upload_model(name, file)

    return model


@pytest.fixture
def deployed(client: gnomon.Client, upload):
    """The pipeline `fraud`: built empty (1), deployed with a challenger (2), then without (3)."""
    champion, challenger = upload("lstm"), upload("xgb")
    pipeline = client.build_pipeline("fraud")
    pipeline.add_shadow_deploy(champion, [challenger], mode="joined", shadow_wait_ms=7).deploy()
    return pipeline.clear().add_model_step(champion).deploy()


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(client: gnomon.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `gnomon ARGUMENTS` against the server."""
    monkeypatch.setenv("GNOMON_URL", client.api_endpoint)
    monkeypatch.setenv("GNOMON_TOKEN", TOKEN)

    def command(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return command
