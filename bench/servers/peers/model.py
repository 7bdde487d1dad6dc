"""The model as every peer runs it; copied beside each peer's app."""

import os

import numpy as np
import onnxruntime


class Model:
    """One session, one thread: the server has one core."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.name = self.session.get_inputs()[0].name

    def __call__(self, rows) -> np.ndarray:
        """Run on rows [n, 29]; give float32 [n, 1]."""
        return self.session.run(None, {self.name: np.asarray(rows, dtype=np.float32)})[0]
