"""A write-ahead as its readers see it: one snapshot, nothing believed without its checksum."""

from __future__ import annotations

import logging
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
from gnomon.log.layouts import Entry, Kind
from gnomon.log.views import DamagedSegment, SegmentView
from gnomon.log.write_ahead import COVERED, FORMAT, checksum, digest

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where an entry stands in its write-ahead; a greater place was appended later.

    Attributes:
        life: Of the writer that appended it.
        number: Of the entry in that life.
    """

    life: int
    number: int


class Found(NamedTuple):
    """An entry that was found, and not yet decoded."""

    file: StoredLog
    place: Place
    base: int
    view: SegmentView
    position: int

    def order(self) -> tuple[int, Place]:
        """Return what inferences of several files are ordered by."""
        return self.view.times_us[self.position], self.place


_COLUMNS = ", ".join(COVERED)
_NEXT_GROUP = """
    SELECT life, base FROM segments WHERE pipeline_id = ? AND kind = ? AND (life, base) < (?, ?)
    ORDER BY life DESC, base DESC LIMIT 1
"""
_OF_GROUP = f"""
    SELECT seq, checksum, head, {_COLUMNS} FROM segments
    WHERE pipeline_id = ? AND kind = ? AND life = ? AND base = ? ORDER BY seq
"""  # noqa: S608
_OBSERVING = f"""
    SELECT seq, checksum, head, {_COLUMNS} FROM segments
    WHERE pipeline_id = ? AND kind = ? AND life = ? AND base >= ?
    AND first_of <= ? AND last_of >= ? ORDER BY base, seq
"""  # noqa: S608
_ROUTE, _MODEL, _BASE, _BODY_CHECKSUM = map(
    COVERED.index, ("route", "model", "base", "body_checksum")
)
_LAST = Place(2**62, 2**62)


class StoredLog:
    """One write-ahead, as it was when it was opened. What cannot be read is noted and skipped.

    Args:
        path: The file; its writer may be at work.
        notices: Takes a sentence about each thing that cannot be read.

    Attributes:
        uuid: Of the file; empty if there is nothing to read.
        life: Of its present or last writer.
    """

    def __init__(self, path: Path, notices: list[str]) -> None:
        self._name = path.name
        self._notices = notices
        self._routes: dict[int, tuple[Route, str]] = {}
        self._damaged: dict[int, SegmentView] = {}  # by identity, and kept alive
        self.uuid, self.life = "", 0
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(
            uri, uri=True, timeout=limits.LOG_BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            self._connection.execute("BEGIN")
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'write_ahead'"):
                return  # its writer is just making it
            [(self.uuid, found, self.life)] = self._rows("SELECT * FROM write_ahead")
        except BaseException:
            self._connection.close()
            raise
        if found != FORMAT:
            self.note(f"has format {found}, this version reads {FORMAT}")
            self.uuid = ""

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def inferences(self, pipeline_id: int, before: Place | None) -> Iterator[Found]:
        """Find a pipeline's inferences, the latest first.

        Args:
            before: Only those that stand before this place.
        """
        if not self.uuid:
            return
        before = before or _LAST
        for life, base in self._groups(pipeline_id, before):
            group = self._load(_OF_GROUP, (pipeline_id, Kind.INFERENCE, life, base))
            newest_first = (
                zip(reversed(view.numbers), repeat(at), range(len(view) - 1, -1, -1))
                for at, (_, view) in enumerate(group)
            )
            for number, at, position in merge(*newest_first, reverse=True):
                place = Place(life, base + number)
                if place < before:
                    yield Found(self, place, base, group[at][1], position)

    def observations(
        self, pipeline_id: int, wanted: Mapping[Place, int]
    ) -> dict[tuple[Place, str], Found]:
        """Find what challengers did with inferences of a pipeline.

        Args:
            wanted: The inferences' places, each with the base of its group.

        Returns:
            By the inference's place and the uuid of the challenger's version; the last one, where
            there are several.
        """
        found: dict[tuple[Place, str], Found] = {}
        for life, places in groupby(sorted(wanted), key=lambda place: place.life):
            numbers = {place.number for place in places}
            first, last = min(numbers), max(numbers)
            key = (pipeline_id, Kind.OBSERVATION, life, wanted[Place(life, first)], last, first)
            for base, view in self._load(_OBSERVING, key):
                for position, of in enumerate(view.of):
                    if of not in numbers:
                        continue
                    slot = (Place(life, of), view.model.uuid)
                    place = Place(life, base + view.numbers[position])
                    if slot not in found or found[slot].place < place:
                        found[slot] = Found(self, place, base, view, position)
        return found

    def decode(self, found: Found) -> Entry | None:
        """Decode one entry; None if its segment is damaged, which is noted once."""
        view = found.view
        if id(view) in self._damaged:
            return None
        try:
            return view.entry(found.position)
        except DamagedSegment as error:
            self._damaged[id(view)] = view
            self.note(str(error))
            return None

    def note(self, what: str) -> None:
        """Report what cannot be read."""
        notice = f"{self._name}: {what}"
        logger.warning("inference log: %s", notice)
        if len(self._notices) < limits.LOG_NOTICES_MAX:
            self._notices.append(notice)

    def _groups(self, pipeline_id: int, before: Place) -> Iterator[tuple[int, int]]:
        place: tuple[int, int] = before
        while True:
            try:
                rows = self._rows(_NEXT_GROUP, (pipeline_id, Kind.INFERENCE, *place))
            except sqlite3.Error as error:
                self.note(f"cannot be read further: {error}")
                return
            if not rows or rows[0] >= place:
                return
            place = rows[0]
            yield place

    def _load(self, query: str, arguments: tuple[int, ...]) -> list[tuple[int, SegmentView]]:
        """Return the segments that a query names, each with its base; not the damaged ones."""
        try:
            rows = self._rows(query, arguments)
        except sqlite3.Error as error:
            self.note(f"a part cannot be read: {error}")
            return []
        loaded = []
        for seq, stored, head, *covered in rows:
            try:
                view = self._view(seq, stored, head, covered)
            except DamagedSegment as error:
                self.note(str(error))
            else:
                loaded.append((covered[_BASE], view))
        return loaded

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
            [(text,)] = self._rows("SELECT json FROM routes WHERE id = ?", (number,))
            route = Route.from_json(orjson.loads(text))
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            raise _damaged(seq, f"its route: {error}") from error
        self._routes[number] = (route, digest(text.encode()))
        return self._routes[number]

    def _rows(self, query: str, arguments: tuple[Any, ...] = ()) -> list[Any]:
        return self._connection.execute(query, arguments).fetchall()


def _damaged(seq: int, what: object) -> DamagedSegment:
    return DamagedSegment(f"segment {seq} is damaged ({what})")
