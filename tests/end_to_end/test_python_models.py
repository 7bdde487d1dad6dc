"""Python models on a real server: as champion and as challenger; and on one that runs none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gnomon
from gnomon import samples
from gnomon.core.errors import InferenceTimeout, Invalid, ModelFailed, ModelRejected
from gnomon.server import ServeOptions, serve
from gnomon.settings import Home
from tests.end_to_end.conftest import Server, running
from tests.waiting import until

TAKES = pa.schema([pa.field("score", pa.list_(pa.float32(), 1)), pa.field("country", pa.string())])
GIVES = pa.schema([pa.field("risk", pa.float32()), pa.field("verdict", pa.string())])

CALIBRATE = """
import numpy as np

RUNS = []

def process(inputs):
    score = inputs["score"][:, 0]
    risk = np.where(inputs["country"] == "fr", score / 2, score).astype(np.float32)
    if (score > 100).any():
        raise LookupError("scores above 100 are unheard of")
    while (score < -100).any():
        pass
    return {"risk": risk, "verdict": np.where(risk > LIMIT, "no", "yes")}

LIMIT = 0.5
"""
STRICT = CALIBRATE.replace("LIMIT = 0.5", "LIMIT = 0.1")
FRAGILE = CALIBRATE.replace("score > 100", "score > 0.8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("python") / "home"
    yield from running(home, "--allow-python-models")


@pytest.fixture(scope="module")
def client(server: Server) -> gnomon.Client:
    return server.client()


def upload(client: gnomon.Client, name: str, source: str, directory: Path) -> gnomon.Model:
    file = directory / f"{name}.py"
    file.write_text(source)
    return client.upload_model(
        name, file, framework=gnomon.Framework.PYTHON, input_schema=TAKES, output_schema=GIVES
    )


def rows(*scores: float, country: str = "de") -> pd.DataFrame:
    return pd.DataFrame({"score": [[score] for score in scores], "country": country})


def test_a_version_is_what_it_was_declared_and_is_found_again(client, tmp_path):
    model = upload(client, "described", CALIBRATE, tmp_path)

    found = client.get_model("described")

    assert found.runtime() == "python"
    assert [str(spec) for spec in found.inputs()] == ["float32 [?, 1]", "string [?]"]
    assert [spec.name for spec in found.outputs()] == ["risk", "verdict"]
    assert (
        found.config()
        == model.config()
        == {
            "runtime": "python",
            "tensor_fields": None,
            "input_schema": TAKES,
            "output_schema": GIVES,
        }
    )
    assert found.configure("python", batch_config="single").config()["batch_config"] == "single"
    with pytest.raises(gnomon.GnomonError, match="stays so"):
        found.configure("onnx")


def test_a_champion_and_its_challengers_may_be_python(server, client, tmp_path):
    # Given a function that answers, one with another limit, and one that fails on some rows
    champion = upload(client, "calibrate", CALIBRATE, tmp_path)
    strict = upload(client, "strict", STRICT, tmp_path)
    fragile = upload(client, "fragile", FRAGILE, tmp_path)
    pipeline = client.build_pipeline("calibrated")
    pipeline.add_shadow_deploy(champion, [strict, fragile], mode="joined").deploy()

    # When it is asked
    answer = pipeline.infer(rows(0.2, 0.9))
    french = pipeline.infer(rows(0.9, country="fr"))

    # Then each has answered, but for the one that failed, which says so
    assert answer["out.risk"].round(4).tolist() == [0.2, 0.9]
    assert answer["out.verdict"].tolist() == ["yes", "no"]
    assert answer["out_strict.verdict"].tolist() == ["no", "no"]
    assert answer["out_fragile.verdict"].isna().all()
    assert french["out.verdict"].tolist() == ["yes"]
    logged = pipeline.logs(dataset=["metadata"]).to_pandas()
    assert "LookupError: scores above 100 are unheard of" in str(logged.to_dict())
    assert server.runs("strict")["ok"] == 2

    # And a champion that fails is a clean error, with its traceback in the hosts' log only
    with pytest.raises(ModelFailed) as caught:
        pipeline.infer(rows(101.0))
    assert "LookupError: scores above 100 are unheard of" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "line" not in str(caught.value)
    until(lambda: 'File "model.py", line' in (server.home / "logs" / "hosts.log").read_text())
    with pytest.raises(InferenceTimeout):
        pipeline.infer(rows(-101.0), timeout=1)
    assert pipeline.infer(rows(0.2))["out.verdict"].tolist() == ["yes"]
    pipeline.undeploy()


def test_functions_stand_before_and_behind_a_model(client, tmp_path):
    # Given a model of 29 numbers between a function that scales them and one that judges, in whose
    # shadow another judges
    numbers = pa.list_(pa.float32(), 29)
    scale = tmp_path / "scale.py"
    scale.write_text("def process(inputs): return {'dense_input': inputs['tenfold'] / 10}\n")
    scaled = client.upload_model(
        "scale",
        scale,
        framework=gnomon.Framework.PYTHON,
        input_schema=pa.schema([pa.field("tenfold", numbers)]),
        output_schema=pa.schema([pa.field("dense_input", numbers)]),
    )
    judges = []
    for name, limit in (("lenient", 0.5), ("strict-one", 0.01)):
        judge = tmp_path / f"{name}.py"
        judge.write_text(
            f"def process(inputs): return {{'no': inputs['dense_1'][:, 0] > {limit}}}\n"
        )
        judges.append(
            client.upload_model(
                name,
                judge,
                framework=gnomon.Framework.PYTHON,
                input_schema=pa.schema([pa.field("dense_1", pa.list_(pa.float32(), 1))]),
                output_schema=pa.schema([pa.field("no", pa.bool_())]),
            )
        )
    model = client.upload_model("middle", samples.champion_path())
    direct = client.build_pipeline("direct").add_model_step(model).deploy()
    pipeline = client.build_pipeline("between").add_model_step(scaled).add_model_step(model)
    pipeline.add_shadow_deploy(judges[0], judges[1:], mode="joined").deploy()

    # When rows go through
    tenfold = np.random.default_rng(1).normal(scale=30, size=(80, 29)).astype(np.float32)
    answer = pipeline.infer(pd.DataFrame({"tenfold": tenfold.tolist()}))

    # Then each is what the model by itself says
    plain = pd.DataFrame({"tensor": (tenfold / 10).tolist()})
    scores = [row[0] for row in direct.infer(plain)["out.dense_1"]]
    assert answer["out.no"].tolist() == [score > 0.5 for score in scores]
    assert answer["out_strict-one.no"].tolist() == [score > 0.01 for score in scores]
    assert answer["out.no"].nunique() == 2
    assert answer["out_strict-one.no"].tolist() != answer["out.no"].tolist()
    for deployed in (direct, pipeline):
        deployed.undeploy()


def test_requests_that_wait_together_run_together_and_each_gets_its_own(server, client, tmp_path):
    source = CALIBRATE.replace(
        "risk > LIMIT", "risk < len(risk) - 1.5"
    )  # whether several run together
    alone = upload(client, "counting", source, tmp_path)
    pipeline = client.build_pipeline("counted").add_model_step(alone).deploy()
    pipeline_of_rows = client.build_pipeline("by-rows")
    pipeline_of_rows.add_model_step(upload(client, "by-rows", CALIBRATE, tmp_path)).deploy()

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: pipeline.infer(rows(0.1)), range(40)))
        risks = list(pool.map(lambda n: pipeline_of_rows.infer(rows(n / 100)), range(40)))

    assert {count["out.verdict"][0] for count in counts} == {"yes"}  # it mixes its rows
    assert [round(float(risk["out.risk"][0]), 4) for risk in risks] == [n / 100 for n in range(40)]
    for deployed in (pipeline, pipeline_of_rows):
        deployed.undeploy()


def test_a_setting_that_is_neither_yes_nor_no_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GNOMON_ALLOW_PYTHON_MODELS", "yes")
    with pytest.raises(Invalid, match="'yes'; 1 or 0 was expected"):
        serve(Home(tmp_path / "home"), ServeOptions())


def test_a_server_that_was_not_told_to_runs_none_and_says_how(server, client, tmp_path):
    # Given a Python model and an ONNX model that are deployed
    python = upload(client, "stays", CALIBRATE, tmp_path)
    client.build_pipeline("python").add_model_step(python).deploy()
    onnx = client.upload_model("fraud", samples.champion_path())
    client.build_pipeline("onnx").add_model_step(onnx).deploy()

    # When the server is started without the option
    server.stop()
    server.options = ()
    server.start()

    # Then the one is not started, with the reason; the other is
    client = server.client()
    status = until(lambda: (s := client.get_pipeline("python").status()).get("details") and s)
    assert "--allow-python-models" in str(status)
    assert client.get_pipeline("onnx").infer_from_file(samples.smoke_test_path()) is not None
    # And no other is taken
    with pytest.raises(ModelRejected, match="gnomon serve --allow-python-models") as caught:
        upload(client, "another", CALIBRATE, tmp_path)
    assert caught.value.details["reason"] == "python_not_allowed"

    # When it is started with the option again, then the pipeline is back
    server.stop()
    server.options = ("--allow-python-models",)
    server.start()
    pipeline = server.client().get_pipeline("python")
    until(lambda: pipeline.status()["status"] == "Running", within_s=20.0)
    assert pipeline.infer(rows(0.2))["out.verdict"].tolist() == ["yes"]
