"""The tutorial's models and inputs through the SDK: the values that it shows."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

CHAMPION, RF, XGB = 0.001497417688369751, 1.0, 0.0005066990852355957
KEYS = {
    "check_failures", "elapsed", "model_name", "model_version", "original_data", "outputs",
    "pipeline_name", "shadow_data", "time",
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(shared_server, tutorial):
    client = shared_server.client()
    champion = client.upload_model("ccfraud-lstm", tutorial / "models/keras_ccfraud.onnx")
    xgb = client.upload_model("ccfraud-xgb", tutorial / "models/xgboost_ccfraud.onnx")
    rf = client.upload_model("ccfraud-rf", tutorial / "models/modelA.onnx")
    pipeline = client.build_pipeline("cc-shadow")
    pipeline.add_shadow_deploy(champion.configure(), [xgb.configure(), rf.configure()])
    return pipeline.deploy()


def test_the_answer_is_the_champions_and_the_shadow_stands_beside_it(pipeline, tutorial):
    [result] = pipeline.infer_from_file(tutorial / "smoke_test.json")

    assert set(result.raw) == KEYS
    assert result.raw["original_data"] == json.loads((tutorial / "smoke_test.json").read_text())
    assert result.raw["outputs"][0]["Float"]["dim"] == [1, 1]
    np.testing.assert_allclose(result.data()[0], [[CHAMPION]], atol=1e-9)
    np.testing.assert_allclose(result.shadow_data()["ccfraud-rf"][0], [[RF]], atol=1e-9)
    np.testing.assert_allclose(result.shadow_data()["ccfraud-xgb"][0], [[XGB]], atol=1e-9)
    assert result.raw["outputs"][0]["Float"]["data"] == [CHAMPION]
    assert {name: fate.status for name, fate in result.challengers.items()} == {
        "ccfraud-rf": "ok",
        "ccfraud-xgb": "ok",
    }
    assert all(fate.elapsed_ns > 0 for fate in result.challengers.values())
    assert result.request_id


def test_a_frame_is_answered_by_a_frame(pipeline, tutorial):
    frame = pipeline.infer_from_file(tutorial / "smoke_test.df.json")

    assert list(frame.columns) == [
        "time", "in.tensor", "out.dense_1", "anomaly.count",
        "out_ccfraud-rf.variable", "out_ccfraud-xgb.variable",
    ]  # fmt: skip
    assert frame["out.dense_1"][0] == [pytest.approx(CHAMPION, abs=1e-9)]
    assert frame["out_ccfraud-xgb.variable"][0] == [pytest.approx(XGB, abs=1e-9)]
    assert frame["anomaly.count"].tolist() == [0]
    assert frame["time"].dtype == "datetime64[ms]"


def test_logs_have_one_entry_a_model_and_come_newest_first(pipeline, tutorial):
    first = pipeline.infer_from_file(tutorial / "smoke_test.json")[0].request_id
    second = pipeline.infer_from_file(tutorial / "smoke_test.json")[0].request_id

    logs = pipeline.logs(limit=2)

    assert [entry.request_id for entry in logs] == [second] * 3 + [first] * 3
    assert [(entry.model_name, entry.output) for entry in logs][:3] == [
        ("ccfraud-xgb", [np.array([[XGB]])]),
        ("ccfraud-rf", [np.array([[RF]])]),
        ("ccfraud-lstm", [np.array([[CHAMPION]])]),
    ]
    assert logs[0].timestamp.tzinfo is not None


def test_logs_are_a_frame_too(pipeline, tutorial):
    pipeline.infer_from_file(tutorial / "smoke_test.json")

    logs = pipeline.logs(limit=1)

    assert list(logs.columns) == [
        "time", "in.tensor", "out.dense_1", "anomaly.count",
        "out_ccfraud-rf.variable", "out_ccfraud-xgb.variable",
    ]  # fmt: skip
    assert logs["out.dense_1"].iloc[0][0] == pytest.approx(CHAMPION, abs=1e-9)
    assert isinstance(logs.head(), pd.DataFrame)


def test_every_cell_of_the_shadow_log_is_filled(pipeline, tutorial):
    pipeline.infer_from_file(tutorial / "smoke_test.json")

    shadow = pipeline.logs_shadow_deploy()

    assert shadow._repr_html_() == shadow._repr_html_()
    assert len(shadow) >= 1
    assert "<td></td>" not in shadow._repr_html_().replace(" ", "")


def test_the_answer_without_waiting_is_the_same_and_says_pending(pipeline, tutorial):
    waited = pipeline.infer_from_file(tutorial / "smoke_test.json")[0]
    prompt = pipeline.infer_from_file(tutorial / "smoke_test.json", shadow_wait_ms=0)[0]

    assert prompt.raw["outputs"] == waited.raw["outputs"]
    assert {fate.status for fate in prompt.challengers.values()} <= {"pending", "ok"}


def test_a_thousand_real_rows_agree_with_onnxruntime(pipeline, tutorial):
    import onnxruntime
    import pyarrow.feather

    table = pyarrow.ipc.open_file(tutorial / "cc_data_1k.arrow").read_all()
    rows = np.array(table.column(0).to_pylist(), dtype=np.float32)

    frame = pipeline.infer(pd.DataFrame({"tensor": rows.tolist()}))

    session = onnxruntime.InferenceSession(tutorial / "models/keras_ccfraud.onnx")
    expected = session.run(None, {session.get_inputs()[0].name: rows})[0]
    got = np.array(frame["out.dense_1"].tolist(), dtype=np.float32)
    np.testing.assert_array_equal(got, expected)
    assert len(frame) == 1_001


def test_a_table_and_a_file_of_it_are_answered_exactly(pipeline, tutorial):
    import onnxruntime

    # Given the tutorial's rows as it gives them, and what onnxruntime makes of them
    table = pa.ipc.open_file(tutorial / "cc_data_1k.arrow").read_all()
    rows = np.array(table.column(0).to_pylist(), dtype=np.float32)
    session = onnxruntime.InferenceSession(tutorial / "models/keras_ccfraud.onnx")
    expected = session.run(None, {session.get_inputs()[0].name: rows})[0]

    # When they are sent as a table, and as a file
    answer = pipeline.infer(table)
    frame = pipeline.infer_from_file(tutorial / "cc_data_1k.arrow")

    # Then both have the model's own float32
    outputs = answer.column("out.dense_1").combine_chunks()
    assert outputs.flatten().to_numpy().tobytes() == expected.tobytes()
    assert answer.column_names == list(frame.columns)
    assert answer.schema.field("out_ccfraud-xgb.variable").nullable
    got = np.array(frame["out.dense_1"].tolist(), dtype=np.float32)
    np.testing.assert_array_equal(got, expected)


def test_an_array_is_answered_as_named_tensors_are(pipeline, tutorial):
    tensor = json.loads((tutorial / "smoke_test.json").read_text())["tensor"]

    [result] = pipeline.infer(np.array(tensor))

    assert result.raw["outputs"][0]["Float"]["data"] == [CHAMPION]


def test_a_frame_of_more_than_one_request_is_answered_in_its_order(pipeline):
    count = 160_000  # rows of 29 float32, and an index: more than 16 MiB
    frame = pd.DataFrame(
        {"tensor": list(np.zeros((count, 29), np.float32)), "index": np.arange(count)}
    )

    answer = pipeline.infer(frame, shadow_wait_ms=0, timeout=60)

    assert len(answer.attrs["request_ids"]) == 2
    assert answer["in.index"].tolist() == list(range(count))
    assert len({tuple(cell) for cell in answer["out.dense_1"]}) == 1
    logged = pipeline.logs(limit=2)
    assert {entry.request_id for entry in logged} == set(answer.attrs["request_ids"])
