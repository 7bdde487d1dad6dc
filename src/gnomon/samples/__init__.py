"""Three small fraud models of our own, and payments to try them on.

The models answer the same question, how likely a card payment is fraud, from 29 floats:

    fraud-champion  a small neural network
    fraud-boosted   boosted trees; decides better than the champion
    fraud-forest    a random forest trained on too little; decides worse than the champion

Each takes float32 [batch, 29] and gives float32 [batch, 1]; a payment counts as fraud when the
answer is at least `THRESHOLD`. `facts()` says how good each is and how often each challenger
disagrees. The data are synthetic: `examples/models/train_samples.py` made them and the models.

Importing this package imports only the standard library; `held_out` needs numpy and pyarrow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "BOOSTED",
    "CHAMPION",
    "FOREST",
    "THRESHOLD",
    "challenger_paths",
    "champion_path",
    "facts",
    "held_out",
    "smoke_test_path",
]

CHAMPION = "fraud-champion"
BOOSTED = "fraud-boosted"
FOREST = "fraud-forest"

THRESHOLD = 0.3
"""A payment is flagged as fraud when the model's answer is at least this."""

_FOLDER = Path(__file__).parent


def champion_path() -> Path:
    """Path of the champion's ONNX file; input `dense_input`, output `dense_1`."""
    return _FOLDER / "fraud_champion.onnx"


def challenger_paths() -> dict[str, Path]:
    """Paths of the challengers' ONNX files by model name; input `tensor`, output `variable`."""
    return {BOOSTED: _FOLDER / "fraud_boosted.onnx", FOREST: _FOLDER / "fraud_forest.onnx"}


def smoke_test_path() -> Path:
    """Path of one payment as JSON, {"tensor": [[29 floats]]}.

    It is a fraud that the champion misses and fraud-boosted catches.
    """
    return _FOLDER / "smoke_test.json"


def held_out() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Read the 2,000 payments that no model was trained on.

    Returns:
        Inputs, float32 [2000, 29], and labels, int8 [2000], 1 = fraud; row i belongs to label i.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(_FOLDER / "held_out.parquet")
    tensor = table.column("tensor").combine_chunks()
    width = tensor.type.list_size
    return (
        tensor.flatten().to_numpy().reshape(-1, width),
        table.column("label").combine_chunks().to_numpy(),
    )


def facts() -> dict[str, Any]:
    """Say what was measured when the models were made.

    Returns:
        The content of `facts.json`: `threshold`, `rows`, `fraud_rows` and `seeds` of the samples,
        `versions` of the libraries, and per model under `models`: `file`, `input`, `output`,
        `training_rows`, `largest_difference` (ONNX file against the library that trained it, in
        probability, per sample), and for the samples `held_out` (the 2,000 rows shipped here) and
        `population` (200,000 fresh rows) `auc`, `accuracy`, `precision`, `recall`, `f1`,
        `flagged`. Challengers also have `disagreement` (share of rows decided otherwise than by
        the champion), `better` and `worse` (rows where the challenger, or the champion, was
        right) and `mcnemar_z`.
    """
    content: dict[str, Any] = json.loads((_FOLDER / "facts.json").read_text(encoding="utf-8"))
    return content
