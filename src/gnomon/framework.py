"""The formats a model file can have, as users of other platforms name them."""

from __future__ import annotations

from enum import StrEnum


class Framework(StrEnum):
    """What wrote a model. gnomon serves ONNX and Python; others are refused with what to do."""

    ONNX = "onnx"
    TENSORFLOW = "tensorflow"
    KERAS = "keras"
    PYTHON = "python"
    SKLEARN = "sklearn"
    PYTORCH = "pytorch"
    XGBOOST = "xgboost"
    MLFLOW = "mlflow"
    CUSTOM = "custom"
