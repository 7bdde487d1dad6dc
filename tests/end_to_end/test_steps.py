"""Pipelines of several steps on a real server: every answer is what ONNX Runtime says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gnomon.core.errors import Invalid
from tests.end_to_end.callers import Callers, first_output
from tests.end_to_end.conftest import Server
from tests.end_to_end.step_models import Studio, apart, column, layer, together, told

ROWS = np.random.default_rng(7).normal(size=(12, 3)).astype(np.float32)
HIDDEN = layer(1, 3, 4, gives="z")
SCORE, RIVAL, OTHER = (layer(seed, 4, 2, takes="features") for seed in (2, 3, 4))
LAST, LAST_RIVAL = (layer(seed, 2, 1, takes="y", gives="p") for seed in (5, 6))


@pytest.fixture(scope="module")
def studio(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(shared_server.client(), tmp_path_factory.mktemp("models"), "steps")


@pytest.fixture(scope="module")
def models(studio: Studio) -> dict:
    """Some models; those that take `features` are fed by `z`."""
    return {
        "hidden": studio.upload("hidden", HIDDEN),
        "score": studio.upload("score", SCORE, ["z"]),
        "rival": studio.upload("rival", RIVAL, ["z"]),
        "other": studio.upload("other", OTHER, ["z"]),
        "last": studio.upload("last", LAST),
        "last-rival": studio.upload("last-rival", LAST_RIVAL),
    }


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"x": ROWS.tolist(), "order": range(len(ROWS))})


def chained(*contents: bytes) -> np.ndarray:
    """Return what models say one after the other, each to the first output of the one before."""
    given = ROWS
    for content in contents:
        given = told(content, given)[0]
    return given


def test_what_a_model_gives_is_what_the_next_one_takes(studio, models, frame):
    pipeline = studio.pipeline("chain").add_model_step(models["hidden"])
    pipeline.add_model_step(models["score"]).add_model_step(models["last"]).deploy()
    right = chained(HIDDEN, SCORE, LAST)

    answer = pipeline.infer(frame)
    assert list(answer.columns) == ["time", "in.x", "in.order", "out.p", "anomaly.count"]
    np.testing.assert_array_equal(column(answer, "out.p").astype(np.float32), right)

    [result] = pipeline.infer({"x": ROWS.tolist()})
    np.testing.assert_array_equal(result.data()[0].astype(np.float32), right)
    assert result.model() == ("last", models["last"].version())

    table = pipeline.infer(pa.table({"x": pa.array(ROWS.tolist(), pa.list_(pa.float32(), 3))}))
    np.testing.assert_array_equal(np.array(table["out.p"].to_pylist(), np.float32), right)

    logged = pipeline.logs(limit=1).to_pandas()
    assert sorted(column(logged, "out.p").ravel()) == sorted(right.ravel().astype(float))


def test_two_outputs_feed_two_inputs_by_their_names(studio, frame):
    low_and_high, span = studio.upload("apart", apart()), studio.upload("together", together())
    pipeline = studio.pipeline("pairs").add_model_step(low_and_high).add_model_step(span).deploy()
    low, high = told(apart(), ROWS)
    spans, wide = told(together(), high, low)

    answer = pipeline.infer(frame)

    assert {"out.span", "out.wide"} <= set(answer.columns)
    assert "out.low" not in answer.columns
    np.testing.assert_array_equal(column(answer, "out.span").astype(np.float32), spans)
    np.testing.assert_array_equal(column(answer, "out.wide"), wide)


def test_challengers_of_any_step_see_what_its_champion_sees(studio, models, frame):
    """The champion's output goes on; what challengers say passes through to the answer."""
    pipeline = studio.pipeline("watched").add_model_step(models["hidden"])
    pipeline.add_shadow_deploy(models["score"], [models["rival"], models["other"]], mode="joined")
    pipeline.add_shadow_deploy(models["last"], [models["last-rival"]]).deploy()

    answer = pipeline.infer(frame)

    for name, right in {
        "out.p": chained(HIDDEN, SCORE, LAST),
        "out_rival.y": chained(HIDDEN, RIVAL),
        "out_other.y": chained(HIDDEN, OTHER),
        "out_last-rival.p": chained(HIDDEN, SCORE, LAST_RIVAL),
    }.items():
        np.testing.assert_array_equal(column(answer, name).astype(np.float32), right, err_msg=name)
    logged = pipeline.logs(limit=1).to_pandas()
    assert {"out.p", "out_rival.y", "out_other.y", "out_last-rival.p"} <= set(logged.columns)
    told_of = pipeline.status()["engines"][0]["model_statuses"]["models"]
    assert [(m["step"], m["label"], m["role"], m["status"]) for m in told_of] == [
        (0, "hidden", "champion", "Running"),
        (1, "score", "champion", "Running"),
        (1, "rival", "challenger", "Running"),
        (1, "other", "challenger", "Running"),
        (2, "last", "champion", "Running"),
        (2, "last-rival", "challenger", "Running"),
    ]


def test_a_challenger_in_the_middle_changes_nothing_of_the_answer(studio, models):
    plain = studio.pipeline("unwatched").add_model_step(models["hidden"])
    plain.add_model_step(models["score"]).add_model_step(models["last"]).deploy()
    watched = studio.pipeline("watched-too").add_model_step(models["hidden"])
    watched.add_shadow_deploy(models["score"], [models["rival"]], shadow_wait_ms=0)
    watched.add_model_step(models["last"]).deploy()

    for rows in (ROWS[:1], ROWS):
        [one], [other] = (p.infer({"x": rows.tolist()}) for p in (plain, watched))
        assert one.raw["outputs"] == other.raw["outputs"]


def test_several_models_answer_together_or_one_of_them_that_is_selected(studio, models, frame):
    several = [models["score"], models["rival"], models["other"]]
    pipeline = studio.pipeline("several").add_model_step(models["hidden"])
    pipeline.add_multi_model_step(several).add_audit("1:").deploy()
    right = {"score": SCORE, "rival": RIVAL, "other": OTHER}

    answer = pipeline.infer(frame)

    for name, label in {"out.y": "score", "out_rival.y": "rival", "out_other.y": "other"}.items():
        found = column(answer, name).astype(np.float32)
        np.testing.assert_array_equal(found, chained(HIDDEN, right[label]), err_msg=name)

    pipeline.clear().add_model_step(models["hidden"]).add_multi_model_step(several)
    pipeline.add_audit("0:2").add_select(1).add_model_step(models["last"]).deploy()
    answer = pipeline.infer(frame)
    np.testing.assert_array_equal(
        column(answer, "out.p").astype(np.float32), chained(HIDDEN, RIVAL, LAST)
    )


def test_steps_that_do_not_fit_are_refused_before_anything_starts(studio, models, frame):
    pipeline = studio.pipeline("misfit").add_model_step(models["hidden"])
    pipeline.add_model_step(models["score"]).deploy()
    before = pipeline.versions()[0].name()

    pipeline.replace_with_model_step(1, models["last"])
    with pytest.raises(Invalid, match=r"tep 1.*last@1.*'y'.*hidden@1.*'z'"):
        pipeline.deploy()

    fetched = studio.client.get_pipeline("misfit")
    assert fetched.versions()[0].name() == before
    np.testing.assert_array_equal(
        column(fetched.infer(frame), "out.y").astype(np.float32), chained(HIDDEN, SCORE)
    )


def test_a_fetched_chain_runs_again_exactly_as_it_was(studio, models, frame):
    pipeline = studio.pipeline("again").add_model_step(models["hidden"])
    pipeline.add_shadow_deploy(models["score"], [models["rival"]], "joined", 0.5, 70)
    pipeline.add_validations(high="out.y[1] > 0.5").add_audit("1:")
    pipeline.add_random_split([(3, models["last"]), (1, models["last-rival"])], hash_key="order")
    pipeline.deploy()

    fetched = studio.client.get_pipeline("again")
    assert fetched.definition() == pipeline.definition()
    fetched.deploy()

    newest, before = fetched.versions()[:2]
    assert newest.definition() == before.definition()
    assert not before.diff(newest)
    assert len(fetched.steps()) == 5


def test_chains_are_swapped_under_load_without_a_failed_or_mixed_answer(
    shared_server: Server, studio, models
):
    contents = {"rival": (HIDDEN, RIVAL), "score": (HIDDEN, SCORE), "last": (HIDDEN, SCORE, LAST)}
    right = {name: chained(*chain) for name, chain in contents.items()}
    pipeline = studio.pipeline("swapped").add_model_step(models["hidden"])
    pipeline.add_model_step(models["score"]).deploy()
    bodies = [{"x": ROWS[at : at + 1].tolist()} for at in range(len(ROWS))]

    def is_right(index: int, answer) -> bool:
        expected = right[answer[0]["model_name"]][index : index + 1]
        return np.array_equal(first_output(answer), expected)

    url, token = pipeline.url(), shared_server.token
    with Callers(url, token, bodies, is_right, threads=3) as heard:
        for _ in range(4):
            pipeline.replace_with_model_step(1, models["rival"]).deploy()
            pipeline.replace_with_shadow_deploy(1, models["score"], [models["rival"]])
            pipeline.keep_steps().add_model_step(models["last"]).deploy()
            pipeline.remove_step(2).deploy()

    assert (heard.failures, heard.wrong) == ({}, [])
    assert pipeline.url() == url


def test_a_chain_with_a_split_and_validations_comes_back_after_a_restart(
    server: Server, tmp_path: Path, frame
):
    studio = Studio(server.client(), tmp_path, "steps")
    hidden = studio.upload("hidden", HIDDEN)
    score, rival = studio.upload("score", SCORE, ["z"]), studio.upload("rival", RIVAL, ["z"])
    pipeline = studio.pipeline("survivor").add_model_step(hidden)
    pipeline.add_key_split(score, "order", {1: rival}).add_validations(high="out.y[1] > 0").deploy()
    frame = frame.assign(order=frame["order"] % 2)
    before = pipeline.infer(frame)

    assert server.stop() == 0
    server.start()

    client = server.client()
    client.set_current_workspace(client.get_workspace("steps"))
    after = client.get_pipeline("survivor").infer(frame)
    pd.testing.assert_frame_equal(before.drop(columns="time"), after.drop(columns="time"))
    names = [json.loads(text)["name"] for [text] in after["out._model_split"]]
    assert names == ["score", "rival"] * 6
