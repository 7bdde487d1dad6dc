"""The shipped sample models do what their documentation says."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from gnomon import samples

PATHS = {samples.CHAMPION: samples.champion_path(), **samples.challenger_paths()}
CHALLENGERS = (samples.BOOSTED, samples.FOREST)
SCRIPT = Path(__file__).parents[2] / "examples" / "models" / "train_samples.py"
FRESH_SEED, FRESH_ROWS = 5, 50_000


@pytest.fixture(scope="module")
def sessions():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return {
        name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for name, path in PATHS.items()
    }


@pytest.fixture(scope="module")
def rows():
    return samples.held_out()


@pytest.fixture(scope="module")
def held_out_answers(sessions, rows):
    return {name: answer(session, rows[0]) for name, session in sessions.items()}


@pytest.fixture(scope="module")
def fresh(sessions):
    """Labels and answers on payments drawn anew by the formula, from a seed used nowhere else."""
    spec = importlib.util.spec_from_file_location("train_samples", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    tensor, labels = script.draw(FRESH_SEED, FRESH_ROWS)
    return labels, {name: answer(session, tensor) for name, session in sessions.items()}


def answer(session, tensor):
    return session.run(None, {session.get_inputs()[0].name: tensor})[0][:, 0]


def area_under_curve(labels, answers):
    """Share of (fraud, honest) pairs that the answers rank rightly, ties counted half."""
    honest = np.sort(answers[labels == 0])
    frauds = answers[labels == 1]
    below = np.searchsorted(honest, frauds, side="left")
    not_above = np.searchsorted(honest, frauds, side="right")
    return (below + not_above).sum() / 2 / (len(frauds) * len(honest))


def count_better_and_worse(labels, answers, challenger):
    """Rows decided differently: how often the challenger was right, and how often the champion."""
    right = {
        name: (answers[name] >= samples.THRESHOLD) == (labels == 1)
        for name in (samples.CHAMPION, challenger)
    }
    better = int((right[challenger] & ~right[samples.CHAMPION]).sum())
    worse = int((right[samples.CHAMPION] & ~right[challenger]).sum())
    return better, worse


def test_the_names_stand_for_files_below_300_kilobytes():
    assert list(samples.challenger_paths()) == ["fraud-boosted", "fraud-forest"]
    assert all(0 < path.stat().st_size < 300_000 for path in PATHS.values())


def test_importing_the_samples_imports_the_standard_library_only():
    code = (
        "import sys, gnomon.samples; "
        "print([name for name in ('numpy', 'pyarrow', 'onnxruntime') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "input_name", "output_name"),
    [
        ("fraud-champion", "dense_input", "dense_1"),
        ("fraud-boosted", "tensor", "variable"),
        ("fraud-forest", "tensor", "variable"),
    ],
)
def test_each_model_declares_29_floats_in_and_one_float_out(
    sessions, name, input_name, output_name
):
    [given] = sessions[name].get_inputs()
    [made] = sessions[name].get_outputs()
    assert (given.name, given.type, given.shape) == (input_name, "tensor(float)", ["batch", 29])
    assert (made.name, made.type, made.shape) == (output_name, "tensor(float)", ["batch", 1])


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("batch", [0, 1, 2, 7, 2000])
def test_each_model_answers_batches_of_any_size(sessions, rows, name, batch):
    session = sessions[name]
    [output] = session.run(None, {session.get_inputs()[0].name: rows[0][:batch]})
    assert output.shape == (batch, 1)
    assert output.dtype == np.float32


@pytest.mark.parametrize("name", PATHS)
def test_a_row_alone_gets_the_answer_it_gets_in_a_batch(sessions, rows, held_out_answers, name):
    alone = [answer(sessions[name], rows[0][i : i + 1])[0] for i in range(200)]
    np.testing.assert_allclose(alone, held_out_answers[name][:200], rtol=0, atol=1e-6)


def test_the_held_out_rows_have_29_floats_and_a_label_each(rows):
    tensor, labels = rows
    assert (tensor.shape, tensor.dtype) == ((2000, 29), np.float32)
    assert (labels.shape, labels.dtype) == ((2000,), np.int8)
    assert set(labels.tolist()) == {0, 1}
    assert 0.01 <= labels.mean() <= 0.03


@pytest.mark.parametrize("name", PATHS)
def test_each_model_ranks_frauds_well_on_held_out_rows(rows, held_out_answers, name):
    assert area_under_curve(rows[1], held_out_answers[name]) > 0.85


def test_the_champion_is_neither_trivial_nor_perfect(fresh):
    labels, answers = fresh
    accuracy = ((answers[samples.CHAMPION] >= samples.THRESHOLD) == (labels == 1)).mean()
    assert 1 - labels.mean() < accuracy < 0.99


@pytest.mark.parametrize("name", CHALLENGERS)
def test_each_challenger_disagrees_on_one_to_five_percent(rows, held_out_answers, fresh, name):
    for answers in (held_out_answers, fresh[1]):
        flags = answers[name] >= samples.THRESHOLD
        assert 0.01 <= (flags != (answers[samples.CHAMPION] >= samples.THRESHOLD)).mean() <= 0.05


@pytest.mark.parametrize(("name", "sign"), [(samples.BOOSTED, 1), (samples.FOREST, -1)])
def test_boosted_is_truly_better_and_forest_truly_worse(rows, held_out_answers, fresh, name, sign):
    # Given the rows shipped, and many rows drawn anew
    seen = count_better_and_worse(rows[1], held_out_answers, name)
    drawn = count_better_and_worse(*fresh, name)

    # Then the net count points the same way in both, far beyond chance (McNemar) in the new rows
    assert sign * (seen[0] - seen[1]) > 2 * sum(seen) ** 0.5
    assert sign * (drawn[0] - drawn[1]) > 8 * sum(drawn) ** 0.5


@pytest.mark.parametrize("name", PATHS)
def test_the_facts_agree_with_a_recomputation(sessions, rows, held_out_answers, name):
    labels = rows[1]
    stated = samples.facts()["models"][name]
    flagged = held_out_answers[name] >= samples.THRESHOLD
    caught = int((flagged & (labels == 1)).sum())

    assert stated["file"] == PATHS[name].name
    assert stated["input"] == sessions[name].get_inputs()[0].name
    assert stated["output"] == sessions[name].get_outputs()[0].name
    assert (
        stated["held_out"]
        | {
            "auc": pytest.approx(area_under_curve(labels, held_out_answers[name]), abs=1e-5),
            "accuracy": pytest.approx((flagged == (labels == 1)).mean(), abs=1e-6),
            "precision": pytest.approx(caught / flagged.sum(), abs=1e-6),
            "recall": pytest.approx(caught / labels.sum(), abs=1e-6),
            "f1": pytest.approx(2 * caught / (flagged.sum() + labels.sum()), abs=1e-6),
            "flagged": flagged.sum(),
        }
        == stated["held_out"]
    )


@pytest.mark.parametrize("name", CHALLENGERS)
def test_the_facts_state_the_disagreement_with_the_champion(rows, held_out_answers, fresh, name):
    stated = samples.facts()["models"][name]
    better, worse = count_better_and_worse(rows[1], held_out_answers, name)
    assert (stated["held_out"]["better"], stated["held_out"]["worse"]) == (better, worse)
    assert stated["held_out"]["disagreement"] == (better + worse) / len(rows[1])

    # The population's own 200,000 rows are not drawn again: other rows must tell about the same.
    drawn = count_better_and_worse(*fresh, name)
    share = sum(drawn) / FRESH_ROWS
    assert stated["population"]["disagreement"] == pytest.approx(share, rel=0.15)


def test_the_facts_state_the_threshold_the_rows_and_small_conversion_errors(rows):
    stated = samples.facts()
    assert stated["threshold"] == samples.THRESHOLD
    assert stated["rows"]["held_out"] == len(rows[1])
    assert stated["fraud_rows"]["held_out"] == rows[1].sum()
    assert {"onnx", "scikit-learn", "skl2onnx"} <= set(stated["versions"])
    for model in stated["models"].values():
        assert 0 < model["largest_difference"]["held_out"] < 1e-5
        assert 0 < model["largest_difference"]["population"] < 1e-5


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fraud-champion", 0.06740639), ("fraud-boosted", 0.6705628), ("fraud-forest", 0.24250545)],
)
def test_the_smoke_test_gets_the_documented_answers(sessions, name, expected):
    content = json.loads(samples.smoke_test_path().read_text())
    tensor = np.array(content["tensor"], dtype=np.float32)
    assert list(content) == ["tensor"]
    assert tensor.shape == (1, 29)
    assert answer(sessions[name], tensor)[0] == pytest.approx(expected, abs=1e-6)
