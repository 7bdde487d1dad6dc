"""One inference from a notebook: what is sent, and what comes back."""

from __future__ import annotations

import json
import os
import pprint
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.core.errors import BodyTooLarge, Invalid, MalformedRequest
from gnomon.core.tensors import DTYPE_OF_TAG, STRING, Array

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What an answer holds, as users of other platforms know it; the rest are attributes.
RAW_KEYS = (
    "check_failures",
    "elapsed",
    "model_name",
    "model_version",
    "original_data",
    "outputs",
    "pipeline_name",
    "shadow_data",
    "time",
)

RECORDS, CUSTOM_JSON, ARROW = "pandas-records", "custom-json", "arrow"
DATA_FORMATS = (RECORDS, CUSTOM_JSON, ARROW)

_COUNT = "count"  # of anomalies a row; no validation is called that


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """How one challenger fared with a request.

    Attributes:
        model_name: Its model's name, which several challengers may share; labels differ.
        model_version: uuid of the version that ran.
        status: "ok", "error", "timeout", "dropped", "schema", or "pending" if it was still
            running when the answer left.
        error: What went wrong, in a sentence; None if nothing did.
        elapsed_ns: Wall time of its run in nanoseconds; 0 if it did not run, or still does.
    """

    model_name: str
    model_version: str
    status: str
    error: str | None
    elapsed_ns: int

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return asdict(self)


def challengers_of(told: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Challenger]:
    """Read what an answer says of its challengers, by label."""
    return {
        label: Challenger(
            model_name=one["model_name"],
            model_version=one["model_version"],
            status=one["status"],
            error=one["error"],
            elapsed_ns=one["elapsed"],
        )
        for label, one in (told or {}).items()
    }


def merged(told: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Merge what several answers say of their challengers.

    Returns:
        By label, as each of them: "elapsed" is the sum; the first that is not "ok" says how the
        challenger fared.
    """
    found: dict[str, dict[str, Any]] = {}
    for part in told:
        for label, one in part.items():
            before = found.setdefault(label, {**one, "status": "ok", "elapsed": 0})
            before["elapsed"] += one["elapsed"]
            if before["status"] == "ok":
                before.update(status=one["status"], error=one["error"])
    return found


class InferenceResult:
    """The answer to one request: the champion's, and what is known of the challengers'.

    Attributes:
        raw: The answer as it came, with exactly the keys of `RAW_KEYS`. `shadow_data` has the
            challengers that were done; None or empty if there are none. `original_data` is None
            if the input was sent as Arrow, as large arrays are, or in several requests.
        request_id: By which the logs know this request, or the first of several.
        request_ids: Of all requests that it was sent in.
        challengers: How each challenger fared, by label.
        anomalies: What each validation found, by name in alphabetical order: a bool for each row.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.raw: dict[str, Any] = {key: answer[key] for key in RAW_KEYS}
        self.request_id: str = answer.get("request_id", "")
        self.request_ids: list[str] = answer.get("request_ids", [self.request_id])
        self.challengers = challengers_of(answer.get("challengers"))
        self.anomalies: dict[str, Array] = {
            name: np.array(found, dtype=bool)
            for name, found in answer.get("anomaly", {}).items()
            if name != _COUNT
        }

    def data(self) -> list[Array]:
        """Return the champion's outputs, in the order of its graph; floats as float64."""
        return decode(self.raw["outputs"])

    def shadow_data(self) -> dict[str, list[Array]]:
        """Return the outputs of each challenger that was done, by label, like `data`."""
        shadow = self.raw["shadow_data"] or {}
        return {label: decode(outputs) for label, outputs in shadow.items()}

    def anomaly_count(self) -> int:
        """Return how many anomalies validations found, in all rows."""
        return sum(int(found.sum()) for found in self.anomalies.values())

    def model(self) -> tuple[str, str]:
        """Return the champion's name and the uuid of its version."""
        return self.raw["model_name"], self.raw["model_version"]

    def time_elapsed(self) -> timedelta:
        """Return how long the champion ran."""
        return timedelta(microseconds=self.raw["elapsed"] / 1000)

    def timestamp(self) -> datetime:
        """Return when the request was answered; aware, in UTC."""
        return datetime.fromtimestamp(self.raw["time"] / 1000, UTC)

    def input_data(self) -> Any:
        """Return what was sent."""
        return self.raw["original_data"]

    def to_json(self) -> dict[str, Any]:
        """Return all of this as JSON values."""
        told = {label: one.to_json() for label, one in self.challengers.items()}
        found = {name: array.tolist() for name, array in self.anomalies.items()}
        anomalies = {"anomalies": found} if found else {}
        return {**self.raw, "request_id": self.request_id, "challengers": told, **anomalies}

    def __repr__(self) -> str:
        return f"InferenceResult({pprint.pformat(self.raw)})"


def decode(outputs: list[dict[str, Any]]) -> list[Array]:
    """Make arrays of outputs as they travel: one {"Float": {"data", "dim", "v"}} each.

    Where values are not finite there is "non_finite" as well: by their index in "data", "NaN",
    "Infinity" or "-Infinity".

    Returns:
        Arrays of shape `dim`: floats as float64, text as object, other types as they are.
    """
    return [_decode(*item) for output in outputs for item in output.items()]


def _decode(tag: str, tensor: Mapping[str, Any]) -> Array:
    name = DTYPE_OF_TAG.get(tag, "float64")
    if name.startswith("float"):
        name = "float64"
    # A null in a float tensor is NaN, unless "non_finite" says which value without a JSON word.
    array = np.array(tensor["data"], dtype=object if name == STRING else name)
    for index, word in tensor.get("non_finite", {}).items():
        array[int(index)] = float(word)
    return array.reshape(tensor["dim"])


def joined(answers: Sequence[Mapping[str, Any]], rows: Sequence[int]) -> dict[str, Any]:
    """Join the answers to one input that was sent in several requests, in order.

    Args:
        answers: As they came.
        rows: How many input rows each request had.

    Returns:
        An answer as to a single request, but without the input, and with "request_ids". A
        challenger's outputs are there if all of the answers have them.

    Raises:
        BodyTooLarge: An output has not one part for each row, so they cannot be joined.
    """
    if len(answers) == 1:
        return {**answers[0], "request_ids": [answers[0]["request_id"]]}
    shadows = [answer["shadow_data"] or {} for answer in answers]
    labels = [label for label in shadows[0] if all(label in shadow for shadow in shadows)]
    return {
        **answers[0],
        "check_failures": sorted({name for answer in answers for name in answer["check_failures"]}),
        "elapsed": sum(answer["elapsed"] for answer in answers),
        "original_data": None,
        "outputs": _joined_outputs([answer["outputs"] for answer in answers], rows),
        "shadow_data": {
            label: _joined_outputs([shadow[label] for shadow in shadows], rows) for label in labels
        },
        "challengers": merged([answer["challengers"] for answer in answers]),
        "request_ids": [answer["request_id"] for answer in answers],
        "anomaly": _joined_anomalies([answer.get("anomaly", {}) for answer in answers]),
    }


def _joined_anomalies(parts: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    return {
        name: [value for part in parts for value in part[name]]
        for name in parts[0]
        if all(name in part for part in parts)
    }


def _joined_outputs(
    parts: Sequence[list[dict[str, Any]]], rows: Sequence[int]
) -> list[dict[str, Any]]:
    return [_joined_output(same, rows) for same in zip(*parts, strict=True)]


def _joined_output(parts: Sequence[dict[str, Any]], rows: Sequence[int]) -> dict[str, Any]:
    [tag] = parts[0]
    tensors = [part[tag] for part in parts]
    if any(tensor["dim"][:1] != [count] for tensor, count in zip(tensors, rows, strict=True)):
        raise BodyTooLarge(
            f"The input is larger than one request may be, and the answers to its parts cannot "
            f"be joined: to {rows[0]} rows the model gave an output of shape {tensors[0]['dim']}."
        )
    data: list[Any] = []
    non_finite: dict[str, str] = {}
    for tensor in tensors:
        words = tensor.get("non_finite", {}).items()
        non_finite.update({str(int(index) + len(data)): word for index, word in words})
        data += tensor["data"]
    whole = {**tensors[0], "data": data, "dim": [sum(rows), *tensors[0]["dim"][1:]]}
    return {tag: {**whole, "non_finite": non_finite} if non_finite else whole}


def read_file(
    filename: str | os.PathLike[str], data_format: str | None = None
) -> dict[str, Any] | pd.DataFrame | pa.Table:
    """Read what `Pipeline.infer_from_file` sends.

    Args:
        data_format: A key of `DATA_FORMATS`; None: what the file's name says.

    Returns:
        Named tensors for a .json file that holds an object, a DataFrame for one that holds a list
        of records, a Table for an Arrow IPC file (.arrow).

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: Its name ends in something else.
        MalformedRequest: It is not what its name or `data_format` says.
        Invalid: Another `data_format`, or `filename` is none.
    """
    if data_format not in (None, *DATA_FORMATS):
        raise Invalid(
            f"data_format must be one of {', '.join(map(repr, DATA_FORMATS))}, got "
            f"{str(data_format)[:80]!r}. A time to wait is given as timeout=seconds."
        )
    if not isinstance(filename, str | os.PathLike):
        raise Invalid(f"filename must be the path of a file, got {type(filename).__name__}.")
    file = Path(filename)
    if data_format is None and file.suffix not in {".json", ".arrow"}:
        raise TypeError(
            f"{file.name!r} is of type {file.suffix or '(none)'!r}, but only '.json' and "
            "'.arrow' are read."
        )
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {str(file)!r}.")
    if data_format == ARROW or (data_format is None and file.suffix == ".arrow"):
        return _read_arrow(file)
    try:
        content = json.loads(file.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"{file.name} is not JSON: {error}.") from error
    if isinstance(content, dict) and data_format != RECORDS:
        return content
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return _records_frame(content, file.name)
    either = (
        "" if data_format == RECORDS else 'an object of named tensors, as {"tensor": [[...]]}, or '
    )
    raise MalformedRequest(f"{file.name} must hold {either}a list of records with the same keys.")


def _records_frame(records: list[dict[str, Any]], name: str) -> pd.DataFrame:
    import pandas as pd

    for index, record in enumerate(records):
        if record.keys() != records[0].keys():
            raise MalformedRequest(
                f"{name}: record {index} has the keys {sorted(record)[:10]}, the first one has "
                f"{sorted(records[0])[:10]}; all must have the same."
            )
    # Column by column, as objects: pandas would turn integers beside null into floats.
    return pd.DataFrame(
        {key: pd.Series([row[key] for row in records], dtype=object) for key in records[0]}
    )


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def _read_arrow(file: Path) -> pa.Table:
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        try:
            try:
                table = pa.ipc.open_file(source).read_all()
            except pa.ArrowInvalid:
                source.seek(0)
                table = pa.ipc.open_stream(source).read_all()
            table.validate(full=True)
        except pa.ArrowException as error:
            raise MalformedRequest(f"{file.name} is not an Arrow IPC file: {error}.") from error
    return table
