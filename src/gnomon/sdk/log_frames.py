"""Requests of a log as tables: one row per input row, the columns that users know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gnomon.core.errors import Invalid
from gnomon.core.tensors import STRING, Array, dtype_name
from gnomon.sdk.answers import SHADOW_PREFIX, column_order
from gnomon.sdk.asking import Dataset
from gnomon.sdk.records import LoggedModel, LoggedRequest, rows_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

METADATA = "metadata"
_TIME = "time"
_ANOMALIES = "anomaly.count"

Row = Mapping[str, Any]
Kind = tuple[str, int]  # of a column: its type and how many lists its values are nested in


class LogFrame:
    """The rows of some requests, in the order of the log.

    Args:
        requests: In the order of the log.
        dataset: Which columns there are. The metadata only if it is asked for.
        oldest_first: The rows of a request come in their order; else in the reverse.

    Raises:
        Invalid: The separator is empty: a log has no structs.
    """

    def __init__(
        self, requests: Sequence[LoggedRequest], dataset: Dataset, *, oldest_first: bool = False
    ) -> None:
        if dataset.separator == "":
            raise Invalid('dataset_separator must not be empty for logs: try "_".')
        self._dataset = dataset
        self._kinds: dict[str, Kind | None] = {}  # None: of different kinds
        self._rows: list[Row] = []
        for request in requests:
            rows = list(self._rows_of(request))
            self._rows += rows if oldest_first else rows[::-1]
        found = column_order(name for row in self._rows for name in row)
        self._names = [name for name in found or [_TIME] if shows(dataset, name)]

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows; what a row has no value for is None."""
        import pandas as pd

        frame = pd.DataFrame(
            {name: pd.Series([row.get(name) for row in self._rows]) for name in self._names},
            columns=self._names,
        )
        for name in self._names:
            if self._kinds.get(name) == ("time", 0) or name == _TIME:
                frame[name] = pd.to_datetime(frame[name], utc=True).dt.tz_localize(None)
                frame[name] = frame[name].astype("datetime64[ms]")
        return frame.rename(columns=self._shown)

    def to_arrow(self) -> pa.Table:
        """Return the rows with the types that the models declare.

        Raises:
            Invalid: A column has values that no type holds together.
        """
        import pyarrow as pa

        return pa.table({self._shown(name): self._column(name) for name in self._names})

    def _column(self, name: str) -> pa.Array:
        import pyarrow as pa

        try:
            return pa.array([row.get(name) for row in self._rows], self._type(name))
        except pa.ArrowException:  # as an integer that no float is equal to
            raise _of_different_kinds(name) from None

    def _shown(self, name: str) -> str:
        if self._dataset.separator is None:
            return name
        group, dot, field = name.partition(".")
        return group + self._dataset.separator + field if dot else name

    def _type(self, name: str) -> pa.DataType:
        import pyarrow as pa

        found = self._kinds.get(name, ("time", 0))
        if found is None:
            raise _of_different_kinds(name)
        dtype, depth = found
        if dtype == "time":
            kind = pa.timestamp("us", tz="UTC")
        else:
            kind = pa.utf8() if dtype == STRING else pa.type_for_alias(dtype)
        for _ in range(depth):
            kind = pa.list_(kind)
        return kind

    def _rows_of(self, request: LoggedRequest) -> Iterator[Row]:
        columns = self._constant({_TIME: request.time}, "time", request.rows)
        for name, array in request.inputs.items():
            columns[f"in.{name}"] = self._tensor(f"in.{name}", array, request.rows)
        self._kinds[_ANOMALIES] = ("int64", 0)
        columns[_ANOMALIES] = request.anomaly_counts().tolist()
        for name, array in sorted(request.anomalies.items()):
            columns[f"anomaly.{name}"] = self._tensor(f"anomaly.{name}", array, request.rows)
        for model in request.models:
            prefix = _prefix(model)
            for name, array in zip(model.output_names, model.outputs, strict=True):
                columns[f"{prefix}.{name}"] = self._tensor(f"{prefix}.{name}", array, request.rows)
        if any(name.partition(".")[0] == METADATA for name in self._dataset.columns):
            columns |= self._metadata(request)
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def _metadata(self, request: LoggedRequest) -> dict[str, list[Any]]:
        texts: dict[str, Any] = {
            "metadata.request_id": request.request_id,
            "metadata.pipeline_version": request.pipeline_version,
        }
        counts: dict[str, Any] = {"metadata.rows": request.rows_sent or request.rows}
        times: dict[str, Any] = {}
        for model in request.models:
            prefix = f"metadata.{_prefix(model)}"
            texts[f"{prefix}.model"] = f"{model.name}@{model.ordinal}"
            texts[f"{prefix}.version"] = model.version
            texts[f"{prefix}.sha"] = model.sha
            texts[f"{prefix}.status"] = model.status
            texts[f"{prefix}.error"] = model.error
            counts[f"{prefix}.elapsed_ns"] = model.elapsed_ns
            times[f"{prefix}.ended"] = model.time
        self._kinds["metadata.row"] = ("int64", 0)
        return {
            "metadata.row": list(request.numbers or range(request.rows)),
            **self._constant(texts, STRING, request.rows),
            **self._constant(counts, "int64", request.rows),
            **self._constant(times, "time", request.rows),
        }

    def _constant(self, values: Mapping[str, Any], dtype: str, rows: int) -> dict[str, list[Any]]:
        self._kinds.update(dict.fromkeys(values, (dtype, 0)))
        return {name: [value] * rows for name, value in values.items()}

    def _tensor(self, name: str, array: Array, rows: int) -> list[Any]:
        per_row = array.ndim and len(array) == rows
        kind = dtype_name(array), array.ndim - bool(per_row)
        known = self._kinds.setdefault(name, kind)
        if known != kind:
            self._kinds[name] = known and _common(known, kind)
        return list(rows_of(array, rows))


def _common(one: Kind, other: Kind) -> Kind | None:
    """Return the kind that holds values of both; None: there is none."""
    import numpy as np

    if one[1] == other[1] and STRING not in (one[0], other[0]):
        return np.result_type(one[0], other[0]).name, one[1]
    return None


def _of_different_kinds(name: str) -> Invalid:
    return Invalid(
        f"{name} has values of different kinds in these requests, which are no one table: "
        "ask for fewer requests, or export the log, which makes a file for each kind."
    )


def _prefix(model: LoggedModel) -> str:
    return "out" if model.role == "champion" else SHADOW_PREFIX + model.label


def shows(dataset: Dataset, column: str) -> bool:
    """Say whether a dataset has a column: of two names that say something the longer counts."""
    shown = max((_strength(each, column) for each in dataset.columns or ("*",)), default=-1)
    hidden = max((_strength(each, column) for each in dataset.excluded), default=-1)
    return shown > hidden


def _strength(entry: str, column: str) -> int:
    if entry == "*":
        return -1 if column.partition(".")[0] == METADATA else 0
    return len(entry) if column == entry or column.startswith(f"{entry}.") else -1
