"""What ONNX Runtime itself says, in a process that has nothing of gnomon."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

PROGRAM = """
import io, sys
import numpy, onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
rows = numpy.load(io.BytesIO(sys.stdin.buffer.read()))
answers = [session.run(None, {name: rows[i : i + 1]})[0] for i in range(len(rows))]
found = io.BytesIO()
numpy.save(found, numpy.concatenate(answers))
sys.stdout.buffer.write(found.getvalue())
"""


def told_by_onnxruntime(model: Path, rows: npt.NDArray) -> npt.NDArray:
    """Return a model's answer to each row, each run by itself.

    Args:
        model: A file with one input and one output.
        rows: [n, ...]; row i is asked as [1, ...].
    """
    given = io.BytesIO()
    np.save(given, rows)
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(model)],
        input=given.getvalue(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    return np.load(io.BytesIO(done.stdout))
