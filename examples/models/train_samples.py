"""Train the sample models of gnomon and write them to src/gnomon/samples.

The data are synthetic card payments with a planted signal, so what a model can know is known.

Inputs: 29 columns v0..v28, independent standard normal, rounded to 3 decimals. v28 stands for
the log amount; the others for anonymous properties of the payment. Only ten of them matter:
v0..v3, v9, v10, v13, v16, v20 and v28.

Label: fraud (1) with probability 1 / (1 + exp(-z)), where

    z = -26.5 + 12 * drift + 26.5 * testing + 26.5 * takeover

    drift    = (0.5 v0 - 0.5 v1 + 0.4 v2 - 0.4 v3 + 0.3 v28) / sqrt(0.91)
    testing  = 1 if v9 > 1.3 and v10 < -1.2, else 0
    takeover = 1 if v16 > 1.3 and v13 > 0.2 and v20 < -0.2, else 0

About 2.8 % of payments are fraud. `drift` is smooth and slanted: a small network finds it at once,
trees need many cuts. `testing` and `takeover` are corners with sharp edges, which count only
together with `drift`: trees cut them out, a small network blurs them.

Three models are trained, each a plausible candidate:

    fraud-champion  a network with hidden layers of 12 and 6, on the first 50,000 payments
    fraud-boosted   220 boosted trees of depth 3, on all 100,000 payments; truly better
    fraud-forest    40 weighted trees, on the first 3,000 payments only; truly worse

A payment is flagged when its fraud probability is at least THRESHOLD. "Better" and "worse" mean
more and fewer right decisions at that threshold, on 200,000 payments no model was trained on.

Run it from the root of the repository, with the development dependencies installed:

    python examples/models/train_samples.py

Every random number has a fixed seed; the same library versions on the same kind of processor give
the same files.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

# The libraries that train and convert are imported where they are used: the tests draw data with
# this file and need neither of them.
if TYPE_CHECKING:
    import onnx

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]

FOLDER = Path(__file__).resolve().parents[2] / "src" / "gnomon" / "samples"
COLUMNS = 29
THRESHOLD = 0.3
TRAINING_SEED, HELD_OUT_SEED, POPULATION_SEED = 1, 2, 4
TRAINING_ROWS, HELD_OUT_ROWS, POPULATION_ROWS = 100_000, 2_000, 200_000
CHAMPION = "fraud-champion"
# Per model: its file, the name of its input, the name of its output, the training rows it sees.
MODELS = {
    CHAMPION: ("fraud_champion.onnx", "dense_input", "dense_1", 50_000),
    "fraud-boosted": ("fraud_boosted.onnx", "tensor", "variable", TRAINING_ROWS),
    "fraud-forest": ("fraud_forest.onnx", "tensor", "variable", 3_000),
}
# Old enough for every onnxruntime in use.
OPSETS = {"": 15, "ai.onnx.ml": 2}
IR_VERSION = 8


def draw(seed: int, rows: int) -> tuple[Floats, Labels]:
    """Draw payments and their labels by the formula at the top of this file.

    Values lie on a grid of 0.001, so that no value falls between a tree's threshold in double
    and the same threshold in single precision.

    Returns:
        Inputs, float32 [rows, 29], and labels, int8 [rows], 1 = fraud.
    """
    random = np.random.default_rng(seed)
    tensor = np.round(random.standard_normal((rows, COLUMNS)), 3).astype(np.float32)
    v = tensor.astype(np.float64).T
    drift = (0.5 * v[0] - 0.5 * v[1] + 0.4 * v[2] - 0.4 * v[3] + 0.3 * v[28]) / np.sqrt(0.91)
    testing = (v[9] > 1.3) & (v[10] < -1.2)
    takeover = (v[16] > 1.3) & (v[13] > 0.2) & (v[20] < -0.2)
    z = -26.5 + 12.0 * drift + 26.5 * testing + 26.5 * takeover
    labels = random.random(rows) < 1.0 / (1.0 + np.exp(-z))
    return tensor, labels.astype(np.int8)


def train() -> dict[str, Any]:
    """Train the three models. Takes about a minute on one core."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.neural_network import MLPClassifier

    models = {
        CHAMPION: MLPClassifier((12, 6), alpha=1e-3, early_stopping=True, random_state=1),
        "fraud-boosted": GradientBoostingClassifier(
            n_estimators=220,
            max_depth=3,
            learning_rate=0.2,
            subsample=0.5,
            max_features=12,
            random_state=1,
        ),
        # Few rows and a weight on fraud: it raises about as many flags, on poorer grounds.
        "fraud-forest": RandomForestClassifier(
            n_estimators=40,
            max_depth=6,
            max_features=4,
            class_weight={0: 1, 1: 9},
            random_state=1,
        ),
    }
    tensor, labels = draw(TRAINING_SEED, TRAINING_ROWS)
    for name, model in models.items():
        rows = MODELS[name][3]
        model.fit(tensor[:rows], labels[:rows])
    return models


def convert(name: str, model: Any) -> onnx.ModelProto:
    """Convert a trained classifier to ONNX: [batch, 29] inputs to [batch, 1] fraud probability."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    _, input_name, output_name, _ = MODELS[name]
    converted = convert_sklearn(
        model,
        initial_types=[(input_name, FloatTensorType([None, COLUMNS]))],
        options={id(model): {"zipmap": False}},
        target_opset=OPSETS,
    )
    return fraud_probability_only(name, converted, input_name, output_name)


def fraud_probability_only(
    name: str, classifier: onnx.ModelProto, input_name: str, output_name: str
) -> onnx.ModelProto:
    """Rebuild a classifier's graph so that its one output is the probability of class 1.

    skl2onnx gives two outputs: the label, and both classes' probabilities [batch, 2]. A Gather
    takes column 1 of the second; the nodes that only served the label are left out.
    """
    import onnx
    from onnx import TensorProto, helper

    probabilities = classifier.graph.output[1].name
    nodes = nodes_behind(classifier.graph, probabilities)
    nodes.append(
        helper.make_node("Gather", [probabilities, "class_1"], [output_name], name="fraud", axis=1)
    )
    used = {wanted for node in nodes for wanted in node.input}
    constants = [tensor for tensor in classifier.graph.initializer if tensor.name in used]
    constants.append(helper.make_tensor("class_1", TensorProto.INT64, [1], [1]))
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", COLUMNS])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", 1])],
        constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid(domain, OPSETS[domain])
            for domain in sorted({node.domain for node in nodes} | {""})
        ],
        ir_version=IR_VERSION,
        producer_name="skl2onnx",
        producer_version=version("skl2onnx"),
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def nodes_behind(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """List the nodes that `output` depends on, in the graph's own (topological) order."""
    wanted = {output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def run(path: Path, tensor: Floats) -> Floats:
    """Answer all rows with the ONNX file; fraud probabilities, float32 [rows]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers: Floats = session.run(None, {session.get_inputs()[0].name: tensor})[0]
    return answers[:, 0]


def auc(labels: Labels, answers: Floats) -> float:
    """Chance that a random fraud is ranked above a random honest payment, ties counted half."""
    _, position, count = np.unique(answers, return_inverse=True, return_counts=True)
    mean_rank = (np.cumsum(count) - (count - 1) / 2)[position]
    frauds = int(labels.sum())
    honest = len(labels) - frauds
    wins = mean_rank[labels == 1].sum() - frauds * (frauds + 1) / 2
    return float(wins / (frauds * honest))


def quality(labels: Labels, answers: Floats) -> dict[str, float]:
    """Say how good a model's answers are, by rank and by decision at THRESHOLD."""
    flagged = answers >= THRESHOLD
    fraud = labels == 1
    caught = int((flagged & fraud).sum())
    return {
        "auc": round(auc(labels, answers), 6),
        "accuracy": round(float((flagged == fraud).mean()), 6),
        "precision": round(caught / int(flagged.sum()), 6),
        "recall": round(caught / int(fraud.sum()), 6),
        "f1": round(2 * caught / int(flagged.sum() + fraud.sum()), 6),
        "flagged": int(flagged.sum()),
    }


def duel(labels: Labels, champion: Floats, challenger: Floats) -> dict[str, float]:
    """Count the rows decided differently, and who was right there.

    `mcnemar_z` is (better - worse) / sqrt(better + worse): about normal(0, 1) if the two models
    were equally good. Source: McNemar, Psychometrika 12 (1947).
    """
    fraud = labels == 1
    differs = (champion >= THRESHOLD) != (challenger >= THRESHOLD)
    better = int((differs & ((challenger >= THRESHOLD) == fraud)).sum())
    worse = int(differs.sum()) - better
    return {
        "disagreement": round(float(differs.mean()), 6),
        "better": better,
        "worse": worse,
        "mcnemar_z": round((better - worse) / max(better + worse, 1) ** 0.5, 3),
    }


def measure(trained: dict[str, Any]) -> dict[str, Any]:
    """Measure the written ONNX files on both fresh samples and against what they came from."""
    samples = {
        "held_out": draw(HELD_OUT_SEED, HELD_OUT_ROWS),
        "population": draw(POPULATION_SEED, POPULATION_ROWS),
    }
    models: dict[str, Any] = {}
    for name, (file, input_name, output_name, rows) in MODELS.items():
        models[name] = {
            "file": file,
            "input": input_name,
            "output": output_name,
            "training_rows": rows,
            "largest_difference": {},
        }
    for sample, (tensor, labels) in samples.items():
        answers = {name: run(FOLDER / MODELS[name][0], tensor) for name in MODELS}
        for name, answer in answers.items():
            reference = trained[name].predict_proba(tensor)[:, 1]
            models[name]["largest_difference"][sample] = float(np.abs(answer - reference).max())
            models[name][sample] = quality(labels, answer)
            if name != CHAMPION:
                models[name][sample] |= duel(labels, answers[CHAMPION], answer)
    return {
        "threshold": THRESHOLD,
        "rows": {sample: len(labels) for sample, (_, labels) in samples.items()},
        "fraud_rows": {sample: int(labels.sum()) for sample, (_, labels) in samples.items()},
        "seeds": {
            "training": TRAINING_SEED,
            "held_out": HELD_OUT_SEED,
            "population": POPULATION_SEED,
        },
        "models": models,
        "versions": {
            library: version(library)
            for library in ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")
        },
    }


def write_rows() -> None:
    """Write held_out.parquet, and as smoke test a fraud that the better model alone catches."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tensor, labels = draw(HELD_OUT_SEED, HELD_OUT_ROWS)
    column = pa.FixedSizeListArray.from_arrays(pa.array(tensor.ravel()), COLUMNS)
    table = pa.table({"tensor": column, "label": pa.array(labels)})
    pq.write_table(table, FOLDER / "held_out.parquet", compression="zstd")

    missed = run(FOLDER / MODELS[CHAMPION][0], tensor) < THRESHOLD
    caught = run(FOLDER / MODELS["fraud-boosted"][0], tensor) >= THRESHOLD
    row = int(np.flatnonzero((labels == 1) & missed & caught)[0])
    values = [round(float(value), 3) for value in tensor[row]]
    (FOLDER / "smoke_test.json").write_text(json.dumps({"tensor": [values]}) + "\n")


def main() -> None:
    """Train, convert, write, measure, and print what was measured."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    trained = train()
    for name, model in trained.items():
        (FOLDER / MODELS[name][0]).write_bytes(convert(name, model).SerializeToString())
    write_rows()
    facts = json.dumps(measure(trained), indent=2)
    (FOLDER / "facts.json").write_text(facts + "\n")
    print(facts)


if __name__ == "__main__":
    main()
