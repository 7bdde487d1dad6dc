"""Entries for the tests of the log, and how two of them are compared: bit for bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status
from gnomon.core.model import Signature
from gnomon.core.routing import Role, Route, ServedModel
from gnomon.core.tensors import STRING, Array, TensorSpec, dtype_name
from gnomon.log.layouts import Entry
from gnomon.log.records import Record

START_US = 1_700_000_000_000_000
ROOT = Path(__file__).parents[2]


def served(name: str, role: Role, ordinal: int = 1, outputs: int = 1) -> ServedModel:
    specs = tuple(
        TensorSpec(name=f"y{index}", dtype="float32", shape=(None, 1)) for index in range(outputs)
    )
    return ServedModel(
        label=name,
        role=role,
        name=name,
        ordinal=ordinal,
        version_id=ordinal,
        uuid=f"uuid-of-{name}-{ordinal}",
        sha256=f"{ordinal:064x}",
        signature=Signature(
            inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 29)),), outputs=specs
        ),
        tensor_fields=None,
        host=f"host-{name}-{ordinal}",
    )


def route(pipeline_id: int = 1, version: str = "v1", challengers: Sequence[str] = ()) -> Route:
    return Route(
        deployment_id=pipeline_id,
        workspace_id=1,
        pipeline_id=pipeline_id,
        pipeline=f"pipeline-{pipeline_id}",
        pipeline_version=version,
        champion=served("champion", "champion"),
        challengers=tuple(served(name, "challenger") for name in challengers),
        mode="async",
        shadow_wait_ms=1_000,
    )


ALONE = route()
SHADOWED = route(challengers=("zeta", "alpha"))


def inference(
    number: int,
    at: Route = ALONE,
    *,
    request_id: str | None = None,
    rows: int = 1,
    inputs: Mapping[str, Array] | None = None,
    outputs: tuple[Array, ...] | None = None,
    sampled: tuple[ServedModel, ...] | None = None,
    time_us: int | None = None,
) -> InferenceEntry:
    """An inference whose values say its number."""
    if inputs is None:
        inputs = {"tensor": np.full((rows, 29), number, dtype=np.float32)}
    if outputs is None:
        outputs = (np.full((rows, 1), number / 7, dtype=np.float32),)
    time_us = START_US + number if time_us is None else time_us
    return InferenceEntry(
        request_id=f"request-{number}" if request_id is None else request_id,
        time_us=time_us,
        route=at,
        inputs=inputs,
        rows=rows,
        champion=Observation(
            model=at.champion,
            status=Status.OK,
            outputs=outputs,
            elapsed_ns=number,
            time_us=time_us + 1,
        ),
        sampled=at.challengers if sampled is None else sampled,
    )


def observation(
    of: InferenceEntry,
    model: ServedModel,
    status: Status = Status.OK,
    *,
    outputs: tuple[Array, ...] | None = None,
    code: str = "inference_failed",
) -> ObservationEntry:
    """What a challenger did with an inference: twice the champion's outputs, or an error."""
    if status is Status.OK and outputs is None:
        outputs = tuple(array * 2 for array in of.champion.outputs or ())
    return ObservationEntry(
        request_id=of.request_id,
        route=of.route,
        rows=of.rows,
        observation=Observation(
            model=model,
            status=status,
            outputs=outputs,
            error=None if status in (Status.OK, Status.PENDING) else f"{status} of {of.request_id}",
            elapsed_ns=11,
            time_us=of.time_us + 2,
            code=code,
        ),
    )


def value(array: Array) -> tuple[object, ...]:
    """All that a tensor is: type, shape and bits."""
    if dtype_name(array) == STRING:
        return STRING, array.shape, [str(text) for text in array.reshape(-1).tolist()]
    return dtype_name(array), array.shape, array.astype(dtype_name(array)).tobytes()


def values(entry: Entry | Observation | Record) -> tuple[object, ...]:
    """All that an entry says, comparable with ==."""
    if isinstance(entry, Record):
        return values(entry.entry), [values(each) for each in entry.challengers]
    if isinstance(entry, Observation):
        outputs = None if entry.outputs is None else [value(each) for each in entry.outputs]
        told = (entry.error, entry.elapsed_ns, entry.time_us, entry.code)
        return entry.model, entry.status, outputs, *told
    if isinstance(entry, ObservationEntry):
        return entry.request_id, entry.route, entry.rows, values(entry.observation)
    inputs = [(name, value(array)) for name, array in entry.inputs.items()]
    known = (entry.request_id, entry.time_us, entry.route, entry.rows, entry.sampled)
    return *known, inputs, values(entry.champion)


def tensor_of(tensor: Mapping[str, Any]) -> Array:
    """Decode a tensor of a record as any client would."""
    if tensor["dtype"] == STRING:
        texts = orjson.loads(tensor["data"])
        return np.array(texts, dtype=object).reshape(tensor["shape"])
    return np.frombuffer(tensor["data"], dtype=tensor["dtype"]).reshape(tensor["shape"])


def child(function: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a function of `tests.log.children` in a process of its own."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.log import children; "
        f"children.{function}(*sys.argv[1:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **options,
    )
