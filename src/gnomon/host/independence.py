"""Whether a model answers each row by itself, so that rows of different callers may go together.

A model may leave its first axis open and still mix its rows: a mean over the batch, a cumulative
sum, a sort. Its declared shapes do not tell; running it does.
"""

from __future__ import annotations

import numpy as np

from gnomon.core.tensors import STRING, Array, TensorSpec
from gnomon.host.loaded import LoadedModel, RunFailed

_ROWS = 4
_SCALES = (0.1, 1.0, 10.0)
_RTOL, _ATOL = 1e-5, 1e-6
_OPEN_AXIS = 3  # the size given to further axes that the model leaves open


def is_row_wise(model: LoadedModel) -> bool:
    """Run random rows together and one by one; say whether the outputs are the same.

    Floats may differ by rounding, everything else must be equal. Rows that the model refuses say
    nothing; a model that refuses all of them is not said to be row-wise.
    """
    specs = model.signature.inputs + model.signature.outputs
    if not model.signature.inputs or not all(s.shape and s.shape[0] is None for s in specs):
        return False
    random = np.random.default_rng(20221019)
    agreements = [_agree(model, random, scale) for scale in _SCALES]
    return True in agreements and False not in agreements


def _agree(model: LoadedModel, random: np.random.Generator, scale: float) -> bool | None:
    inputs = tuple(_rows(spec, random, scale) for spec in model.signature.inputs)
    try:
        together = model.run(inputs)
        one_by_one = [
            model.run(tuple(array[row : row + 1] for array in inputs)) for row in range(_ROWS)
        ]
    except RunFailed:
        return None
    if any(not output.ndim or len(output) != _ROWS for output in together):
        return False
    return all(
        _same(alone, beside_others[row : row + 1])
        for row, outputs in enumerate(one_by_one)
        for alone, beside_others in zip(outputs, together, strict=True)
    )


def _rows(spec: TensorSpec, random: np.random.Generator, scale: float) -> Array:
    shape = (_ROWS, *(_OPEN_AXIS if size is None else size for size in spec.shape[1:]))
    if spec.dtype == STRING:
        return random.integers(0, 10, shape).astype(str).astype(object)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if spec.dtype.startswith("float"):
        return (random.standard_normal(shape) * scale).astype(spec.dtype)
    return random.integers(0, max(2, int(scale)), shape).astype(spec.dtype)


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=_RTOL, atol=_ATOL, equal_nan=True))
    return bool(np.array_equal(one, other))
