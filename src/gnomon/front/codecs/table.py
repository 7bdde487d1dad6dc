"""An answer as a table: which columns it has, in which order, and what stands in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from gnomon.core import limits
from gnomon.core.binding import nearest
from gnomon.core.errors import InputMismatch
from gnomon.core.inference import Observation, Status
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array
from gnomon.front.codecs.result import (
    Result,
    anomalies,
    has_row_axis,
    metadata,
    row_outputs,
)
from gnomon.front.codecs.wanted import METADATA, Format, Wanted, covers_any

if TYPE_CHECKING:
    import pyarrow as pa

TIME = "time"  # the type of milliseconds since 1970


class Inputs(Protocol):
    """A request by row, for its answer.

    Attributes:
        read_ns: How long reading the request took, nanoseconds; 0: not measured.
    """

    read_ns: int

    def names(self) -> Iterable[str]:
        """Return the names of the columns."""

    def cells(self, name: str) -> Sequence[Any]:
        """Return a column for JSON, a value a row."""

    def objects(self) -> Sequence[dict[str, Any]] | None:
        """Return the rows, each with all of its columns, if they are there as such."""

    def arrow(self, name: str) -> tuple[pa.Array, bool]:
        """Return a column for Arrow, and whether it may have nulls."""


class Input(NamedTuple):
    """A column of the request."""

    name: str


class Output(NamedTuple):
    """An output of a model, or what a validation says of it.

    Attributes:
        array: First axis is the row; None: there is nothing to show.
        dtype: A key of `DTYPES`.
        rank: Axes of a row's part.
        nullable: Other answers may have nothing to show here.
    """

    array: Array | None
    dtype: str
    rank: int
    nullable: bool


class Constant(NamedTuple):
    """The same value, or list of values, in each row; None: unknown.

    Attributes:
        dtype: A numpy type's name, "string" or `TIME`.
    """

    value: Any
    dtype: str


Content = Input | Output | Constant


class Column(NamedTuple):
    """A column of an answer; its name in parts, the first is its group."""

    path: tuple[str, ...]
    content: Content


def columns(result: Result, rows: int, inputs: Inputs) -> Iterable[Column]:
    """Return the columns that are wanted: time, in, out, anomaly, metadata, out_<label>."""
    found, wanted = _all(result, rows, inputs), result.wanted
    return found if wanted.is_whole else (e for e in found if wanted.shows(".".join(e.path)))


def _all(result: Result, rows: int, inputs: Inputs) -> Iterator[Column]:
    yield Column(("time",), Constant(result.time_ms, TIME))
    for name in inputs.names():
        yield Column(("in", name), Input(name))
    yield from _outputs("out", result.champion.model, result.champion, rows)
    yield from _anomalies(result.champion, rows)
    if result.wanted.names_metadata:
        for name, (value, dtype) in metadata(result, inputs.read_ns).items():
            yield Column((METADATA, *name.split(".")), Constant(value, dtype))
    for model, observation in result.by_label():
        yield from _outputs(f"out_{model.label}", model, observation, rows)


def _anomalies(champion: Observation, rows: int) -> Iterator[Column]:
    if not champion.anomalies:
        yield Column(("anomaly", "count"), Constant(0, "uint32"))
    for name, array in anomalies(champion, rows).items():
        content = Output(array, array.dtype.name, 0, nullable=name != "count")
        yield Column(("anomaly", name), content)


def _outputs(
    group: str, model: ServedModel, observation: Observation | None, rows: int
) -> Iterator[Column]:
    specs = model.signature.outputs
    arrays = None if observation is None else row_outputs(observation, rows)
    for spec, array in zip(specs, arrays or [None] * len(specs), strict=True):
        rank = len(spec.shape) - has_row_axis(spec, model.signature, rows)
        yield Column((group, spec.name), Output(array, spec.dtype, rank, nullable=group != "out"))


def check_wanted(wanted: Wanted, route: Route, rows: int, inputs: Inputs, kind: Format) -> None:
    """Refuse a table that there will not be, or that would be many times what was sent.

    Args:
        kind: Of the answer.

    Raises:
        InputMismatch: The dataset names a column that there is none of, the message has the
            nearest; or leaves none. Or there are too many rows for records or for metadata.
    """
    none = np.empty(0, dtype=bool)
    validations = {name: none for check in route.checks for name in check.expressions}
    champion = Observation(model=route.champion, status=Status.PENDING, anomalies=validations)
    nothing = Result(route, "", 0, champion, (None,) * len(route.challengers), wanted)
    known = [".".join(each.path) for each in _all(nothing, 0, inputs)]
    for entry in wanted.dataset:
        if not covers_any(entry, known):
            near = nearest(entry, known) or ""
            raise InputMismatch(
                f"dataset names {entry[:80]!r}, and the answer has no such column. "
                f"Did you mean {near[:80]!r}?",
                column=entry[:80],
            )
    shown = [name for name in known if wanted.shows(name)]
    if not shown:
        raise InputMismatch("dataset and dataset.exclude leave no column of the answer.")
    if kind is Format.RECORDS:
        check_records(rows, len(shown))
    told = sum(name.startswith(METADATA) for name in shown)
    if rows * told > limits.TEXT_VALUES_MAX:
        raise InputMismatch(
            f"{told} columns of metadata for {rows} rows are more than "
            f"{limits.TEXT_VALUES_MAX} values; name fewer, or send fewer rows."
        )


def check_records(rows: int, columns: int) -> None:
    """Refuse a table that is too large for records.

    Raises:
        InputMismatch: It is.
    """
    if rows > limits.RECORDS_MAX or rows * columns > limits.RECORDS_CELLS_MAX:
        raise InputMismatch(
            f"{rows} rows of {columns} columns are too many for records, which take up to "
            f"{limits.RECORDS_MAX} rows and {limits.RECORDS_CELLS_MAX} values. Send Arrow, and "
            "ask for Arrow."
        )
