"""Validations on a real server: anomalies in answers and logs, row by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gnomon.core.errors import Invalid
from tests.end_to_end.conftest import Server
from tests.end_to_end.step_models import Studio, column, layer, told

ROWS = np.random.default_rng(9).normal(size=(40, 3)).astype(np.float32)
FIRST, SECOND = layer(21, 3, 2, gives="z"), layer(22, 2, 1, takes="z")


@pytest.fixture(scope="module")
def studio(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(shared_server.client(), tmp_path_factory.mktemp("models"), "validations")


@pytest.fixture(scope="module")
def models(studio: Studio) -> dict:
    return {"first": studio.upload("first", FIRST), "second": studio.upload("second", SECOND)}


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"x": ROWS.tolist(), "age": range(len(ROWS))})


def test_what_is_true_of_a_row_is_its_anomaly_in_answers_and_logs(studio, models, frame):
    pipeline = studio.pipeline("marked").add_model_step(models["first"])
    pipeline.add_validations(
        low=pl.col("out.z").list.get(0) < -0.5, high="out.z[2] > 0.5 AND in.x[2] > 0"
    )
    pipeline.add_validation("apart", pl.col("out.z").list.get(0) > pl.col("out.z").list.get(1))
    pipeline.deploy()
    z = told(FIRST, ROWS)[0]
    right = pd.DataFrame(
        {
            "anomaly.apart": z[:, 0] > z[:, 1],
            "anomaly.high": (z[:, 1] > 0.5) & (ROWS[:, 1] > 0),
            "anomaly.low": z[:, 0] < -0.5,
        }
    )
    assert right.any().all()
    assert not right.all(axis=1).any()

    answer = pipeline.infer(frame)
    names = [name for name in answer.columns if name.startswith("anomaly")]
    assert names == ["anomaly.count", "anomaly.apart", "anomaly.high", "anomaly.low"]
    pd.testing.assert_frame_equal(answer[right.columns], right)
    assert answer["anomaly.count"].tolist() == right.sum(axis=1).tolist()
    np.testing.assert_array_equal(column(answer, "out.z").astype(np.float32), z)

    table = pipeline.infer(pa.table({"x": pa.array(ROWS.tolist())}))
    assert table["anomaly.high"].to_pylist() == right["anomaly.high"].tolist()

    logged = pipeline.logs(limit=1).to_pandas()
    assert Counts.of(logged) == Counts.of(right)


class Counts(dict):
    """How many rows are marked by each validation."""

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Counts:
        names = [n for n in frame.columns if n.startswith("anomaly.") and n != "anomaly.count"]
        return cls({name: int(frame[name].sum()) for name in names})


def test_logs_are_read_of_rows_with_anomalies_alone(studio, models):
    pipeline = studio.pipeline("failures").add_model_step(models["first"])
    pipeline.add_validations(low="out.z[1] < -0.5").deploy()
    marked = told(FIRST, ROWS)[0][:, 0] < -0.5
    for row in ROWS:
        pipeline.infer({"x": [row.tolist()]})

    failures = pipeline.logs(limit=1_000, valid=False).to_pandas()
    others = pipeline.logs(limit=1_000, valid=True).to_pandas()

    assert (len(failures), len(others)) == (marked.sum(), (~marked).sum())
    assert failures["anomaly.low"].all()
    assert not others["anomaly.low"].any()
    assert sorted(column(failures, "in.x").tolist()) == sorted(
        ROWS[marked].astype(column(failures, "in.x").dtype).tolist()
    )


def test_validations_of_a_step_in_the_middle_look_at_what_it_gives(studio, models, frame):
    pipeline = studio.pipeline("middle").add_model_step(models["first"])
    pipeline.add_validations(inner=pl.col("out.z").list.get(1) > 0)
    pipeline.add_model_step(models["second"])
    pipeline.add_validations(outer="out.y[1] > 0", child="in.age < 18").deploy()
    z = told(FIRST, ROWS)[0]
    y = told(SECOND, z)[0]

    answer = pipeline.infer(frame)

    np.testing.assert_array_equal(column(answer, "out.y").astype(np.float32), y)
    assert answer["anomaly.inner"].tolist() == (z[:, 1] > 0).tolist()
    assert answer["anomaly.outer"].tolist() == (y[:, 0] > 0).tolist()
    assert answer["anomaly.child"].tolist() == [age < 18 for age in range(len(ROWS))]


def test_a_validation_changes_nothing_of_the_answer_and_can_be_taken_away(studio, models, frame):
    pipeline = studio.pipeline("changing").add_model_step(models["first"]).deploy()
    before = pipeline.infer(frame)

    pipeline.add_validations(low="out.z[1] < -0.5").deploy()
    marked = pipeline.infer(frame)
    pipeline.replace_with_validations(1, low="out.z[1] < -2").deploy()
    unmarked = pipeline.infer(frame)
    pipeline.remove_step(1).deploy()
    after = pipeline.infer(frame)

    assert marked["anomaly.low"].any()
    assert not unmarked["anomaly.low"].any()
    outputs = ["out.z", "in.x", "in.age"]
    for other in (marked, unmarked, after):
        pd.testing.assert_frame_equal(other[outputs], before[outputs])
    assert list(after.columns) == list(before.columns)


def test_a_validation_of_what_no_model_gives_is_refused_before_anything_starts(studio, models):
    pipeline = studio.pipeline("nothing").add_model_step(models["first"])

    with pytest.raises(Invalid, match=r"'low' asks for 'out\.y'; first@1 of step 0 gives 'z'"):
        pipeline.add_validations(low="out.y[1] < 0").deploy()
    with pytest.raises(Invalid, match="has the polars operation 'AnonymousFunction"):
        pipeline.add_validations(sly=pl.col("out.z").map_batches(lambda column: column))
    assert len(pipeline.steps()) == 2
