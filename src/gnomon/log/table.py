"""One generation of a pipeline's log: a Delta table, its files and its transactions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from gnomon.core import limits
from gnomon.core.tensors import Array
from gnomon.log import arrays, parquet
from gnomon.log.columns import is_reference
from gnomon.log.units import LOG, PLACE, TIME, Description
from gnomon.private_files import sync, write_private

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMMITS = "_delta_log"
_DESCRIPTIONS = "_gnomon"  # what starts with an underscore is no part of a table
_KEPT = f"interval {limits.LOG_REPLACED_KEPT_S:.0f} seconds"
_CONFIGURATION = {
    # Statistics of two columns: by them readers choose files, and more would only be long.
    "delta.dataSkippingStatsColumns": f"`{TIME}`,`{PLACE}`",
    # Each commit lists those that are kept, and each checkpoint names the files that were replaced
    # (for 30 days and 7, if nothing is said). Nobody reads a version whose files are gone.
    "delta.logRetentionDuration": _KEPT,
    "delta.deletedFileRetentionDuration": _KEPT,
}
_NO_CHECKPOINT = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
TABLE_ERRORS = (DeltaError, pa.ArrowException, OSError, ValueError)
_STATISTICS_US = 1_000  # times in a table's statistics are cut to milliseconds


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table.

    Attributes:
        log: uuid of the write-ahead whose rows it holds.
        first: Smallest packed place.
        last: Largest.
        first_us: Earliest arrival.
        last_us: Latest.
    """

    path: Path
    log: str
    rows: int
    bytes: int
    first: int
    last: int
    first_us: int
    last_us: int

    def statistics(self) -> str:
        """Return the file's statistics as a table has them."""
        bounds = ((self.first, self.first_us), (self.last, self.last_us))
        lowest, highest = (
            {PLACE: place, TIME: (_EPOCH + timedelta(microseconds=us)).isoformat()}
            for place, us in bounds
        )
        known = {"numRecords": self.rows, "minValues": lowest, "maxValues": highest}
        return orjson.dumps({**known, "nullCount": {PLACE: 0, TIME: 0}}).decode()


class LogTable:
    """One generation, as it was when it was opened.

    Raises:
        One of TABLE_ERRORS: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.delta = DeltaTable(path)
        self._descriptions: dict[str, Description] = {}
        self._blobs: dict[Path, frozenset[str]] = {}

    @classmethod
    def create(
        cls, path: Path, types: Mapping[str, pa.DataType], moved: Mapping[str, int]
    ) -> LogTable:
        """Make a table without rows.

        Args:
            types: Its columns.
            moved: As of `commit`.

        Raises:
            One of TABLE_ERRORS: It may be there or not.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        DeltaTable.create(
            path,
            pa.schema(list(types.items())),
            partition_by=[LOG],
            configuration=_CONFIGURATION,
            commit_properties=_transactions(moved),
        )
        table = cls(path)
        table.sync()
        return table

    def file_schema(self) -> pa.Schema:
        """Return the columns that the table's files have."""
        fields = [pa.field(name, kind) for name, kind in self.types().items() if name != LOG]
        return pa.schema(fields)

    def add_columns(self, schema: pa.Schema) -> None:
        """Give the table the columns that it does not have yet.

        Raises:
            One of TABLE_ERRORS: The table is as it was.
        """
        known = self.types()
        missing = [field for field in schema if field.name not in known]
        if missing:
            fields = deltalake.Schema.from_arrow(pa.schema(missing)).fields
            self.delta.alter.add_columns(fields, post_commithook_properties=_NO_CHECKPOINT)
            self.delta.update_incremental()

    def write_file(self, log: str, tables: Iterable[pa.Table]) -> DataFile:
        """Write rows of one write-ahead to a file, which is no part of the table yet.

        Args:
            tables: In the order of their places. They need not have all columns.

        Raises:
            One of TABLE_ERRORS: There is no such file.
        """
        directory = self.path / f"{LOG}={log}"
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / f".part-{uuid.uuid4()}"
        schema = self.file_schema()
        places, times = _Range(), _Range()
        rows = 0
        try:
            with pq.ParquetWriter(path, schema, **parquet.WRITING) as writer:
                for table in tables:
                    writer.write_table(
                        _in_columns(table, schema), row_group_size=limits.LOG_ROW_GROUP_ROWS
                    )
                    places.take(arrays.column_values(table, PLACE))
                    times.take(arrays.column_values(table, TIME))
                    rows += table.num_rows
            path = parquet.named(path)
            for each in (path, directory):
                sync(each)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        size = path.stat().st_size
        return DataFile(path, log, rows, size, places.first, places.last, times.first, times.last)

    def commit(
        self,
        added: Sequence[DataFile],
        removed: Sequence[DataFile] = (),
        *,
        moved: Mapping[str, int] | None = None,
    ) -> None:
        """Add files and take others away, in one transaction; it is on the disk afterwards.

        Args:
            removed: If any are added too, those have the same rows.
            moved: The packed place, for each write-ahead, before which everything has moved now.

        Raises:
            One of TABLE_ERRORS: It was done or not: the table is to be opened again.
        """
        now_ms = int(time.time() * 1_000)
        changes = not (added and removed)
        actions: list[AddAction | RemoveAction] = [
            AddAction(
                path=str(file.path.relative_to(self.path)),
                size=file.bytes,
                partition_values={LOG: file.log},
                modification_time=now_ms,
                data_change=changes,
                stats=file.statistics(),
            )
            for file in added
        ]
        actions += [
            RemoveAction(
                path=str(file.path.relative_to(self.path)),
                data_change=changes,
                deletion_timestamp=now_ms,
                partition_values={LOG: file.log},
                size=file.bytes,
            )
            for file in removed
        ]
        self.delta.create_write_transaction(
            actions,
            "append",
            self.delta.schema(),
            partition_by=[LOG],
            commit_properties=_transactions(moved or {}),
            post_commithook_properties=_NO_CHECKPOINT,
        )
        self.delta.update_incremental()
        self.sync()
        for file in removed:
            self._blobs.pop(file.path, None)
        if self.delta.version() % limits.LOG_CHECKPOINT_COMMITS == 0:
            self._checkpoint()

    def sync(self) -> None:
        """Have the newest commit, which is the last one of this process, on the disk."""
        log = self.path / _COMMITS
        for path in (log / f"{self.delta.version():020}.json", log, self.path):
            sync(path)

    def _checkpoint(self) -> None:
        """Write what all commits together say to one file, and delete commits that are too old."""
        # Before, so that what stands for them is an older file: it is on the disk for long, and who
        # copies the table meanwhile has it.
        self.delta.cleanup_metadata()
        self.delta.create_checkpoint()
        log = self.path / _COMMITS
        written = f"{self.delta.version():020}.checkpoint.parquet"
        for path in (log / written, log / "_last_checkpoint", log):
            sync(path)
        self.delta = DeltaTable(self.path)  # as it is, it would go on reading those before

    @property
    def number(self) -> int:
        """Which generation it is."""
        return int(self.path.name)

    def moved(self, log: str) -> int:
        """Return the packed place before which a write-ahead has moved; 0 if nothing has."""
        return self.delta.transaction_version(log) or 0

    def types(self) -> dict[str, pa.DataType]:
        """Return the table's columns."""
        schema = pa.schema(self.delta.schema().to_arrow())
        return dict(zip(schema.names, schema.types, strict=True))

    def _names(self) -> list[str]:
        return [field.name for field in self.delta.schema().fields]

    def files(self) -> list[DataFile]:
        """Return the table's files, the oldest places first."""
        actions = self.delta.get_add_actions(flatten=True)
        found = [
            DataFile(
                path=self.path / row["path"],
                log=row[f"partition.{LOG}"],
                rows=row["num_records"],
                bytes=row["size_bytes"],
                first=row[f"min.{PLACE}"],
                last=row[f"max.{PLACE}"],
                first_us=_microseconds(row[f"min.{TIME}"]),
                last_us=_microseconds(row[f"max.{TIME}"]) + _STATISTICS_US - 1,
            )
            for row in pa.RecordBatchReader.from_stream(actions).read_all().to_pylist()
        ]
        return sorted(found, key=lambda each: (each.log, each.first))

    def blobs(self, file: DataFile) -> frozenset[str]:
        """Return the names of the large tensors that rows of a file name.

        Raises:
            One of TABLE_ERRORS: The file cannot be read.
        """
        names = [name for name in self._names() if is_reference(name)]
        if not names:
            return frozenset()
        known = self._blobs.get(file.path)
        if known is None:
            known = self._blobs[file.path] = frozenset(_texts(file.path, names))
        return known

    def describe(self, description: Description) -> str:
        """Have a description stored beside the table's files; return its digest.

        Raises:
            OSError: It is not stored.
        """
        text = description.to_json()
        digest = Description.digest(text)
        path = _description_file(self.path, digest)
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(path, text)
            for each in (path, path.parent, self.path):
                sync(each)
        return digest

    def description(self, digest: str) -> Description:
        """Return a description that rows name.

        Raises:
            OSError, ValueError, KeyError, TypeError, IndexError: It is missing or damaged.
        """
        known = self._descriptions.get(digest)
        if known is None:
            text = _description_file(self.path, digest).read_bytes()
            if Description.digest(text) != digest:
                raise ValueError(f"the description {digest} is damaged")
            if len(self._descriptions) >= limits.LOG_DESCRIPTIONS_CACHED_MAX:
                self._descriptions.clear()
            known = self._descriptions[digest] = Description.from_json(text)
        return known


def _transactions(moved: Mapping[str, int]) -> CommitProperties:
    return CommitProperties(
        app_transactions=[Transaction(log, number) for log, number in moved.items()]
    )


def _in_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the columns of a table's files; what they have no value for is null."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class _Range:
    """The smallest and the largest of some numbers."""

    def __init__(self) -> None:
        self.first, self.last = 2**63 - 1, -(2**63)

    def take(self, values: Array) -> None:
        """Take further numbers in."""
        self.first = min(self.first, int(values.min()))
        self.last = max(self.last, int(values.max()))


def _texts(path: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield the different texts of some columns of a file, of those that it has."""
    with parquet.opened(path) as source:
        there = [name for name in names if name in source.schema_arrow.names]
        for group in range(source.metadata.num_row_groups if there else 0):
            for column in source.read_row_group(group, columns=there).columns:
                yield from column.unique().drop_null().to_pylist()


def _description_file(table: Path, digest: str) -> Path:
    return table / _DESCRIPTIONS / f"{digest}.json"


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
