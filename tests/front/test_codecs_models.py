"""Every type and rank through real models in real hosts, in every format in and out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import helper

from gnomon.core.routing import ServedModel
from gnomon.core.tensors import DTYPE_OF_TAG, DTYPES
from gnomon.front.codecs.answer_arrow import arrow
from gnomon.testing import ListLog
from tests.bare import supervisor
from tests.front.arrow import FILE, STREAM, body_of
from tests.front.conftest import Answered, FrontServer
from tests.front.models import route
from tests.hostile_models import model, value
from tests.supervisor.conftest import Bare

TYPES = {dtype: getattr(onnx.TensorProto, DTYPES[dtype][0][7:-1].upper()) for dtype in DTYPES}
EXTREMES = {
    "float16": [65504.0, -0.0, 6e-8],
    "float32": [3.4028235e38, -0.0, 1e-45],
    "float64": [1.7976931348623157e308, -0.0, 5e-324],
    "bool": [True, False, True],
    "string": ["é\n", "", 'a"\\\u2028'],
    **{dtype: [np.iinfo(dtype).max, np.iinfo(dtype).min, 1] for dtype in DTYPES if "int" in dtype},
}
RECORDS = "application/json; format=pandas-records"
TENSORS = "application/json; format=named-tensors"
FORMATS = [TENSORS, RECORDS, FILE.decode(), STREAM.decode()]
every_out = pytest.mark.parametrize("out", FORMATS, ids=lambda kind: f"to-{kind[-14:]}")
every_in = pytest.mark.parametrize("came_in", FORMATS, ids=lambda kind: f"{kind[-14:]}")


def identity(shapes: dict[str, tuple[str, tuple]]) -> bytes:
    """A model that gives each of its inputs back: name to dtype and shape; x_a becomes y_a."""
    names = {name: name.replace("x_", "y_") for name in shapes}
    return model(
        [helper.make_node("Identity", [name], [names[name]]) for name in shapes],
        [value(name, TYPES[dtype], shape) for name, (dtype, shape) in shapes.items()],
        [value(names[name], TYPES[dtype], shape) for name, (dtype, shape) in shapes.items()],
    )


def scaled() -> bytes:
    """y = x * factor, where x has rows and factor is one number."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    return model([node], [value("x"), value("factor", shape=())], [value("y")])


SIZES = (2, 1, 3, 1, 2, 1, 2, 1)  # of axes, at most eight
MODELS = {
    "types": identity({f"x_{dtype}": (dtype, ("n", 2)) for dtype in DTYPES}),
    "flat": identity({f"x_{dtype}": (dtype, ("n",)) for dtype in DTYPES}),
    "ranks": identity({f"x_{rank}": ("float64", ("n", *SIZES[:rank])) for rank in range(8)}),
    "whole": identity({f"x_{rank}": ("float64", SIZES[:rank]) for rank in range(8)}),
    "words": identity({f"x_{rank}": ("string", SIZES[:rank]) for rank in range(8)}),
    "deepest": identity({"x_8": ("float64", SIZES)}),
    "deepest-words": identity({"x_8": ("string", SIZES)}),
    "one-row": identity({"x_a": ("float32", (1, 3)), "x_b": ("int64", (1,))}),
    "four-rows": identity({"x_a": ("float32", (4, 3))}),
    "scaled": scaled(),
}


class Served:
    """A front before real hosts."""

    def __init__(self, server: FrontServer) -> None:
        self.server = server

    def ask(self, pipeline: str, body: bytes, accept: str | None = None, **query: str) -> Answered:
        path = (
            f"/v1/api/pipelines/infer/{pipeline}-{list(MODELS).index(pipeline)}?{urlencode(query)}"
        )
        return self.server.ask("POST", path, body, accept=accept)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as name, supervisor(Path(name)) as process:
        bare = Bare(process, Path(name))
        server = FrontServer(Path(name) / "run", ListLog())
        server.start()
        routes = []
        for label, content in MODELS.items():
            spec = bare.start(content, label)
            report = bare.client.probe(Path(spec.model_path), spec.sha256)
            assert report.signature is not None, report
            champion = ServedModel(
                label=label,
                role="champion",
                name=label,
                ordinal=1,
                version_id=1,
                uuid=spec.version_uuid,
                sha256=spec.sha256,
                signature=report.signature,
                tensor_fields=None,
                host=spec.name,
            )
            routes.append(route(champion, pipeline=label, deployment_id=len(routes)))
        server.route(*routes)
        server.wait_connected(*MODELS)
        yield Served(server)
        server.stop()


# What is sent and what came back, in each format


def sent(arrays: dict[str, np.ndarray], kind: str) -> bytes:
    """Write arrays whose first axis is the row, or named tensors of any shape."""
    if kind == TENSORS:
        return json.dumps({name: array.tolist() for name, array in arrays.items()}).encode()
    if kind == RECORDS:
        rows = zip(*(array.tolist() for array in arrays.values()), strict=True)
        return json.dumps([dict(zip(arrays, row, strict=True)) for row in rows]).encode()
    columns = [arrow(np.ascontiguousarray(array)) for array in arrays.values()]
    return body_of(pa.Table.from_arrays(columns, list(arrays)), kind.encode())


def outputs_of(answer: Answered, kind: str) -> dict[str, np.ndarray]:
    """Read the outputs of an answer by name without "y_"; named tensors have none but order."""
    assert answer.status == 200, answer.body
    if kind == TENSORS:
        found = {}
        for number, output in enumerate(answer.json[0]["outputs"]):
            [(tag, tensor)] = output.items()
            array = np.array(tensor["data"], numpy_type(DTYPE_OF_TAG[tag])).reshape(tensor["dim"])
            for index, word in tensor.get("non_finite", {}).items():
                array.reshape(-1)[int(index)] = float(word)
            found[str(number)] = array
        return found
    if kind == RECORDS:
        found = {}
        for name in answer.json[0]["out"]:
            cells = np.array([row["out"][name] for row in answer.json], object)
            by_row = cells.reshape(len(cells), -1)
            for row, answered in enumerate(answer.json):
                for index, word in answered.get("non_finite", {}).get(f"out.{name}", {}).items():
                    by_row[row, int(index)] = float(word)
            found[name[2:]] = cells
        return found
    table = (pa.ipc.open_file if kind == FILE.decode() else pa.ipc.open_stream)(
        answer.body
    ).read_all()
    table.validate(full=True)
    return {
        name.removeprefix("out.y_"): dense(table.column(name).chunk(0))
        for name in table.column_names
        if name.startswith("out.")
    }


def dense(column: pa.Array) -> np.ndarray:
    shape = [len(column)]
    while pa.types.is_list(column.type):
        shape.append(len(column.flatten()) // max(len(column), 1))
        column = column.flatten()
        shape[-1] = len(column) // int(np.prod(shape[:-1]))
    return column.to_numpy(zero_copy_only=False).reshape(shape)


def numpy_type(dtype: str) -> str:
    return "object" if dtype == "string" else dtype


def assert_same(found, expected: np.ndarray, dtype: str) -> None:
    found = np.asarray(found, numpy_type(dtype))
    assert found.shape == expected.shape
    if dtype == "string":
        assert found.tolist() == expected.tolist()
    else:
        assert found.tobytes() == expected.tobytes()


@every_out
@every_in
@pytest.mark.parametrize("name", ["types", "flat"])
def test_every_type_passes_a_model_unchanged(served: Served, name, came_in, out):
    arrays = {}
    for dtype, extremes in EXTREMES.items():
        array = np.array(extremes, numpy_type(dtype))
        if "float" in dtype and came_in not in (TENSORS, RECORDS):
            array = np.concatenate([array, np.array([np.nan, np.inf, -np.inf], dtype)])
        else:
            array = np.concatenate([array, array])
        arrays[f"x_{dtype}"] = np.stack([array, array[::-1]], axis=1) if name == "types" else array
    answer = served.ask(name, sent(arrays, came_in), out)
    found = outputs_of(answer, out)
    names = list(DTYPES) if out == TENSORS else list(found)
    assert names == list(DTYPES)
    for dtype, array in zip(names, found.values(), strict=True):
        assert_same(array, arrays[f"x_{dtype}"], dtype)


@every_out
@every_in
def test_every_rank_of_rows_passes_a_model_unchanged(served: Served, came_in, out):
    arrays = {
        f"x_{rank}": np.random.default_rng(rank).normal(size=(3, *SIZES[:rank]))
        for rank in range(8)
    }
    found = outputs_of(served.ask("ranks", sent(arrays, came_in), out), out)
    for array, expected in zip(found.values(), arrays.values(), strict=True):
        assert_same(array, expected, "float64")


def whole(ranks: range, dtype: str) -> dict[str, np.ndarray]:
    arrays = {}
    for rank in ranks:
        array = np.random.default_rng(rank).normal(size=SIZES[:rank])
        if dtype == "string":
            array = np.array([f"{each:.3f} é" for each in np.ravel(array)], object)
        arrays[f"x_{rank}"] = np.reshape(array, SIZES[:rank])
    return arrays


@every_out
@every_in
@pytest.mark.parametrize(("name", "dtype"), [("whole", "float64"), ("words", "string")])
def test_a_model_without_rows_takes_the_only_row_as_a_whole(
    served: Served, name, dtype, came_in, out
):
    arrays = whole(range(8), dtype)
    one_row = {name: array[np.newaxis] for name, array in arrays.items()}
    body = sent(arrays if came_in == TENSORS else one_row, came_in)
    found = outputs_of(served.ask(name, body, out), out)
    for array, expected in zip(found.values(), arrays.values(), strict=True):
        assert_same(array if out == TENSORS else array[0], expected, dtype)


@every_out
@pytest.mark.parametrize(("name", "dtype"), [("deepest", "float64"), ("deepest-words", "string")])
def test_a_tensor_of_eight_axes_is_taken_by_its_name(served: Served, name, dtype, out):
    arrays = whole(range(8, 9), dtype)
    found = outputs_of(served.ask(name, sent(arrays, TENSORS), out), out)
    array = next(iter(found.values()))
    assert_same(array if out == TENSORS else array[0], arrays["x_8"], dtype)


def test_several_rows_of_a_model_without_rows_are_refused(served: Served):
    rows = {name: np.stack([array] * 2) for name, array in whole(range(8), "float64").items()}
    for came_in in FORMATS[1:]:
        refused = served.ask("whole", sent(rows, came_in))
        assert refused.status == 422
        assert "input 'x_0' must have shape [], got [2]. It takes no rows" in refused.json["error"]


@every_out
@every_in
def test_a_batch_of_fixed_size_is_taken_as_rows(served: Served, came_in, out):
    one = {"x_a": np.float32([[0.1, 2, -0.0]]), "x_b": np.array([2**63 - 1])}
    found = outputs_of(served.ask("one-row", sent(one, came_in), out), out)
    for array, expected in zip(found.values(), one.values(), strict=True):
        assert_same(array, expected, expected.dtype.name)
    four = {"x_a": np.arange(12, dtype="float32").reshape(4, 3)}
    [array] = outputs_of(served.ask("four-rows", sent(four, came_in), out), out).values()
    is_whole = came_in == TENSORS != out  # nothing says that these are rows
    assert_same(array[0] if is_whole else array, four["x_a"], "float32")
    two = {"x_a": four["x_a"][:2]}
    refused = served.ask("four-rows", sent(two, came_in), out)
    assert refused.status == 422
    assert "must have shape [4, 3], got [2, 3]" in refused.json["error"]


def test_one_number_for_all_rows_stands_beside_the_rows(served: Served):
    body = b'{"x": [[1, 2], [3, 4]], "factor": 0.5}'
    for out in FORMATS:
        found = outputs_of(served.ask("scaled", body, out), out)
        assert np.asarray(next(iter(found.values()))).tolist() == [[0.5, 1.0], [1.5, 2.0]]
    rows = served.ask("scaled", body, RECORDS).json
    assert [row["in"] for row in rows] == [
        {"x": [1, 2], "factor": 0.5},
        {"x": [3, 4], "factor": 0.5},
    ]
    [row] = served.ask("scaled", b'[{"x": [1, 2], "factor": 0.5}]').json
    assert row["out"] == {"y": [0.5, 1.0]}


def test_metadata_comes_from_the_model_that_ran(served: Served):
    body = b'[{"x": [1, 2], "factor": 0.5}]'
    [row] = served.ask("scaled", body, **{"dataset[]": "metadata"}).json
    read_ns, run_ns = row["metadata"]["elapsed"]
    assert 0 < read_ns < 10**9
    assert 0 < run_ns < 10**9
    facts = row["metadata"]["models"]["scaled"]
    assert facts["elapsed"] == run_ns
    assert facts["version"] == "uuid-of-scaled"
