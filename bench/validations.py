"""What validations cost a batch of rows, and what they add to the answers.

Run: python -m bench.validations [--runs N]

Each figure is the processor time of one batch, in this process: no server, no model, no socket.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np

from bench.report import Figure, show
from gnomon.core.conditions import parse
from gnomon.core.expressions import Checks
from gnomon.core.inference import Observation, Status
from gnomon.core.model import Signature
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import TensorSpec
from gnomon.front.codecs.answer_tensor_groups import TensorAnswers

ROWS = (1, 64, 1_000)
CONDITIONS: Mapping[str, Mapping[str, str]] = {
    "out.dense_1[1] < 0.5": {"low": "out.dense_1[1] < 0.5"},
    "with an input, arithmetic, AND, OR": {
        "odd": "out.dense_1 > 0.9 AND in.tensor[4] < 0.1 OR ABS(out.dense_1 - 0.5) < 0.01"
    },
    "ten validations": {f"v{n}": f"out.dense_1[1] < 0.{n}" for n in range(1, 11)},
    "of texts: in.country IN (...)": {"country": "in.country = 'FR' OR in.country = 'PT'"},
}
TARGETS_US = {1: 20.0, 64: 20.0}  # of the first: less than a request costs alone


def cpu_us(work: Callable[[], object], runs: int) -> list[float]:
    """Return the processor time of one call, in microseconds, five times."""
    found = []
    for _ in range(5):
        start = process_time()
        for _ in range(runs):
            work()
        found.append((process_time() - start) / runs * 1e6)
    return found


def evaluated(runs: int) -> list[Figure]:
    """Measure what each condition costs a batch."""
    figures = []
    random = np.random.default_rng(7)
    for number, (name, texts) in enumerate(CONDITIONS.items()):
        checks = Checks({key: parse(text, key) for key, text in texts.items()})
        for rows in ROWS:
            outputs = {"dense_1": random.random((rows, 1), np.float32)}
            countries = random.choice(np.array(["DE", "FR", "IT", "PT"], object), rows)
            inputs = {"tensor": random.random((rows, 29), np.float32), "country": countries}
            target = None if number else TARGETS_US.get(rows)
            work = partial(checks.evaluate, inputs, outputs, rows)
            figures.append(Figure(f"{name}, {rows} rows", "us", target, cpu_us(work, runs)))
    return figures


def written(runs: int) -> list[Figure]:
    """Measure the texts of 64 answers, without and with what two validations found."""
    model = ServedModel(
        label="fraud", role="champion", name="fraud", ordinal=1, version_id=1, uuid="u",
        sha256="0" * 64, tensor_fields=None, host="h",
        signature=Signature(
            inputs=(TensorSpec(name="tensor", dtype="float32", shape=(None, 29)),),
            outputs=(TensorSpec(name="dense_1", dtype="float32", shape=(None, 1)),),
        ),
    )  # fmt: skip
    route = Route(
        deployment_id=1, workspace_id=1, pipeline_id=1, pipeline="p", pipeline_version="v",
        champion=model, challengers=(), mode="async", shadow_wait_ms=0,
    )  # fmt: skip
    rows = 64
    scores = np.random.default_rng(7).random((rows, 1), np.float32)
    found = {"high": scores[:, 0] > 0.9, "low": scores[:, 0] < 0.1}
    bodies, ids = [b'{"tensor":[[0.5]]}'] * rows, [f"request-{n}" for n in range(rows)]
    answers = TensorAnswers(route)
    figures = []
    for name, anomalies in (("without", {}), ("with two", found)):
        observation = Observation(
            model=model, status=Status.OK, outputs=(scores,), anomalies=anomalies
        )
        work = partial(answers.bodies, bodies, ids, [1] * rows, [1] * rows, observation, [])
        title = f"64 answers {name} validations, written together"
        figures.append(Figure(title, "us", None, cpu_us(work, runs)))
    return figures


def main() -> int:
    """Measure; return the number of missed targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000, help="of each figure, five times")
    runs = parser.parse_args().runs
    return show([*evaluated(runs), *written(runs)], Path("bench-validations.json"))


if __name__ == "__main__":
    sys.exit(main())
