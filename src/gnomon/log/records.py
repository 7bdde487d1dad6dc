"""What a reader of the log gets: one row per request, with what every model did.

The schema is the same for all pipelines and models, so that a table of many pipeline versions is
one table. A tensor is `{name, dtype, shape, data}`: `dtype` a key of `core.tensors.DTYPES`, `data`
its values as little-endian bytes in C order; for strings the UTF-8 JSON list of the flat texts.

    request_id        string            the caller's, or the front's
    time              timestamp[us]     when the request arrived, UTC
    pipeline          string
    pipeline_version  string            uuid of the version that answered
    rows              int64             input rows
    inputs            list of tensors   columns as logged
    anomalies         list of tensors   what each validation found, by name: a bool per row
    models            list of           the champion, then the challengers by label
        label, role, name               role is "champion" or "challenger"
        ordinal, version, sha           the version's number, uuid and file
        status                          a value of `core.inference.Status`
        error                           null unless something went wrong
        elapsed_ns                      in the host; 0 if the model did not run
        time                            when it ended; null while it has not
        outputs                         tensors; empty unless the status is ok
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import orjson
import pyarrow as pa

from gnomon.core.inference import Observation
from gnomon.core.tensors import STRING, Array, dtype_name
from gnomon.log import arrays
from gnomon.log.logged import LoggedInference

TENSOR = pa.struct(
    [
        ("name", pa.utf8()),
        ("dtype", pa.utf8()),
        ("shape", pa.list_(pa.int64())),
        ("data", pa.binary()),
    ]
)
TENSORS = pa.list_(TENSOR)
TIME = pa.timestamp("us", tz="UTC")
MODEL = pa.struct(
    [
        ("label", pa.utf8()),
        ("role", pa.utf8()),
        ("name", pa.utf8()),
        ("ordinal", pa.int64()),
        ("version", pa.utf8()),
        ("sha", pa.utf8()),
        ("status", pa.utf8()),
        ("error", pa.utf8()),
        ("elapsed_ns", pa.int64()),
        ("time", TIME),
        ("outputs", TENSORS),
    ]
)
MODELS = pa.list_(MODEL)
SCHEMA = pa.schema(
    [
        ("request_id", pa.utf8()),
        ("time", TIME),
        ("pipeline", pa.utf8()),
        ("pipeline_version", pa.utf8()),
        ("rows", pa.int64()),
        ("inputs", TENSORS),
        ("anomalies", TENSORS),
        ("models", MODELS),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request with all that is known of it.

    Attributes:
        entry: What was logged with the answer.
        challengers: One observation for each that was sampled, sorted by label; `pending` while
            there is none, `lost` when there never will be one.
    """

    entry: LoggedInference
    challengers: tuple[Observation, ...]


def table_of(records: Sequence[Record]) -> pa.Table:
    """Return the records as a table of `SCHEMA`, in their order.

    Raises:
        OverflowError: Their tensors are more than 2 GiB.
    """
    entries = [record.entry for record in records]
    observations = [(record.entry.champion, *record.challengers) for record in records]
    models = _models([each for several in observations for each in several])
    columns = [
        arrays.texts([entry.request_id for entry in entries]),
        arrays.instants([entry.time_us for entry in entries]),
        arrays.texts([entry.route.pipeline for entry in entries]),
        arrays.texts([entry.route.pipeline_version for entry in entries]),
        arrays.numbers((entry.rows for entry in entries), "int64", len(entries)),
        _tensors([entry.inputs.items() for entry in entries]),
        _tensors([entry.champion.anomalies.items() for entry in entries]),
        arrays.lists(models, [len(several) for several in observations], MODELS),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _models(observations: Sequence[Observation]) -> pa.Array:
    models = [observation.model for observation in observations]
    count = len(models)
    columns = [
        arrays.texts([model.label for model in models]),
        arrays.texts([model.role for model in models]),
        arrays.texts([model.name for model in models]),
        arrays.numbers((model.ordinal for model in models), "int64", count),
        arrays.texts([model.uuid for model in models]),
        arrays.texts([model.sha256 for model in models]),
        arrays.texts([observation.status.value for observation in observations]),
        arrays.texts_or_null([observation.error for observation in observations]),
        arrays.numbers((observation.elapsed_ns for observation in observations), "int64", count),
        arrays.instants([observation.time_us for observation in observations]),
        _tensors([_named_outputs(observation) for observation in observations]),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(MODEL))


def _named_outputs(observation: Observation) -> list[tuple[str, Array]]:
    outputs = observation.outputs or ()
    specs = observation.model.signature.outputs[: len(outputs)]
    return [
        (spec.name if spec else f"output_{index}", array)
        for index, (spec, array) in enumerate(zip_longest(specs, outputs))
    ]


def _tensors(groups: Sequence[Iterable[tuple[str, Array]]]) -> pa.Array:
    """Return one list of tensors per group."""
    lengths: list[int] = []
    named: list[tuple[str, Array]] = []
    for group in groups:
        before = len(named)
        named.extend(group)
        lengths.append(len(named) - before)
    axes = [size for _, array in named for size in array.shape]
    shapes = arrays.lists(
        arrays.numbers(axes, "int64", len(axes)),
        [array.ndim for _, array in named],
        TENSOR.field("shape").type,
    )
    columns = [
        arrays.texts([name for name, _ in named]),
        arrays.texts([dtype_name(array) for _, array in named]),
        shapes,
        arrays.binaries([data_of(array) for _, array in named]),
    ]
    return arrays.lists(pa.StructArray.from_arrays(columns, fields=list(TENSOR)), lengths, TENSORS)


def data_of(array: Array) -> bytes:
    """Return a tensor's values as the `data` of a record."""
    if dtype_name(array) == STRING:
        return orjson.dumps([str(value) for value in array.reshape(-1).tolist()])
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
