"""What one request came to, and what every answer says of it, in whatever format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gnomon.core import limits
from gnomon.core.binding import takes_rows
from gnomon.core.errors import ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.core.model import Signature
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array, TensorSpec
from gnomon.front.codecs.wanted import DEFAULT, Wanted


class Answer(NamedTuple):
    """The bytes of an answer, further header lines, each ended by CRLF, and what the bytes are."""

    body: bytes
    headers: bytes = b""
    content_type: bytes = b"application/json"


@dataclass(frozen=True, slots=True)
class Result:
    """What one request came to.

    Attributes:
        time_ms: When the request arrived, milliseconds since 1970.
        champion: Always ok.
        challengers: None where one has not ended.
        sampled: Which challengers were to run, as bits: bit i is the route's i-th.
    """

    route: Route
    request_id: str
    time_ms: int
    champion: Observation
    challengers: tuple[Observation | None, ...]
    wanted: Wanted = DEFAULT
    sampled: int = -1

    def by_label(self) -> list[tuple[ServedModel, Observation | None]]:
        """Return the challengers in the order of their labels."""
        pairs = zip(self.route.challengers, self.challengers, strict=True)
        return sorted(pairs, key=lambda pair: pair[0].label)

    def challenger_views(self) -> dict[str, dict[str, Any]]:
        """Return, by label, how each sampled challenger fared, without its outputs."""
        both = zip(self.route.challengers, self.challengers, strict=True)
        return {
            model.label: view(model, observation)
            for index, (model, observation) in enumerate(both)
            if self.sampled >> index & 1
        }

    def challengers_header(self) -> bytes:
        """Return the header line that says how each challenger fared; none without challengers."""
        if not self.route.challengers:
            return b""
        views = self.challenger_views()
        for shown in views.values():
            if shown["error"] is not None:
                shown["error"] = shown["error"][: limits.ERROR_TEXT_CHARS_MAX]
        # json, because a header takes ASCII only, and it escapes the rest
        text = json.dumps(views, separators=(",", ":"), ensure_ascii=True)
        return f"X-Gnomon-Challengers: {text}\r\n".encode()


def view(model: ServedModel, observation: Observation | None) -> dict[str, Any]:
    """Return how a challenger fared with a request, without its outputs."""
    shown: dict[str, Any] = {
        "model_name": model.name,
        "model_version": model.uuid,
        "status": Status.PENDING,
        "error": None,
        "elapsed": 0,
    }
    if observation is not None:
        shown["status"] = observation.status
        shown["error"] = observation.error
        shown["elapsed"] = observation.elapsed_ns
    return shown


def row_outputs(observation: Observation, rows: int) -> tuple[Array, ...] | None:
    """Return outputs whose first axis is the row; None if there is not one part for each row.

    What a model that takes no rows made of a request's only row is that row's as a whole, but
    for outputs that it declares to have one row.
    """
    if observation.outputs is None:
        return None
    signature = observation.model.signature
    outputs = tuple(
        array if has_row_axis(spec, signature, rows) else array[np.newaxis]
        for spec, array in zip(signature.outputs, observation.outputs, strict=True)
    )
    return outputs if all(array.ndim and len(array) == rows for array in outputs) else None


def has_row_axis(spec: TensorSpec, signature: Signature, rows: int) -> bool:
    """Say whether the first axis of an output is taken for the row."""
    return rows != 1 or spec.shape[:1] == (1,) or takes_rows(signature)


def check_row_outputs(champion: Observation, rows: int) -> None:
    """Raise ModelFailed if the champion's outputs do not have one part for each row."""
    if row_outputs(champion, rows) is not None:
        return
    assert champion.outputs is not None
    shapes = ", ".join(
        f"{spec.name!r} has shape {list(array.shape)}"
        for spec, array in zip(champion.model.signature.outputs, champion.outputs, strict=True)
    )
    raise ModelFailed(
        f"{champion.model}: the outputs cannot be split into {rows} rows: {shapes}. Ask for them "
        "whole: Accept: application/json; format=named-tensors.",
        model=str(champion.model),
    )


def anomalies(champion: Observation, rows: int) -> dict[str, Array]:
    """Return what validations found in each row: "count", how many, then each by its name.

    What they found in a request as a whole, they found in its only row. Without validations there
    is nothing.
    """
    found = {
        name: array if len(array) == rows else np.full(rows, array.any())
        for name, array in sorted(champion.anomalies.items())
    }
    if not found:
        return {}
    counts: Array = np.stack(list(found.values())).sum(axis=0, dtype=np.uint32)
    return {"count": counts, **found}


def metadata(result: Result, read_ns: int) -> Mapping[str, tuple[Any, str]]:
    """Return value and type of each column of metadata, by its name; None where nothing is known.

    Args:
        read_ns: How long reading the request took, nanoseconds; 0: not measured.
    """
    route, champion = result.route, result.champion
    last = {"model_name": champion.model.name, "model_sha": champion.model.sha256}
    found: dict[str, tuple[Any, str]] = {
        "last_model": (json.dumps(last, separators=(",", ":")), "string"),
        "pipeline_version": (route.pipeline_version, "string"),
        "elapsed": ([read_ns, champion.elapsed_ns], "uint64"),
        "dropped": ([], "string"),
        "partition": (f"{route.pipeline}-{route.deployment_id}", "string"),
    }
    statuses = {route.champion.label: str(champion.status)}
    statuses |= {label: str(shown["status"]) for label, shown in result.challenger_views().items()}
    for model, observation in [(route.champion, champion), *result.by_label()]:
        elapsed_ns = None if observation is None else observation.elapsed_ns
        found |= {
            f"models.{model.label}.name": (model.name, "string"),
            f"models.{model.label}.version": (model.uuid, "string"),
            f"models.{model.label}.sha": (model.sha256, "string"),
            f"models.{model.label}.status": (statuses.get(model.label), "string"),
            f"models.{model.label}.elapsed": (elapsed_ns, "uint64"),
        }
    return found
