"""Versions, deletion and collection on a real server, with models that answer differently."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnomon.cli import main
from gnomon.core.errors import Conflict, NotFound
from tests import hostile_models
from tests.waiting import until


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("GNOMON_HOME", str(server.home))
    return server.client()


def upload(client, folder: Path, factor: float, name: str = "times"):
    file = folder / f"{name}.onnx"
    file.write_bytes(hostile_models.doubling(factor=factor))
    return client.upload_model(name, file)


def ask(pipeline) -> tuple[float, str]:
    """Return what 1 becomes, and the pipeline version that the log says it was."""
    [result] = pipeline.infer({"x": [[1.0, 1.0]]})
    entry = until(lambda: pipeline.logs(request_id=result.request_id))[0]
    return float(result.data()[0][0][0]), entry.raw["pipeline_version"]


def test_an_older_version_answers_again_at_the_same_url(client, tmp_path):
    two, three = upload(client, tmp_path, 2.0), upload(client, tmp_path, 3.0)
    pipeline = client.build_pipeline("factors").add_model_step(two).deploy()
    url, first = pipeline.url(), pipeline.versions()[0]
    assert ask(pipeline) == (2.0, first.name())
    pipeline.replace_with_model_step(0, three).deploy()
    assert ask(pipeline) == (3.0, pipeline.versions()[0].name())

    restored = client.get_pipeline("factors").version(first.number()).deploy()

    newest = restored.versions()[0]
    assert newest.restores() == first.name()
    assert ask(restored) == (2.0, newest.name())
    assert restored.url() == url
    assert client.get_pipeline("factors").steps() == client.get_pipeline("factors", 2).steps()


def test_what_was_deleted_is_collected_and_the_rest_goes_on(client, server, tmp_path, capsys):
    # Given two pipelines with requests in their tables
    old, new = upload(client, tmp_path, 2.0, "old"), upload(client, tmp_path, 3.0, "new")
    goes = client.build_pipeline("goes").add_model_step(old).deploy()
    stays = client.build_pipeline("stays").add_model_step(new).deploy()
    assert (ask(goes)[0], ask(stays)[0]) == (2.0, 3.0)
    tables = [Path(pipeline.log_table()) for pipeline in (goes, stays)]
    assert all(table.is_dir() for table in tables)

    # When one is deleted with its model, and what is left of it is collected
    with pytest.raises(Conflict):
        old.delete()
    goes.undeploy().delete()
    old.delete()
    assert main(["gc", "--dry-run"]) == 0
    assert old.sha() in capsys.readouterr().out
    assert all(table.is_dir() for table in tables)
    assert main(["gc", "--yes"]) == 0
    said = capsys.readouterr().out
    assert old.sha() in said
    assert "1 model file and the logs of 1 pipeline\nRemoved." in said

    # Then its file and its log are gone, and those of the other are not
    assert [table.is_dir() for table in tables] == [False, True]
    shas = {path.parent.name for path in (server.home / "artifacts").glob("*/model.onnx")}
    assert shas == {new.sha()}
    with pytest.raises(NotFound):
        goes.logs()
    assert ask(stays)[0] == 3.0

    # And requests are still moved to tables, of old pipelines and of new ones of an old name
    again = client.build_pipeline("goes").add_model_step(new).deploy()
    assert ask(again)[0] == 3.0
    assert again.id() != goes.id()
    assert len(again.logs()) == 1
    assert Path(again.log_table()).is_dir()
    assert main(["gc", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("There is nothing to remove.\n")
