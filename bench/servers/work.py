"""The model, the row that is sent, and the right answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from gnomon import samples

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT.parent / "shared" / "tutorial" / "models"
TUTORIAL_CHAMPION = "keras_ccfraud.onnx"


@dataclass(frozen=True)
class Work:
    """What every server is given to do.

    Attributes:
        model: ONNX file of the champion: float32 [n, 29] to float32 [n, 1].
        challengers: ONNX files by name.
        row: One row, 29 floats that float32 holds exactly.
        expected: onnxruntime's own answer to it.
    """

    model: Path
    challengers: dict[str, Path]
    row: list[float]
    expected: float

    @property
    def tensor_body(self) -> bytes:
        """Return the row as `{"tensor": [[...]]}`."""
        return json.dumps({"tensor": [self.row]}).encode()


def load() -> Work:
    """Return the tutorial's models where they are beside the clone, else gnomon's samples."""
    model, challengers = samples.champion_path(), samples.challenger_paths()
    if (TUTORIAL / TUTORIAL_CHAMPION).exists():
        model = TUTORIAL / TUTORIAL_CHAMPION
        others = sorted(path for path in TUTORIAL.glob("*.onnx") if path != model)
        challengers = {path.stem.lower().replace("_", "-"): path for path in others}
    row, expected = telling_row(model)
    return Work(model=model, challengers=challengers, row=row, expected=expected)


def of_row(given: Work, row: npt.NDArray[np.float32]) -> Work:
    """Return the same work with another row, float32 [1, 29]."""
    expected = float(run(session(given.model), row)[0])
    return replace(given, row=row[0].astype(np.float64).tolist(), expected=expected)


def session(model: Path) -> onnxruntime.InferenceSession:
    """Load a model as all the servers do: one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def telling_row(model: Path) -> tuple[list[float], float]:
    """Return the held-out row whose answer is nearest to a half, and that answer.

    An answer that is 0 or 1 to the last bit would be right too often by accident.
    """
    rows, _ = samples.held_out()
    answers = run(session(model), rows)
    index = int(np.argmin(np.abs(answers - 0.5)))
    row = rows[index : index + 1]
    return row[0].astype(np.float64).tolist(), float(run(session(model), row)[0])


def run(loaded: onnxruntime.InferenceSession, rows: npt.NDArray[np.float32]) -> npt.NDArray:
    """Return one answer a row."""
    return loaded.run(None, {loaded.get_inputs()[0].name: rows})[0].ravel()
