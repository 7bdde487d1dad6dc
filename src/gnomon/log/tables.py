"""The Delta tables of a pipeline's log: one after another, each a generation.

A table has one type per column and a greatest number of columns. Rows that do not fit it go to the
next generation; those that fit an older one go to the oldest that they fit, always the same.

The newest generation says what has moved: its transaction numbers, one per write-ahead, are packed
places. It is written last. A row at or after its place is not there yet, even if an older
generation has it already: the flusher was killed in between, and will find it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gnomon.core import limits
from gnomon.log.blobs import Blobs
from gnomon.log.columns import is_same_type
from gnomon.log.places import table_paths
from gnomon.log.table import LogTable
from gnomon.log.units import LOG, PLACE, ROW, Unit


class LogTables:
    """All generations of a pipeline's log.

    Args:
        directory: As `directory_of` returned it; None or missing: there are none yet.

    Attributes:
        generations: The oldest first.
        blobs: Tensors that are too large for them.

    Raises:
        One of TABLE_ERRORS: One of them cannot be read.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self.blobs = Blobs(directory or Path())
        self.generations = [LogTable(path) for path in table_paths(directory)] if directory else []

    def logs(self) -> set[str]:
        """Return the uuid of each write-ahead of which there are rows."""
        return {file.log for table in self.generations for file in table.files()}

    def moved(self, log: str) -> int:
        """Return the packed place before which a write-ahead has moved; 0 if nothing has."""
        return self.generations[-1].moved(log) if self.generations else 0

    def append(self, log: str, units: Iterable[Unit], end: int) -> None:
        """Write ended requests; they are on the disk when this returns.

        Args:
            log: uuid of the write-ahead that they come from.
            units: All requests that stand from `moved(log)` up to `end`; what an older generation
                has already is left out.
            end: Packed place.

        Raises:
            One of TABLE_ERRORS: They could not all be written.
        """
        columns, chosen = self._choose(units)
        for types in columns[len(self.generations) :]:
            self._create(types, {each: self.moved(each) for each in {log, *self.logs()}})
        newest = len(chosen) - 1
        for index, several in enumerate(chosen):
            # An older generation may have rows that the newest one does not know of yet.
            moved = self.generations[index].moved(log)
            parts = [part for unit in several if (part := unit.since(moved))]
            if parts or index == newest:
                self._write(self.generations[index], parts, log, end)

    def _choose(
        self, units: Iterable[Unit]
    ) -> tuple[list[dict[str, pa.DataType]], list[list[Unit]]]:
        """Return the columns of each generation, and the units that go there.

        Each goes to the oldest one that it fits. So with the same units, and perhaps some after
        them, the outcome is the same again. There may be more generations than there are tables.
        """
        columns = [table.types() for table in self.generations]
        chosen: list[list[Unit]] = [[] for _ in columns]
        for unit in sorted(units, key=lambda unit: int(unit.places[0])):
            types = {**unit.description.types(), LOG: pa.utf8()}
            fitting = (index for index, known in enumerate(columns) if _fits(types, known))
            index = next(fitting, len(columns))
            if index == len(columns):
                columns.append({})
                chosen.append([])
            columns[index] = types | columns[index]
            chosen[index].append(unit)
        return columns, chosen

    def _create(self, types: Mapping[str, pa.DataType], moved: Mapping[str, int]) -> None:
        """Begin a generation without rows, which says of each write-ahead what has moved so far."""
        assert self._directory is not None
        newest = self.generations[-1].number if self.generations else 0
        path = self._directory / str(newest + 1)
        self.generations.append(LogTable.create(path, types, moved))

    def _write(self, table: LogTable, units: Sequence[Unit], log: str, end: int) -> None:
        """Append rows, and say what has moved, in one transaction."""
        batches = [unit.rows(table.describe(unit.description), self.blobs.keep) for unit in units]
        self.blobs.sync()
        added = []
        if batches:
            rows = _table(batches)
            table.add_columns(rows.schema)
            added.append(table.write_file(log, [rows]))
        table.commit(added, moved={log: end})


def _fits(types: Mapping[str, pa.DataType], known: Mapping[str, pa.DataType]) -> bool:
    """Say whether a table can take rows of these types."""
    if not known:
        return True
    if any(name in known and not is_same_type(kind, known[name]) for name, kind in types.items()):
        return False
    added = sum(name not in known for name in types)
    return not added or len(known) + added <= limits.LOG_TABLE_COLUMNS_MAX


def _table(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Return the rows of all units in the order of their places."""
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    table = pa.concat_tables(tables, promote_options="default")
    if len(tables) > 1:
        table = table.take(pc.sort_indices(table, [(PLACE, "ascending"), (ROW, "ascending")]))
    return table
