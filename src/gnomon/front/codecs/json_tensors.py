"""`{"tensor": [[...]]}` and other named inputs in JSON: one result object for the request."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson

from gnomon.core import limits
from gnomon.core.errors import InputMismatch
from gnomon.core.inference import Observation, Status
from gnomon.core.tensors import DTYPES, Array
from gnomon.front.codecs.columns import Columns
from gnomon.front.codecs.document import Answer, Document, Result

_PLAIN_ELEMENTS_MAX = 64  # up to here Python numbers are quicker than orjson's way into numpy
_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class NamedTensors(Document):
    """A JSON object: input name to nested lists.

    Raises:
        InputMismatch: More names than a request may have tensors.
    """

    __slots__ = ("_body",)

    strict = True

    def __init__(self, parsed: dict[str, object], body: bytes) -> None:
        if len(parsed) > limits.TENSORS_PER_REQUEST_MAX:
            raise InputMismatch(
                f"The request has {len(parsed)} inputs; at most "
                f"{limits.TENSORS_PER_REQUEST_MAX} are taken."
            )
        super().__init__(Columns(parsed), None)
        self._body = body

    def answer(self, result: Result) -> Answer:
        """Return a list with one object: the outputs flat, with their shape and type."""
        champion, route = result.champion, result.route
        shadow_data = {
            observation.model.label: _outputs(observation)
            for observation in result.challengers
            if observation is not None and observation.status is Status.OK
        }
        answer = {
            "check_failures": [],
            "elapsed": champion.elapsed_ns,
            "model_name": champion.model.name,
            "model_version": champion.model.uuid,
            "original_data": orjson.Fragment(self._body),  # what was sent, to the last digit
            "outputs": _outputs(champion),
            "pipeline_name": route.pipeline,
            "shadow_data": shadow_data,
            "time": result.time_ms,
            "request_id": result.request_id,
            "challengers": result.challenger_views() if route.challengers else {},
        }
        return Answer(orjson.dumps([answer], option=orjson.OPT_SERIALIZE_NUMPY))


def _outputs(observation: Observation) -> list[dict[str, Any]]:
    assert observation.outputs is not None
    return [
        {DTYPES[spec.dtype][1]: _tensor(array)}
        for spec, array in zip(
            observation.model.signature.outputs, observation.outputs, strict=True
        )
    ]


def _tensor(array: Array) -> dict[str, Any]:
    values = _flat(array)
    tensor = {"data": values, "dim": list(array.shape), "v": 1}
    if array.dtype.kind == "f" and not _is_finite(values):
        tensor["non_finite"] = _non_finite(array.reshape(-1))
    return tensor


def _is_finite(values: list[float] | Array) -> bool:
    if isinstance(values, list):
        return math.isfinite(sum(values)) or all(map(math.isfinite, values))
    return bool(np.isfinite(values).all())


def _non_finite(flat: Array) -> dict[str, str]:
    """Say by index what the nulls in "data" are."""
    indices = np.flatnonzero(~np.isfinite(flat))
    values = flat[indices].astype("float64").tolist()  # as Python's: "nan", "inf", "-inf"
    return dict(
        zip(map(str, indices.tolist()), map(_WORDS.__getitem__, map(str, values)), strict=True)
    )


def _flat(array: Array) -> Any:
    """Return the values for orjson, floats as float64; it writes NaN and infinity as null."""
    flat = array.reshape(-1)
    if array.size <= _PLAIN_ELEMENTS_MAX or array.dtype.kind == "O":
        return flat.tolist()
    return flat.astype("float64") if array.dtype.kind == "f" else flat
