"""A champion whose capacity is its own, not that of what is around it."""

from __future__ import annotations

from pathlib import Path

import onnx

from bench.isolation import models


def busy(row: models.Row, seconds: float, scratch: Path) -> Path:
    """Write a model that takes about so long for a row, and one row at a time; return its file.

    Args:
        row: float32 [1, width], any one that it may be given.
    """
    path = scratch / "busy.onnx"
    few, many = 10, 210
    times_s = []
    for rounds in (few, many):
        path.write_bytes(models.looping(row, rounds))
        times_s.append(models.run_s(path, row))
    round_s = (times_s[1] - times_s[0]) / (many - few)
    model = onnx.load_model_from_string(models.looping(row, max(few, round(seconds / round_s))))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    path.write_bytes(model.SerializeToString())
    return path
