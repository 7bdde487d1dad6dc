"""A write-ahead as its readers see it: one snapshot, nothing believed without its checksum."""

from __future__ import annotations

import operator
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gnomon.core import limits
from gnomon.core.routing import Route
from gnomon.core.tensors import Array
from gnomon.log import indexes
from gnomon.log.layouts import Kind
from gnomon.log.logged import LoggedInference, LoggedObservation
from gnomon.log.views import DamagedSegment, SegmentView
from gnomon.log.write_ahead import COVERED, FORMAT, LIVES_MAX, checksum, digest

_PAGE_BYTES_MIN = 512  # of SQLite
_NUMBER_BITS = 40  # a life of a million requests a second for twelve days


class Place(NamedTuple):
    """Where a request stands in its write-ahead; a greater place was appended later.

    Attributes:
        life: Of the writer that appended it.
        number: Of the request in that life.
    """

    life: int
    number: int

    def packed(self) -> int:
        """Return the place as one number, in the same order."""
        return self.life << _NUMBER_BITS | self.number

    @classmethod
    def unpacked(cls, packed: int) -> Place:
        """Return the place that `packed` gave."""
        return cls(packed >> _NUMBER_BITS, packed & (1 << _NUMBER_BITS) - 1)


class Loaded(NamedTuple):
    """A segment whose checksum was right."""

    seq: int
    life: int
    base: int
    view: SegmentView


class Found(NamedTuple):
    """A request that was found, and not yet decoded."""

    file: StoredLog
    place: Place
    base: int
    view: SegmentView
    position: int

    @property
    def time_us(self) -> int:
        """When the inference's request arrived."""
        return self.view.times_us[self.position]

    def anomalies(self) -> Array:
        """Return for each row of the inference how many validations found an anomaly.

        Raises:
            DamagedSegment: The segment is not what was written.
        """
        return self.view.anomalies_of(self.position)


_COLUMNS = ", ".join(COVERED)
_IS_PLACE = "typeof(life) = 'integer' AND typeof(base) = 'integer'"  # unless it is damaged
_GROUP_BEFORE = f"""
    SELECT life, base FROM segments WHERE pipeline_id = ? AND kind = ? AND (life, base) < (?, ?)
    AND {_IS_PLACE} ORDER BY life DESC, base DESC LIMIT 1
"""  # noqa: S608
_NEXT_GROUP = f"""
    SELECT life, base FROM segments WHERE pipeline_id = ? AND kind = ? AND (life, base) > (?, ?)
    AND {_IS_PLACE} ORDER BY life, base LIMIT 1
"""  # noqa: S608
_OF_GROUP = f"""
    SELECT seq, checksum, head, {_COLUMNS} FROM segments
    WHERE pipeline_id = ? AND kind = ? AND life = ? AND base = ? ORDER BY seq
"""  # noqa: S608
_OBSERVING = f"""
    SELECT seq, checksum, head, {_COLUMNS} FROM segments
    WHERE pipeline_id = ? AND kind = ? AND life = ? AND base >= ?
    AND first_of <= ? AND last_of >= ? ORDER BY base, seq
"""  # noqa: S608
_GROUPS = f"""
    SELECT life, base, sum(rows), sum(length(head) + length(body)) FROM segments
    WHERE pipeline_id = ? AND kind = ? AND {_IS_PLACE} GROUP BY life, base ORDER BY life, base
"""  # noqa: S608
_ROUTE, _MODEL, _LIFE, _BASE, _BODY_CHECKSUM = map(
    COVERED.index, ("route", "model", "life", "base", "body_checksum")
)
_KEY = operator.itemgetter(*map(COVERED.index, ("pipeline_id", "kind", "life")))
FIRST, LAST = Place(-1, -1), Place(LIVES_MAX, 0)


class StoredLog:
    """One write-ahead, as it was when it was opened. What cannot be read is noted and skipped.

    Args:
        path: The file; its writer may be at work.
        notices: Takes a sentence about each thing that cannot be read.

    Attributes:
        uuid: Of the file; empty if there is nothing to read.
        life: Of its present or last writer.
        damaged: Segments that were found damaged.
    """

    def __init__(self, path: Path, notices: list[str]) -> None:
        self._name = path.name
        self._notices = notices
        self._routes: dict[int, tuple[Route, str]] = {}
        self._damaged: dict[int, SegmentView] = {}  # by identity, and kept alive
        self._segments = indexes.SEGMENTS
        self.damaged: set[int] = set()
        self.uuid, self.life = "", 0
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(
            uri, uri=True, timeout=limits.LOG_BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            # A file that was cut short is opened all the same. Nothing is written.
            self._connection.execute("PRAGMA writable_schema = ON")
            self._connection.execute("BEGIN")
            if not self._rows("SELECT 1 FROM sqlite_master"):
                if 0 < path.stat().st_size < _PAGE_BYTES_MIN:
                    raise ValueError("it is cut off")
                return  # its writer is just making it
            [(uuid, found, life)] = self._rows("SELECT * FROM write_ahead")
            if not (isinstance(uuid, str) and isinstance(life, int)):
                raise ValueError("its identity is damaged")
        except BaseException:
            self._connection.close()
            raise
        if found == FORMAT:
            self.uuid, self.life = uuid, life
        else:
            self.note(f"has format {found}, this version reads {FORMAT}")

    def check_index(self) -> bool:
        """Return whether the index can be believed; if not, do without it from now on."""
        if self.uuid:
            self._segments = indexes.source(self._connection, self.note)
        return self._segments == indexes.SEGMENTS

    def set_aside(self) -> int:
        """Return how many damaged segments have been set aside."""
        try:
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'damaged'"):
                return 0
            [(count,)] = self._rows("SELECT count(*) FROM damaged")
        except sqlite3.Error as error:
            self.note(f"what was set aside cannot be counted: {error}")
            return 0
        return int(count)

    def unpin(self) -> None:
        """Read from now on what is there then.

        While a state of the file is pinned, what its writer adds cannot move from SQLite's log to
        the file, and that log grows.
        """
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def inferences(
        self, pipeline_id: int, span: tuple[Place, Place], *, oldest_first: bool = False
    ) -> Iterator[Found]:
        """Find a pipeline's inferences, in the order of their places.

        Args:
            span: Places: from the first up to, not with, the second.
            oldest_first: The order; otherwise it is the reverse.
        """
        if not self.uuid:
            return
        for life, base in self._groups(pipeline_id, span, oldest_first=oldest_first):
            of_group = self._load(_OF_GROUP, (pipeline_id, Kind.INFERENCE, life, base))
            group = [each for each in of_group if each.base == base]
            in_order = (
                zip(view.numbers, repeat(at), range(len(view)))
                for at, (*_, view) in enumerate(group)
            )
            reversed_order = (
                zip(reversed(view.numbers), repeat(at), range(len(view) - 1, -1, -1))
                for at, (*_, view) in enumerate(group)
            )
            several = in_order if oldest_first else reversed_order
            for number, at, position in merge(*several, reverse=not oldest_first):
                place = Place(life, base + number)
                if span[0] <= place < span[1]:
                    yield Found(self, place, base, group[at].view, position)
                elif not oldest_first and place < span[0]:
                    return

    def last(self, pipeline_id: int) -> Place | None:
        """Return the place of a pipeline's newest inference."""
        newest = next(self.inferences(pipeline_id, (FIRST, LAST)), None)
        return newest.place if newest else None

    def observations(
        self, pipeline_id: int, wanted: Mapping[Place, int]
    ) -> dict[tuple[Place, str], Found]:
        """Find what challengers did with inferences of a pipeline.

        Args:
            wanted: The inferences' places, each with the base of its group.

        Returns:
            By the inference's place and the challenger's label; the last one, where there are
            several.
        """
        found: dict[tuple[Place, str], Found] = {}
        for life, places in groupby(sorted(wanted), key=lambda place: place.life):
            numbers = {place.number for place in places}
            first, last = min(numbers), max(numbers)
            key = (pipeline_id, Kind.OBSERVATION, life, wanted[Place(life, first)], last, first)
            for _, _, base, view in self._load(_OBSERVING, key):
                for position, of in enumerate(view.of):
                    if of not in numbers:
                        continue
                    slot = (Place(life, of), view.model.label)
                    place = Place(life, base + view.numbers[position])
                    if slot not in found or found[slot].place < place:
                        found[slot] = Found(self, place, base, view, position)
        return found

    def pipelines(self) -> list[tuple[int, int]]:
        """Return the workspace and the id of each pipeline that has segments here."""
        found = {}
        for (number,) in self._rows("SELECT id FROM routes"):
            try:
                route, _ = self._route(0, number)
            except DamagedSegment as error:
                self.note(str(error))
            else:
                found[route.pipeline_id] = route.workspace_id
        present = self._rows("SELECT DISTINCT pipeline_id FROM segments")
        return sorted((found[each], each) for (each,) in present if each in found)

    def oldest(self, pipeline_id: int, rows_max: int, bytes_max: int) -> tuple[list[Loaded], bool]:
        """Return the oldest groups of a pipeline's inferences, in order, up to a size.

        Returns:
            Their segments, and whether there are further groups.
        """
        loaded: list[Loaded] = []
        rows_left, bytes_left = rows_max, bytes_max
        for life, base, rows, size in self._rows(_GROUPS, (pipeline_id, Kind.INFERENCE)):
            if loaded and (rows > rows_left or size > bytes_left):
                return loaded, True
            loaded += self._whole(_OF_GROUP, (pipeline_id, Kind.INFERENCE, life, base))
            rows_left -= rows
            bytes_left -= size
        return loaded, False

    def observing(self, pipeline_id: int, place: Place, last: int, base: int) -> list[SegmentView]:
        """Return segments with observations of the inferences from a place on, in order.

        Args:
            last: Number of the last inference, in the same life.
            base: Of the first inference's group.
        """
        key = (pipeline_id, Kind.OBSERVATION, place.life, base, last, place.number)
        return [view for *_, view in self._whole(_OBSERVING, key)]

    def _whole(self, query: str, arguments: tuple[int, ...]) -> list[Loaded]:
        """Return the segments that a query names, with their bodies; not the damaged ones."""
        whole = []
        for loaded in self._load(query, arguments):
            try:
                loaded.view.load()
            except DamagedSegment as error:
                self.damaged.add(loaded.seq)
                self.note(str(error))
            else:
                whole.append(loaded)
        return whole

    def decode(self, found: Found) -> LoggedInference | LoggedObservation | None:
        """Decode one request; None if its segment is damaged, which is noted once."""
        view = found.view
        if id(view) in self._damaged:
            return None
        try:
            return view.request(found.position)
        except DamagedSegment as error:
            self._damaged[id(view)] = view
            self.note(str(error))
            return None

    def note(self, what: str) -> None:
        """Report what cannot be read."""
        if len(self._notices) < limits.LOG_NOTICES_MAX:
            self._notices.append(f"{self._name}: {what}")

    def _groups(
        self, pipeline_id: int, span: tuple[Place, Place], *, oldest_first: bool
    ) -> Iterator[tuple[int, int]]:
        """Yield life and base of each group that may have places of the span."""
        query = _NEXT_GROUP if oldest_first else _GROUP_BEFORE
        # A group begins before its places: from the first one on, as few are left behind.
        place: tuple[int, int] = FIRST if oldest_first else span[1]
        while True:
            try:
                rows = self._rows(query, (pipeline_id, Kind.INFERENCE, *place))
            except sqlite3.Error as error:
                self.note(f"cannot be read further: {error}")
                return
            if not rows or (rows[0] <= place if oldest_first else rows[0] >= place):
                return
            place = rows[0]
            if oldest_first and place >= span[1]:
                return
            yield place

    def _load(self, query: str, arguments: tuple[int, ...]) -> list[Loaded]:
        """Return the segments that a query names; not the damaged ones."""
        try:
            rows = self._rows(query, arguments)
        except sqlite3.Error as error:
            self.note(f"a part cannot be read: {error}")
            return []
        loaded: dict[int, Loaded] = {}  # a table that is damaged may give a segment twice
        for seq, stored, head, *covered in rows:
            try:
                view = self._view(seq, stored, head, covered)
            except DamagedSegment as error:
                self.damaged.add(seq)
                self.note(str(error))
            else:
                if _KEY(covered) == arguments[:3]:  # where a damaged index leads, it may not be
                    loaded[seq] = Loaded(seq, covered[_LIFE], covered[_BASE], view)
        return list(loaded.values())

    def _view(self, seq: int, stored: int, head: bytes, covered: list[Any]) -> SegmentView:
        route, route_digest = self._route(seq, covered[_ROUTE])
        try:
            if checksum(covered, route_digest, head) != stored:
                raise _damaged(seq, "checksum")
            return SegmentView(
                route, covered[_MODEL], head, lambda: self._body(seq, covered[_BODY_CHECKSUM])
            )
        except DamagedSegment as error:
            raise _damaged(seq, error) from error
        except (struct.error, TypeError, OverflowError) as error:  # not even the types are right
            raise _damaged(seq, "values") from error

    def _body(self, seq: int, stored: int) -> bytes:
        try:
            [(body,)] = self._rows("SELECT body FROM segments WHERE seq = ?", (seq,))
        except (sqlite3.Error, ValueError) as error:
            raise _damaged(seq, error) from error
        if not isinstance(body, bytes) or zlib.crc32(body) != stored:
            raise _damaged(seq, "checksum of the body")
        return body

    def _route(self, seq: int, number: int) -> tuple[Route, str]:
        known = self._routes.get(number)
        if known is not None:
            return known
        try:
            [(text, key)] = self._rows("SELECT json, digest FROM routes WHERE id = ?", (number,))
            if digest(str(text).encode()) != key:
                raise ValueError("checksum")
            self._routes[number] = Route.from_json(orjson.loads(text)), key
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            raise _damaged(seq, f"its route: {error}") from error
        return self._routes[number]

    def _rows(self, query: str, arguments: tuple[Any, ...] = ()) -> list[Any]:
        query = query.replace(" FROM segments", f" FROM {self._segments}")
        return self._connection.execute(query, arguments).fetchall()


def _damaged(seq: int, what: object) -> DamagedSegment:
    return DamagedSegment(f"segment {seq} is damaged ({what})")
