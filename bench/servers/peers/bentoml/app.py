"""BentoML: one worker."""

import os

import bentoml
import numpy as np
from model import Model

BATCH = int(os.environ["BENCH_BATCH"])
api = bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=1_000)


@bentoml.service(
    workers=1,
    traffic={"timeout": 10},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Fraud:
    """Takes `{"tensor": [[...]]}`."""

    def __init__(self) -> None:
        self.model = Model()

    @(api if BATCH > 1 else bentoml.api)
    def predict(self, tensor: np.ndarray) -> np.ndarray:
        return self.model(tensor)
