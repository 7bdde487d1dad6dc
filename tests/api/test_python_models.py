"""Uploads of Python models: what is declared of them, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest

import gnomon
from gnomon.core import limits
from gnomon.core.errors import Invalid, ModelRejected
from gnomon.core.model import Signature
from gnomon.core.tensors import TensorSpec
from tests.api.conftest import Answer, Api, serving, shadow
from tests.planes import TOKEN

IN = [{"name": "score", "dtype": "float32", "shape": [None, 1]}]
CONTENT = b"def process(inputs): ..."
OUT = [{"name": "verdict", "dtype": "string", "shape": [None]}]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that takes Python models, for all tests of the module."""
    with serving(tmp_path_factory.mktemp("python"), allow_python_models=True) as served:
        yield served


def upload(api: Api, name: str, content: bytes = CONTENT, **query: Any) -> Answer:
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in query.items()}
    route = f"/v1/workspaces/1/models/{name}/versions?" + urlencode({"runtime": "python", **texts})
    return api.call("POST", route, raw=content)


def column(**changes: Any) -> list[dict[str, Any]]:
    return [{**IN[0], **changes}]


def test_a_version_has_what_was_declared_of_it_and_its_host_is_told(python):
    version = upload(python, "step", input_schema=IN, output_schema=OUT).json()
    onnx = python.upload("onnx")

    assert (version["runtime"], onnx["runtime"]) == ("python", "onnx")
    assert version["signature"] == {"inputs": IN, "outputs": OUT, "row_wise": False}
    found = python.call("GET", "/v1/workspaces/1/models/step/versions/1").json()
    assert found == version

    python.deploy("both", shadow(onnx, version))
    python.settled("both")
    told = {host.spec.version_uuid: host.spec.declared for host in python.backend.hosts()}
    assert told == {onnx["uuid"]: None, version["uuid"]: Signature.from_json(version["signature"])}


def test_a_probe_adds_to_what_was_declared_only_whether_rows_are_independent(python):
    liar = b"def process(inputs): os.write(status, mine)"
    other = TensorSpec(name="\x1b", dtype="no such", shape=(7,))
    python.backend.declares(
        hashlib.sha256(liar).hexdigest(), Signature(inputs=(other,), outputs=(), row_wise=True)
    )

    version = upload(python, "liar", liar, input_schema=IN, output_schema=OUT).json()

    assert version["signature"] == {"inputs": IN, "outputs": OUT, "row_wise": True}


def test_a_server_without_the_option_takes_none(api):
    answer = upload(api, "step", input_schema=IN, output_schema=OUT)

    assert answer.status == 422
    assert answer.json()["error_code"] == "model_rejected"
    assert answer.json()["details"]["reason"] == "python_not_allowed"
    assert "'gnomon serve --allow-python-models'" in answer.json()["detail"]
    assert api.call("GET", "/v1/workspaces/1/models").json() == {"models": []}
    assert api.upload("onnx")["runtime"] == "onnx"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "input_schema has none"),
        ({"input_schema": IN}, "output_schema has none"),
        ({"input_schema": [], "output_schema": OUT}, "input_schema has none"),
        ({"input_schema": IN * 2, "output_schema": OUT}, "two columns of one name"),
        ({"input_schema": "", "output_schema": OUT}, "input_schema: Invalid JSON"),
        ({"input_schema": "{", "output_schema": OUT}, "input_schema: Invalid JSON"),
        ({"input_schema": {}, "output_schema": OUT}, "valid array"),
        ({"input_schema": [3], "output_schema": OUT}, "input_schema.0: "),
        ({"input_schema": [{"name": "a"}], "output_schema": OUT}, "input_schema.0.dtype: "),
        ({"input_schema": column(shape=["x"]), "output_schema": OUT}, "input_schema.0.shape"),
        ({"input_schema": column(dtype="complex64"), "output_schema": OUT}, "'score' is complex64"),
        ({"input_schema": column(shape=[]), "output_schema": OUT}, "any number of rows"),
        ({"input_schema": column(shape=[5]), "output_schema": OUT}, "any number of rows"),
        ({"input_schema": column(shape=[None, 0]), "output_schema": OUT}, "'score' is float32 [?,"),
        ({"input_schema": column(shape=[None, -1]), "output_schema": OUT}, "'score' is float32"),
        ({"input_schema": column(shape=[None, 2**63]), "output_schema": OUT}, "'score' is float32"),
        ({"input_schema": column(shape=[None] * 9), "output_schema": OUT}, "at most 8 items"),
        ({"input_schema": column(name=""), "output_schema": OUT}, "a column must be named"),
        ({"input_schema": column(name="a\n"), "output_schema": OUT}, "a column must be named"),
        ({"input_schema": column(name="é" * 200), "output_schema": OUT}, "a column must be named"),
        ({"input_schema": "[" * 8_000, "output_schema": OUT}, "input_schema: Invalid JSON"),
        ({"input_schema": " " * 8_193, "output_schema": OUT}, "at most 8192 characters"),
        (
            {"input_schema": [{**IN[0], "name": f"c{n}"} for n in range(65)], "output_schema": OUT},
            "at most 64 items",
        ),
        ({"runtime": "pickle", "input_schema": IN}, "'onnx' or 'python'"),
        ({"runtime": "onnx", "input_schema": IN}, "declared of Python models only"),
    ],
)
def test_columns_that_make_no_sense_are_refused(python, query, said):
    answer = upload(python, "odd", **query)

    assert answer.status == 422, answer.body
    assert answer.json()["error_code"] == "invalid"
    assert said in answer.json()["detail"]


def test_as_many_columns_as_a_model_may_have_fit_into_the_address(python, tmp_path):
    file = tmp_path / "wide.py"
    file.write_text("def process(inputs): ...")
    client = gnomon.Client(f"http://127.0.0.1:{python.port}", TOKEN, interactive=False)
    names = [f"Spalte für den Betrag Nr. {n}" for n in range(limits.TENSORS_PER_REQUEST_MAX)]
    schema = pa.schema([pa.field(name, pa.list_(pa.float64(), 1_000)) for name in names])

    model = client.upload_model(
        "wide", file, gnomon.Framework.PYTHON, input_schema=schema, output_schema=schema
    )

    assert [spec.name for spec in model.inputs()] == names
    assert model.config()["output_schema"] == schema


def test_the_sdk_refuses_what_lacks_a_schema_before_it_sends_anything(python, tmp_path):
    client = gnomon.Client(f"http://127.0.0.1:{python.port}", TOKEN, interactive=False)
    schema = pa.schema([pa.field("a", pa.float32())])

    with pytest.raises(Invalid, match="output_schema must be a pyarrow"):
        client.upload_model("x", tmp_path / "no.py", framework="python", input_schema=schema)
    with pytest.raises(Invalid, match="'day' is date32"):
        client.upload_model(
            "x",
            tmp_path / "no.py",
            framework="python",
            input_schema=schema,
            output_schema=pa.schema([pa.field("day", pa.date32())]),
        )


def test_the_sdk_says_that_a_server_takes_none(api, tmp_path: Path):
    client = gnomon.Client(f"http://127.0.0.1:{api.port}", TOKEN, interactive=False)
    schema = pa.schema([pa.field("a", pa.float32())])
    file = tmp_path / "model.py"
    file.write_text("def process(inputs): ...")

    with pytest.raises(ModelRejected, match="This server runs no Python models") as caught:
        client.upload_model(
            "x", file, framework="python", input_schema=schema, output_schema=schema
        )
    assert caught.value.details["reason"] == "python_not_allowed"
