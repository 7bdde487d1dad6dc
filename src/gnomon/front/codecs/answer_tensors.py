"""The answer to named tensors: one object for the request, its outputs flat with their shape."""

from __future__ import annotations

from typing import Any

import orjson

from gnomon.core.binding import takes_rows
from gnomon.core.inference import Observation, Status
from gnomon.core.tensors import DTYPES, Array
from gnomon.front.codecs import non_finite
from gnomon.front.codecs.result import Answer, Result, anomalies


def answer(result: Result, original: Any) -> Answer:
    """Return a list with one object: the outputs flat, with their shape and type.

    Args:
        original: What was sent, for orjson.
    """
    champion, route = result.champion, result.route
    shadow_data = {
        observation.model.label: _outputs(observation)
        for observation in result.challengers
        if observation is not None and observation.status is Status.OK
    }
    checked = champion.anomalies
    answer = {
        "check_failures": [name for name in sorted(checked) if checked[name].any()],
        "elapsed": champion.elapsed_ns,
        "model_name": champion.model.name,
        "model_version": champion.model.uuid,
        "original_data": original,
        "outputs": _outputs(champion),
        "pipeline_name": route.pipeline,
        "shadow_data": shadow_data,
        "time": result.time_ms,
        "request_id": result.request_id,
        "challengers": result.challenger_views(),
    }
    if checked:
        rows = len(next(iter(checked.values()))) if takes_rows(champion.model.signature) else 1
        found = anomalies(champion, rows)
        answer["anomaly"] = {name: array.tolist() for name, array in found.items()}
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
    tensor = {"data": _flat(array), "dim": list(array.shape), "v": 1}
    if not non_finite.is_finite(array):
        tensor["non_finite"] = non_finite.words(array)  # what the nulls in "data" are
    return tensor


def _flat(array: Array) -> Any:
    """Return the values for orjson, floats as float64; it writes NaN and infinity as null."""
    flat = array.reshape(-1)
    if array.size <= non_finite.PLAIN_ELEMENTS_MAX or array.dtype.kind == "O":
        return flat.tolist()
    return flat.astype("float64") if array.dtype.kind == "f" else flat
