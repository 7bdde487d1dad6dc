"""A log as files: JSON lines, CSV, Arrow, Parquet."""

from __future__ import annotations

import csv
import re
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.sdk.asking import Dataset
from gnomon.sdk.log_frames import LogFrame
from gnomon.sdk.records import LoggedRequest

if TYPE_CHECKING:
    import pyarrow as pa

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MORE = "There are more logs available. Please set a larger limit to export more data."


def parse_size(text: str | None) -> int:
    """Return the bytes of "100MiB"; None: the default.

    Raises:
        Invalid: It is no size.
    """
    if text is None:
        return limits.LOG_EXPORT_BYTES_DEFAULT
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]iB)\s*", str(text))
    if found is None:
        raise Invalid(
            "Invalid data size format. Please use the format: <number><unit>, with the units KiB, "
            f'MiB, GiB and TiB, as "100MiB"; got {str(text)[:80]!r}.'
        )
    return int(float(found[1]) * _UNITS[found[2]])


class _Writer(ABC):
    """One file that is being written.

    Args:
        path: Without what its name ends in.
    """

    suffix: str

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path.with_name(path.name + self.suffix)
        self.schema = schema

    @abstractmethod
    def write(self, table: pa.Table) -> None:
        """Append rows."""

    @abstractmethod
    def size(self) -> int:
        """Return the bytes written so far."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file."""


class _Lines(_Writer):
    """A file of text."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, schema)
        self._file: IO[str] = self.path.open("w", encoding="utf-8", newline="")

    def size(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class _Json(_Lines):
    suffix = ".json"

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self._file.write(_json(row) + "\n")


class _Csv(_Lines):
    suffix = ".csv"

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, schema)
        self._csv = csv.writer(self._file)
        self._csv.writerow(map(_harmless, schema.names))

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self._csv.writerow(map(_cell, row.values()))


class _Arrow(_Writer):
    suffix = ".arrow"

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow as pa

        super().__init__(path, schema)
        self._file = pa.OSFile(str(self.path), "wb")
        self._writer = self._open()

    def _open(self) -> Any:
        import pyarrow as pa

        return pa.ipc.new_file(self._file, self.schema)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def size(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._writer.close()
        self._file.close()


class _Parquet(_Arrow):
    suffix = ".parquet"

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetWriter(self._file, self.schema)


_WRITERS: dict[str, type[_Writer]] = {
    "json": _Json,
    "csv": _Csv,
    "arrow": _Arrow,
    "parquet": _Parquet,
}


def export(
    pages: Iterable[tuple[Sequence[LoggedRequest], bool]],
    *,
    prefix: Path,
    format: str,
    bytes_max: int,
    dataset: Dataset,
    oldest_first: bool,
    shown: bool,
) -> list[Path]:
    """Write pages of a log to files; see `Pipeline.export_logs`.

    Args:
        prefix: What the names of the files begin with, and their directory.
        shown: Say how far it is.
    """
    if format not in _WRITERS:
        raise Invalid(f"format must be one of {', '.join(_WRITERS)}; got {str(format)[:80]!r}.")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    files = _Files(prefix, _WRITERS[format])
    count, more = 0, False
    try:
        for requests, more in pages:  # noqa: B007
            for table in _tables(requests, dataset, oldest_first=oldest_first):
                files.write(table)
            count += len(requests)
            if shown:
                print(f"\r{count} requests exported", end="", file=sys.stderr, flush=True)
            if files.size() > bytes_max:
                break
    finally:
        files.close()
        if shown and count:
            print(file=sys.stderr)
    if more and files.size() > bytes_max:
        warnings.warn(
            f"Pipeline log data size limit of {bytes_max:,} bytes exceeded: the export ends here. "
            "Please set a larger data_size_limit to export more data.",
            UserWarning,
            stacklevel=3,
        )
    elif more:
        warnings.warn(_MORE, UserWarning, stacklevel=3)
    return files.paths


class _Files:
    """Files of one export; a new one for rows that the one before has no columns for."""

    def __init__(self, prefix: Path, kind: type[_Writer]) -> None:
        self._prefix = prefix
        self._kind = kind
        self._writer: _Writer | None = None
        self._closed_bytes = 0
        self.paths: list[Path] = []

    def write(self, table: pa.Table) -> None:
        if self._writer is None or not _has_columns(self._writer.schema, table.schema):
            self.close()
            path = self._prefix.with_name(f"{self._prefix.name}-{len(self.paths) + 1}")
            self._writer = self._kind(path, table.schema)
            self.paths.append(self._writer.path)
        assert self._writer is not None
        self._writer.write(_in_columns(self._writer.schema, table))

    def size(self) -> int:
        return self._closed_bytes + (self._writer.size() if self._writer else 0)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._closed_bytes += self._writer.path.stat().st_size
            self._writer = None


def _has_columns(schema: pa.Schema, other: pa.Schema) -> bool:
    return all(
        field.name in schema.names and schema.field(field.name).type == field.type
        for field in other
    )


def _in_columns(schema: pa.Schema, table: pa.Table) -> pa.Table:
    """Return the rows in the columns of a file; what they have no value for is null."""
    import pyarrow as pa

    columns = [
        table.column(field.name)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _tables(
    requests: Sequence[LoggedRequest], dataset: Dataset, *, oldest_first: bool
) -> Iterable[pa.Table]:
    """Yield the rows of requests, in several tables where no one table can hold them."""

    def table(several: Sequence[LoggedRequest]) -> pa.Table:
        return LogFrame(several, dataset, oldest_first=oldest_first).to_arrow()

    try:
        yield table(requests)
    except Invalid:
        for _, alike in groupby(requests, key=_kind):
            yield table(list(alike))


def _kind(request: LoggedRequest) -> object:
    """Return what decides which columns the rows of a request have, and of which types."""
    inputs = [(name, array.dtype.str, array.ndim) for name, array in request.inputs.items()]
    models = [
        (
            model.label,
            model.role,
            model.output_names,
            [(a.dtype.str, a.ndim) for a in model.outputs],
        )
        for model in request.models
    ]
    return inputs, list(request.anomalies), models


def _json(value: Any) -> str:
    """Return a value as JSON: times in milliseconds since 1970, NaN as null."""
    passed = orjson.OPT_PASSTHROUGH_DATETIME
    return orjson.dumps(value, default=_milliseconds, option=passed).decode()


def _milliseconds(time: Any) -> int:
    milliseconds: int = int(time.timestamp() * 1000)
    return milliseconds


def _cell(value: Any) -> Any:
    """Return a value as CSV has it; lists as JSON."""
    if isinstance(value, str):
        return _harmless(value)
    if isinstance(value, list):
        return _json(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
