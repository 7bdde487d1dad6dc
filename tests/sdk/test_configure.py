"""What users say of a model: compared with what its file declares, stored, and honoured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import gnomon
from gnomon.core.errors import Invalid
from gnomon.core.model import Signature
from gnomon.core.tensors import TensorSpec
from tests.api.conftest import Api, serving
from tests.planes import TOKEN

CONTENT = b"a model of two inputs"
TEXT_AND_NUMBERS = Signature(
    inputs=(
        TensorSpec(name="amounts", dtype="float32", shape=(None, 3)),
        TensorSpec(name="country", dtype="string", shape=(None, 1)),
    ),
    outputs=(TensorSpec(name="risk", dtype="float64", shape=(None, 2, 4)),),
)
INPUTS = pa.schema(
    [pa.field("amounts", pa.list_(pa.float32(), 3)), pa.field("country", pa.string())]
)
OUTPUTS = pa.schema([pa.field("risk", pa.list_(pa.list_(pa.float64(), 4), 2))])


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("configure")) as served:
        served.backend.declares(hashlib.sha256(CONTENT).hexdigest(), TEXT_AND_NUMBERS)
        yield served


@pytest.fixture
def client(api: Api) -> gnomon.Client:
    return gnomon.Client(f"http://127.0.0.1:{api.port}", TOKEN, interactive=False)


@pytest.fixture
def model(client: gnomon.Client, tmp_path: Path) -> gnomon.Model:
    file = tmp_path / "model.onnx"
    file.write_bytes(CONTENT)
    return client.upload_model("two-inputs", file)


def stored(client: gnomon.Client) -> dict:
    return client.get_model("two-inputs").config()


def test_schemas_that_are_the_models_are_stored_with_the_version(client, model):
    assert model.configure(input_schema=INPUTS, output_schema=OUTPUTS) is model

    assert stored(client) == {
        "runtime": "onnx",
        "tensor_fields": None,
        "input_schema": INPUTS,
        "output_schema": OUTPUTS,
    }
    assert model.config() == stored(client)


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([INPUTS.field(1), INPUTS.field(0)]),
        pa.schema([pa.field("amounts", pa.list_(pa.float32())), INPUTS.field(1)]),
        pa.schema([INPUTS.field(0), pa.field("country", pa.list_(pa.string(), 1))]),
        pa.schema([INPUTS.field(0), pa.field("country", pa.large_string())]),
    ],
    ids=["another order", "a size left open", "one value as a list", "large text"],
)
def test_a_schema_that_the_model_can_be_fed_by_is_taken(client, model, schema):
    model.configure(input_schema=schema)

    assert stored(client)["input_schema"].names == schema.names


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"input_schema": pa.schema([INPUTS.field(0)])},
            r"input_schema has the columns 'amounts'; two-inputs@\d+ has 'amounts', 'country'\.",
        ),
        (
            {"input_schema": pa.schema([INPUTS.field(0), pa.field("nation", pa.string())])},
            r"'amounts', 'nation'; .* 'amounts', 'country'.*or name other columns with tensor_fi",
        ),
        (
            {"input_schema": pa.schema([INPUTS.field(0), INPUTS.field(0)])},
            "'amounts', 'amounts'; .* has 'amounts', 'country'",
        ),
        (
            {"input_schema": INPUTS.set(0, pa.field("amounts", pa.list_(pa.float64(), 3)))},
            r"'amounts' is float64 \[\?, 3\], and two-inputs@\d+ declares float32 \[\?, 3\]",
        ),
        (
            {"input_schema": INPUTS.set(0, pa.field("amounts", pa.list_(pa.float32(), 4)))},
            r"'amounts' is float32 \[\?, 4\], and .* declares float32 \[\?, 3\]",
        ),
        (
            {"input_schema": INPUTS.set(0, pa.field("amounts", pa.float32()))},
            r"'amounts' is float32 \[\?\], and .* declares float32 \[\?, 3\]",
        ),
        (
            {"input_schema": INPUTS.set(0, pa.field("amounts", pa.date32()))},
            "input_schema: the column 'amounts' is date32.*; models take numbers, booleans and",
        ),
        (
            {"output_schema": INPUTS},
            r"output_schema has the columns 'amounts', 'country'; .* has 'risk'\. .* no others\.$",
        ),
        (
            {"output_schema": pa.schema([pa.field("risk", pa.list_(pa.float64()))])},
            r"'risk' is float64 \[\?, \?\], and .* declares float64 \[\?, 2, 4\]",
        ),
        (
            {"batch_config": "single", "dynamic_batching_config": {"max_batch_delay_ms": 10}},
            'two-inputs@.*: batch_config "single" runs each request alone, and dynamic_batching',
        ),
    ],
)
def test_what_contradicts_the_model_is_refused_and_nothing_is_changed(client, model, given, says):
    with pytest.raises(Invalid, match=says):
        model.configure(tensor_fields=None, **given)

    assert stored(client) == {"runtime": "onnx", "tensor_fields": None}


def test_a_schema_names_the_columns_that_feed_the_inputs(client, model):
    fed = pa.schema([pa.field("eur", pa.list_(pa.float32(), 3)), pa.field("to", pa.string())])

    model.configure(tensor_fields=["eur", "to"], input_schema=fed)

    assert stored(client)["input_schema"] == fed
    assert stored(client)["tensor_fields"] == ["eur", "to"]
    with pytest.raises(Invalid, match=r"'eur', 'to'; two-inputs@\d+ has 'usd', 'to'"):
        model.configure(tensor_fields=["usd", "to"])
    assert stored(client)["tensor_fields"] == ["eur", "to"]


def test_a_model_that_was_configured_single_is_never_batched_until_it_is_told_otherwise(
    api, client, model
):
    model.configure(batch_config="single").configure(tensor_fields=["a", "b"])
    pipeline = client.build_pipeline("single").add_model_step(model).deploy()

    [route] = (r for r in api.backend.table.routes if r.pipeline == "single")
    assert route.champion.signature.row_wise is False
    assert stored(client)["batch_config"] == "single"
    assert '"batch_config": "single"' in pipeline.definition()
    model.configure(batch_config="batch")
    client.get_pipeline("single").deploy()
    assert "single" not in client.get_pipeline("single").definition()


def test_dynamic_batching_is_kept_and_said_to_have_no_effect(client, model):
    config = {"max_batch_delay_ms": 10, "batch_size_target": 4}

    with pytest.warns(UserWarning, match="dynamic_batching_config is kept without effect"):
        model.configure(dynamic_batching_config=config)

    assert stored(client)["dynamic_batching_config"] == config
