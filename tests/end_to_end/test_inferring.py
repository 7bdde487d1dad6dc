"""Asking a real server in all the ways there are: every kind of input, in bulk, many at a time."""

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

from gnomon import samples
from gnomon.object import InferenceError
from tests.end_to_end import notebook
from tests.end_to_end.conftest import running
from tests.waiting import until

ROWS = samples.held_out()[0][:1001]


def table_of(rows) -> pa.Table:
    return pa.table({"tensor": pa.FixedSizeListArray.from_arrays(rows.reshape(-1), 29)})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("inferring") / "home")


@pytest.fixture(scope="module")
def client(server):
    return server.client()


@pytest.fixture(scope="module")
def shadow(client):
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [client.upload_model(n, p) for n, p in samples.challenger_paths().items()]
    return client.build_pipeline("shadow").add_shadow_deploy(champion, challengers).deploy()


@pytest.fixture(scope="module")
def alone(client):
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    return client.build_pipeline("alone").add_model_step(champion).deploy()


@pytest.fixture(scope="module")
def expected(alone) -> np.ndarray:
    [result] = alone.infer({"tensor": ROWS.tolist()})
    return result.data()[0].ravel()


def outputs(answer) -> np.ndarray:
    """The champion's outputs, whatever they came in."""
    if isinstance(answer, list):
        return answer[0].data()[0].ravel()
    if isinstance(answer, pa.Table):
        return answer["out.dense_1"].combine_chunks().flatten().to_numpy().astype("float64")
    return np.array([cell[0] for cell in answer["out.dense_1"]], "float64")


KINDS = {
    "dict of lists": lambda: {"tensor": ROWS.tolist()},
    "dict of arrays": lambda: {"dense_input": ROWS},
    "numpy": lambda: ROWS,
    "pandas": lambda: pd.DataFrame({"tensor": list(ROWS)}),
    "polars": lambda: polars.from_arrow(table_of(ROWS)),
    "pyarrow": lambda: table_of(ROWS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_gets_the_same_answers(shadow, expected, kind):
    sent = KINDS[kind]()

    answer = shadow.infer(sent)

    assert type(answer) is (list if isinstance(sent, dict | np.ndarray) else type(sent))
    np.testing.assert_allclose(outputs(answer), expected, rtol=1e-6)


def test_values_and_types_arrive_and_come_back_as_they_are(alone):
    frame = pd.DataFrame(
        {
            "tensor": list(ROWS[:3]),
            "amount": [np.nan, -np.inf, -0.0],
            "id": np.array([2**63 - 1, -(2**63), 2**53 + 1], np.int64),
            "small": np.array([1, 2, 255], np.uint8),
            "half": np.array([0.1, np.nan, 65504], np.float16),
            "known": [True, False, True],
            "name": ["ä", "", "x" * 300],
        }
    )

    answer = alone.infer(frame)

    echoed = answer[[f"in.{name}" for name in frame.columns]].set_axis(frame.columns, axis=1)
    pd.testing.assert_frame_equal(echoed.drop(columns="tensor"), frame.drop(columns="tensor"))
    assert np.signbit(echoed["amount"][2])
    np.testing.assert_array_equal(np.array(echoed["tensor"].tolist(), "float32"), ROWS[:3])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_arrays_of_many_values_and_of_nan_are_answered_like_few(alone, expected, dtype):
    rows = ROWS.astype(dtype)
    near = {"rtol": 0.02, "atol": 1e-3} if dtype == "float16" else {"rtol": 1e-6}

    [many] = alone.infer(np.asfortranarray(rows))
    np.testing.assert_allclose(outputs([many]), expected, **near)

    rows[1, 3] = np.nan
    [some] = alone.infer({"tensor": rows[:3]})
    found = outputs([some])
    assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], **near)


@pytest.mark.parametrize("kind", [k for k in KINDS if k in ("pandas", "polars", "pyarrow")])
def test_columns_are_chosen(shadow, kind):
    def names(*dataset) -> list[str]:
        answer = shadow.infer(KINDS[kind](), None, *dataset)
        return answer.column_names if kind == "pyarrow" else list(answer.columns)

    everything = [
        "time", "in.tensor", "out.dense_1", "anomaly.count",
        "out_fraud-boosted.variable", "out_fraud-forest.variable",
    ]  # fmt: skip
    assert names() == names("*") == names(["*"], [], ".") == everything
    assert names(["time", "out"]) == ["time", "out.dense_1"]
    assert names("out_fraud-forest.variable") == ["out_fraud-forest.variable"]
    assert names(None, ["in", "anomaly"]) == [everything[0], everything[2], *everything[4:]]
    assert names(["*", "anomaly.count"], ["anomaly"])[3] == "anomaly.count"
    assert names(["out", "metadata.last_model"]) == ["out.dense_1", "metadata.last_model"]
    assert names(None, None, "/")[1:4] == ["in/tensor", "out/dense_1", "anomaly/count"]
    assert names(None, None, "")[1:4] == ["in", "out", "anomaly"]
    with pytest.raises(InferenceError, match=r"Did you mean 'out.dense_1'"):
        names(["out.dense_2"])


def test_a_chosen_column_has_the_same_cells_however_it_is_named(alone, expected):
    frame = KINDS["pandas"]()
    flat, named, nested = (alone.infer(frame, None, None, None, join) for join in (None, "/", ""))

    assert named["out/dense_1"].tolist() == flat["out.dense_1"].tolist()
    assert named["in/tensor"].tolist() == flat["in.tensor"].tolist()
    np.testing.assert_allclose([row["dense_1"][0] for row in nested["out"]], expected, rtol=1e-6)


@pytest.mark.parametrize(("kind", "times"), [("pyarrow", 150), ("numpy", 150)])
def test_more_than_a_request_takes_is_answered_in_order(alone, expected, kind, times):
    rows = np.tile(ROWS, (times, 1))
    sent = table_of(rows) if kind == "pyarrow" else rows

    answer = alone.infer(sent, request_id=f"large-{kind}")

    np.testing.assert_allclose(outputs(answer), np.tile(expected, times), rtol=1e-6)
    if kind == "numpy":
        assert answer[0].request_ids == ["large-numpy", "large-numpy.2"]
        assert answer[0].input_data() is None
    expected_ids = {f"large-{kind}", f"large-{kind}.2"}
    until(lambda: {entry.request_id for entry in alone.logs(limit=2)} == expected_ids)


def test_batches_at_a_time_are_answered_as_one(shadow, expected):
    whole = shadow.infer(table_of(ROWS))

    answer = asyncio.run(shadow.parallel_infer(table_of(ROWS), batch_size=20))

    assert answer.column_names == whole.column_names
    np.testing.assert_allclose(outputs(answer), expected, rtol=1e-6)
    assert answer["out_fraud-boosted.variable"].null_count == 0


def test_files_of_every_format_are_answered(alone, expected, tmp_path):
    rows = ROWS[:5]
    frame = pd.DataFrame({"tensor": rows.tolist()})
    frame.to_json(tmp_path / "records.df.json", orient="records")
    (tmp_path / "tensor.json").write_text(f'{{"tensor": {rows.tolist()}}}')
    for name, writer in (("file.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with writer(str(tmp_path / name), table_of(rows).schema) as sink:
            sink.write_table(table_of(rows))

    for name in ("records.df.json", "tensor.json", "file.arrow", "stream.arrow"):
        answer = alone.infer_from_file(tmp_path / name)
        np.testing.assert_allclose(outputs(answer), expected[:5], rtol=1e-5)


def test_threads_and_forked_children_get_their_own_answers(alone, expected):
    def ask(start: int) -> None:
        for index in range(start, start + 50):
            [result] = alone.infer(ROWS[index : index + 1])
            np.testing.assert_allclose(result.data()[0].item(), expected[index], rtol=1e-6)

    ask(0)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ask(100)
            status = 0
        finally:
            os._exit(status)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, (200, 300, 400, 500)))
    assert os.waitpid(child, 0)[1] == 0


def test_nobody_notices_that_a_front_is_asked_to_end(server, alone, expected):
    over, asked = threading.Event(), []

    def ask(start: int) -> None:
        while not over.is_set():
            [result] = alone.infer(ROWS[start : start + 1])
            np.testing.assert_allclose(result.data()[0].item(), expected[start], rtol=1e-6)
            asked.append(start)

    def more() -> None:
        target = len(asked) + 100
        until(lambda: len(asked) > target)

    def end_the_front() -> None:
        pid = server.pids()["front"]
        os.kill(pid, signal.SIGTERM)
        until(lambda: server.pids().get("front") not in (pid, None))

    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(ask, start) for start in range(6)]
        try:
            for _ in range(2):
                more()
                end_the_front()
            more()
        finally:
            over.set()
    for each in running:
        each.result()


def test_a_notebook_shows_a_bar(server, alone, tmp_path):
    [shown] = notebook.run(
        [
            "import gnomon, numpy as np, pandas as pd\n"
            "pipeline = gnomon.Client().get_pipeline('alone')\n"
            "frame = pd.DataFrame({'tensor': list(np.zeros((300, 29), 'float32'))})\n"
            "answer = await pipeline.parallel_infer(frame, batch_size=100)\n"
            "len(answer)"
        ],
        directory=tmp_path,
        home=server.home,
    )

    assert '<progress value="300" max="300"' in shown
    assert "300 of 300 rows" in shown
    assert shown.endswith("\n300")
