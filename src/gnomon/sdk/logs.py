"""The logs of a pipeline, as a notebook sees them: real lists, shown as tables.

An entry is a place in a page, which is decoded when something of the entry is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from gnomon.core.tensors import Array
from gnomon.sdk import html
from gnomon.sdk.asking import Dataset
from gnomon.sdk.log_frames import LogFrame
from gnomon.sdk.records import LoggedModel, LoggedRequest, Page, wide

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_ALL = Dataset()


@dataclass(frozen=True, slots=True, eq=False)
class LogEntry:
    """What one model did with one request.

    Attributes:
        elapsed: Nanoseconds that the model ran.
        model_name: The champion's name, or the challenger's label.
        model_version: uuid of the version that ran.
        input: The values of the request's only column, or each column by name; nested lists.
        output: One array per output, floats as float64; empty unless `status` is "ok".
        validation_failures: Names of the validations that found an anomaly in what the champion
            gave, for its entry.
        timestamp: When the request arrived; aware, in UTC.
        raw: All of this as plain values.
        shadow_data: The champion's entry has the outputs of each challenger, by label.
        status: "ok", "error", "timeout", "dropped", "schema", "pending" or "lost".
        error: Why there is no output, in a sentence; None if there is.
        request_id: The request's, which all of its entries share.
    """

    _page: Sequence[LoggedRequest] = field(repr=False)
    _at: int = field(repr=False)
    _index: int = field(repr=False)

    @property
    def _request(self) -> LoggedRequest:
        return self._page[self._at]

    @property
    def _model(self) -> LoggedModel:
        return self._request.models[self._index]

    @property
    def elapsed(self) -> int:
        return self._model.elapsed_ns

    @property
    def model_name(self) -> str:
        return self._model.label

    @property
    def label(self) -> str:
        """The same as `model_name`."""
        return self._model.label

    @property
    def model_version(self) -> str:
        return self._model.version

    @property
    def input(self) -> Any:
        lists = {name: wide(array).tolist() for name, array in self._request.inputs.items()}
        return next(iter(lists.values())) if len(lists) == 1 else lists

    @property
    def output(self) -> list[Array]:
        return [wide(array) for array in self._model.outputs]

    @property
    def validation_failures(self) -> list[str]:
        if self._index != 0:
            return []
        return sorted(name for name, found in self._request.anomalies.items() if found.any())

    @property
    def timestamp(self) -> datetime:
        return self._request.time

    @property
    def status(self) -> str:
        return self._model.status

    @property
    def error(self) -> str | None:
        return self._model.error

    @property
    def request_id(self) -> str:
        return self._request.request_id

    @property
    def shadow_data(self) -> dict[str, list[Array]]:
        if self._model.role != "champion":
            return {}
        return {
            model.label: [wide(array) for array in model.outputs]
            for model in self._request.models
            if model.role != "champion" and model.status == "ok"
        }

    @property
    def raw(self) -> dict[str, Any]:
        shadow = {
            label: [array.tolist() for array in arrays]
            for label, arrays in self.shadow_data.items()
        }
        return {
            "request_id": self.request_id,
            "time": int(self.timestamp.timestamp() * 1000),
            "model_name": self.model_name,
            "model_version": self.model_version,
            "status": self.status,
            "error": self.error,
            "elapsed": self.elapsed,
            "original_data": {
                name: wide(array).tolist() for name, array in self._request.inputs.items()
            },
            "outputs": [array.tolist() for array in self.output],
            "shadow_data": shadow,
            "check_failures": self.validation_failures,
            "pipeline_name": self._request.pipeline,
            "pipeline_version": self._request.pipeline_version,
        }

    def time_elapsed(self) -> timedelta:
        """Return how long the model ran."""
        return timedelta(microseconds=self.elapsed / 1000)

    def __repr__(self) -> str:
        result = f"output={self.output!r}" if self.status == "ok" else f"error={self.error!r}"
        return (
            f"LogEntry(model_name={self.model_name!r}, timestamp={self.timestamp.isoformat()}, "
            f"status={self.status!r}, {result})"
        )


class LogEntries(list[LogEntry]):
    """The entries of a log: one per model and request, newest request first.

    Within a request they stand in the reverse of: champion, challengers by label; all in reverse
    if the oldest come first. A list, which a notebook shows as a table, with the ways of a frame
    beside it: `to_pandas()`, `to_polars()`, `to_arrow()`, `logs["out.dense_1"]`, `columns`,
    `head()`; and itself a table to whatever reads Arrow.

    Attributes:
        more: The log has further requests than these.
    """

    def __init__(
        self,
        entries: Iterable[LogEntry] = (),
        *,
        more: bool = False,
        dataset: Dataset = _ALL,
        oldest_first: bool = False,
    ) -> None:
        super().__init__(entries)
        self.more = more
        self._dataset = dataset
        self._oldest_first = oldest_first

    @classmethod
    def of(
        cls,
        *pages: Iterable[LoggedRequest],
        more: bool = False,
        model: str | None = None,
        status: str | None = None,
        dataset: Dataset = _ALL,
        oldest_first: bool = False,
    ) -> LogEntries:
        """Make the entries of requests, in their order.

        Args:
            pages: Decoded when an entry is looked at.
            model: Only those of this label.
            status: Only those of this status.
            dataset: The columns of their frames.
        """
        entries = (
            LogEntry(page, at, index)
            for page in (each if isinstance(each, Page) else Page.of(each) for each in pages)
            for at, models in enumerate(page.models())
            for index, (label, found) in list(enumerate(models))[:: 1 if oldest_first else -1]
            if model in (None, label) and status in (None, found)
        )
        return cls(entries, more=more, dataset=dataset, oldest_first=oldest_first)

    def _frame(self) -> LogFrame:
        requests = {id(entry._request): entry._request for entry in self}
        return LogFrame([*requests.values()], self._dataset, oldest_first=self._oldest_first)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per input row, newest first: the last row of a request before its first.

        Columns: time, in.*, out.*, anomaly.*, then out_<label>.* by label; a challenger
        without an output has None. All models of the requests are there, whichever entries are.
        """
        return self._frame().to_pandas()

    def to_arrow(self) -> pa.Table:
        """Return the rows of `to_pandas()`, with the types that the models declare."""
        return self._frame().to_arrow()

    def to_polars(self) -> pl.DataFrame:
        """Return the rows of `to_arrow()` as a frame of polars, which must be installed."""
        import polars as pl

        return pl.DataFrame(self.to_arrow())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Give the rows of `to_arrow()` to whatever reads Arrow."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    @property
    def columns(self) -> pd.Index[str]:
        """The columns of `to_pandas()`."""
        return self.to_pandas().columns

    def head(self, n: int = 5) -> pd.DataFrame:
        """Return the first `n` rows of `to_pandas()`."""
        return self.to_pandas().head(n)

    @overload
    def __getitem__(self, key: SupportsIndex) -> LogEntry: ...
    @overload
    def __getitem__(self, key: slice) -> LogEntries: ...
    @overload
    def __getitem__(self, key: str) -> pd.Series[Any]: ...
    @overload
    def __getitem__(self, key: list[str]) -> pd.DataFrame: ...
    def __getitem__(self, key: Any) -> Any:
        """Return an entry, some entries, or columns of `to_pandas()` by name."""
        if isinstance(key, str | list):
            return self.to_pandas()[key]
        found = super().__getitem__(key)
        if not isinstance(key, slice):
            return found
        return LogEntries(
            found, more=self.more, dataset=self._dataset, oldest_first=self._oldest_first
        )

    def _repr_html_(self) -> str:
        note = "There are older requests: logs(limit=...) shows more." if self.more else ""
        shown = [
            (entry._request, entry._model, len(entry.validation_failures))
            for entry in self[: html.ROWS_SHOWN_MAX]
        ]
        return html.logs(shown, len(self), note)


@dataclass(frozen=True, slots=True)
class ShadowLogEntry:
    """One request of a shadow pipeline: its champion and its challengers, by label.

    Attributes:
        primary: The champion's entry.
        challengers: Their entries, sorted by label.
    """

    primary: LogEntry
    challengers: tuple[LogEntry, ...]

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.primary.request_id

    @property
    def input(self) -> Any:
        """What was sent; see `LogEntry`."""
        return self.primary.input

    @property
    def timestamp(self) -> datetime:
        """When the request arrived; aware, in UTC."""
        return self.primary.timestamp


class ShadowLogEntries(list[ShadowLogEntry]):
    """A shadow log: one entry per request, newest first, that a notebook shows as a table."""

    def __init__(self, entries: Iterable[ShadowLogEntry] = (), *, more: bool = False) -> None:
        super().__init__(entries)
        self.more = more

    @classmethod
    def of(cls, requests: Iterable[LoggedRequest], *, more: bool = False) -> ShadowLogEntries:
        """Make the entries of the requests that had challengers."""
        page = Page.of(requests)
        return cls(
            (
                ShadowLogEntry(
                    LogEntry(page, at, 0),
                    tuple(LogEntry(page, at, index) for index in range(1, len(request.models))),
                )
                for at, request in enumerate(page)
                if len(request.models) > 1
            ),
            more=more,
        )

    def _repr_html_(self) -> str:
        note = "There are older requests: logs_shadow_deploy(limit=...) shows more."
        return html.shadow_logs(
            [entry.primary._request for entry in self], note if self.more else ""
        )
