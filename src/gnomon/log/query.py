"""What a reader of the log asks for, and where a page of the answer ended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from gnomon.core.errors import Invalid
from gnomon.core.inference import Observation, Status
from gnomon.core.tensors import Array
from gnomon.log.units import ANOMALIES
from gnomon.log.where import Where

ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which requests of a pipeline.

    Attributes:
        start_us: Those that arrived then or later, microseconds since 1970.
        end_us: Those that arrived before.
        status: Those with a model of this status.
        model: Those in which the model of this label took part; with `status`, that model has it.
        request_id: Those with this id.
        where: Those of which it holds for a row.
        valid: Those with a row in which no validation found an anomaly; False: with a row in which
            one did. With `where`, it is the same row.
        disagree: Those in which the challenger of this label, or any if it is `ANY`, gave other
            values than the champion; floats that differ by rounding are alike.
        oldest_first: The order in which they were logged, instead of the reverse.
    """

    start_us: int | None = None
    end_us: int | None = None
    status: Status | None = None
    model: str | None = None
    request_id: str | None = None
    where: Where | None = None
    valid: bool | None = None
    disagree: str | None = None
    oldest_first: bool = False

    def takes_time(self, time_us: int) -> bool:
        """Say whether a request that arrived then is meant."""
        return self.overlaps(time_us, time_us)

    def overlaps(self, first_us: int, last_us: int) -> bool:
        """Say whether a request that arrived between the two may be meant."""
        return (self.start_us is None or last_us >= self.start_us) and (
            self.end_us is None or first_us < self.end_us
        )

    def takes_models(self, models: Mapping[str, Status]) -> bool:
        """Say whether a request with these statuses, by label, is meant."""
        if self.model is not None:
            found = models.get(self.model)
            return found is not None and self.status in (None, found)
        return self.status is None or self.status in models.values()

    @property
    def is_of_rows(self) -> bool:
        """Say whether it depends on what stands in rows."""
        return self.where is not None or self.valid is not None

    def takes_rows(self, rows: pa.RecordBatch | pa.Table) -> Array:
        """Say for each row of a log's table whether a request with it is meant.

        Raises:
            Invalid: The condition compares or computes what cannot be.
        """
        taken = np.ones(rows.num_rows, dtype=bool)
        if self.valid is not None:
            taken &= self.takes_anomalies(rows.column(ANOMALIES).to_numpy())
        if self.where is not None:
            taken &= self.where.holds(rows)
        return taken

    def takes_anomalies(self, counts: Array) -> Array:
        """Say for each row with so many anomalies whether a request with it is meant."""
        taken: Array = (counts == 0) == self.valid
        return taken

    def takes_values(self, champion: Observation, challengers: Iterable[Observation]) -> bool:
        """Say whether a request in which the models gave these values is meant."""
        return self.disagree is None or any(
            _differ(champion, each)
            for each in challengers
            if self.disagree in (ANY, each.model.label)
        )


def _differ(one: Observation, other: Observation) -> bool:
    """Say whether two models that answered gave different values."""
    if one.outputs is None or other.outputs is None:
        return False
    if len(one.outputs) != len(other.outputs):
        return True
    return not all(map(_is_alike, one.outputs, other.outputs))


def _is_alike(one: Array, other: Array) -> bool:
    if one.size != other.size:
        return False
    left, right = one.reshape(-1), other.reshape(-1)
    if left.dtype.kind == right.dtype.kind == "f":
        return bool(np.allclose(left, right, equal_nan=True))
    return bool(np.array_equal(left, right))


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended, and the next one goes on.

    Attributes:
        places: For each write-ahead, by its uuid, the packed place that the next page stands
            before; or begins with, if the oldest come first.
    """

    places: Mapping[str, int]

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(dict(self.places))).decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` gave.

        Raises:
            Invalid: It did not.
        """
        try:
            places = orjson.loads(base64.urlsafe_b64decode(text))
            if all(type(place) is int and 0 <= place < 2**63 for place in places.values()):
                return cls(places)
        except (binascii.Error, ValueError, AttributeError):
            pass
        raise Invalid("The cursor is not one that a page of this log gave; ask without it.")
