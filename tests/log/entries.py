"""Entries for the tests of the log, and how two of them are compared: bit for bit."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status, Ticket
from gnomon.core.model import Signature
from gnomon.core.routing import Role, Route, ServedModel
from gnomon.core.tensors import STRING, Array, TensorSpec, dtype_name
from gnomon.log.layouts import Entry
from gnomon.log.logged import LoggedInference, LoggedObservation
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
    ran: ServedModel | None = None,
    anomalies: Mapping[str, Array] | None = None,
) -> InferenceEntry:
    """An inference of one request, whose values say its number."""
    if inputs is None:
        inputs = {"tensor": np.full((rows, 29), number, dtype=np.float32)}
    if outputs is None:
        outputs = (np.full((rows, 1), number / 7, dtype=np.float32),)
    time_us = START_US + number if time_us is None else time_us
    chosen = at.challengers if sampled is None else sampled
    return InferenceEntry(
        request_ids=[f"request-{number}" if request_id is None else request_id],
        times_us=[time_us],
        rows=[rows],
        route=at,
        inputs=inputs,
        champion=Observation(
            model=ran or at.champion,
            status=Status.OK,
            outputs=outputs,
            elapsed_ns=number,
            time_us=time_us + 1,
            anomalies=anomalies or {},
        ),
        sampled=[sum(1 << at.challengers.index(model) for model in chosen)],
        ticket=Ticket(),
    )


def observation(
    of: InferenceEntry,
    model: ServedModel,
    status: Status = Status.OK,
    *,
    outputs: tuple[Array, ...] | None = None,
    code: str = "inference_failed",
) -> ObservationEntry:
    """What a challenger did with an entry's requests: twice the champion's outputs, or an error."""
    if status is Status.OK and outputs is None:
        outputs = tuple(array * 2 for array in of.champion.outputs or ())
    return ObservationEntry(
        request_ids=of.request_ids,
        rows=of.rows,
        route=of.route,
        ticket=of.ticket,
        positions=range(len(of.request_ids)),
        observation=Observation(
            model=model,
            status=status,
            outputs=outputs,
            error=None
            if status in (Status.OK, Status.PENDING)
            else f"{status} of {of.request_ids[0]}",
            elapsed_ns=11,
            time_us=of.times_us[0] + 2,
            code=code,
        ),
    )


def group(entries: Sequence[InferenceEntry]) -> InferenceEntry:
    """Entries of one route with tensors made of rows, as one entry."""
    first = entries[0]
    outputs = zip(*(entry.champion.outputs or () for entry in entries), strict=True)
    anomalies = {
        name: np.concatenate([entry.champion.anomalies[name] for entry in entries])
        for name in first.champion.anomalies
    }
    return replace(
        first,
        request_ids=[id for entry in entries for id in entry.request_ids],
        times_us=[time for entry in entries for time in entry.times_us],
        rows=[rows for entry in entries for rows in entry.rows],
        inputs={
            name: np.concatenate([entry.inputs[name] for entry in entries]) for name in first.inputs
        },
        champion=replace(
            first.champion, outputs=tuple(map(np.concatenate, outputs)), anomalies=anomalies
        ),
        sampled=[mask for entry in entries for mask in entry.sampled],
        ticket=Ticket(),
    )


def numbered(entries: Sequence[Entry], base: int = 0) -> Sequence[Entry]:
    """The entries, with tickets as the writer numbers them."""
    for entry in entries:
        if isinstance(entry, InferenceEntry):
            entry.ticket.number = base
        base += len(entry.request_ids)
    return entries


def requests(entry: Entry) -> list[LoggedInference | LoggedObservation]:
    """The requests of an entry, each as it should be read from the log."""
    ends = np.cumsum(entry.rows)

    def part(array: Array, index: int) -> Array:
        return array if len(ends) == 1 else array[ends[index] - entry.rows[index] : ends[index]]

    def seen(observation: Observation, index: int) -> Observation:
        if observation.outputs is None:
            return observation
        return replace(
            observation,
            outputs=tuple(part(array, index) for array in observation.outputs),
            anomalies={name: part(each, index) for name, each in observation.anomalies.items()},
        )

    if isinstance(entry, ObservationEntry):
        return [
            LoggedObservation(
                request_id=request_id,
                rows=entry.rows[index],
                route=entry.route,
                observation=seen(entry.observation, index),
            )
            for index, request_id in enumerate(entry.request_ids)
        ]
    return [
        LoggedInference(
            request_id=request_id,
            time_us=entry.times_us[index],
            rows=entry.rows[index],
            route=entry.route,
            inputs={name: part(array, index) for name, array in entry.inputs.items()},
            champion=seen(entry.champion, index),
            sampled=tuple(
                model
                for bit, model in enumerate(entry.route.challengers)
                if entry.sampled[index] >> bit & 1
            ),
        )
        for index, request_id in enumerate(entry.request_ids)
    ]


def value(array: Array) -> tuple[object, ...]:
    """All that a tensor is: type, shape and bits."""
    if dtype_name(array) == STRING:
        return STRING, array.shape, [str(text) for text in array.reshape(-1).tolist()]
    return dtype_name(array), array.shape, array.astype(dtype_name(array)).tobytes()


def values(
    of: Entry | LoggedInference | LoggedObservation | Observation | Record,
) -> tuple[object, ...]:
    """All that is said, comparable with ==; of an entry, what is said of its one request."""
    if isinstance(of, InferenceEntry | ObservationEntry):
        [of] = requests(of)
    if isinstance(of, Record):
        return values(of.entry), [values(each) for each in of.challengers]
    if isinstance(of, Observation):
        outputs = None if of.outputs is None else [value(each) for each in of.outputs]
        anomalies = [(name, value(array)) for name, array in sorted(of.anomalies.items())]
        told = of.status, of.error, of.elapsed_ns, of.time_us, of.code
        return of.model, told, outputs, anomalies
    if isinstance(of, LoggedObservation):
        return of.request_id, of.route, of.rows, values(of.observation)
    inputs = [(name, value(array)) for name, array in of.inputs.items()]
    return of.request_id, of.time_us, of.route, of.rows, of.sampled, inputs, values(of.champion)


def tensor_of(tensor: Mapping[str, Any]) -> Array:
    """Decode a tensor of a record as any client would."""
    if tensor["dtype"] == STRING:
        texts = orjson.loads(tensor["data"])
        return np.array(texts, dtype=object).reshape(tensor["shape"])
    return np.frombuffer(tensor["data"], dtype=tensor["dtype"]).reshape(tensor["shape"])


@contextlib.contextmanager
def endless(function: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A child that is killed at the end of the block."""
    with child(function, *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


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
