"""What a pipeline's log is asked: its entries, its files, its table."""

from __future__ import annotations

import os
import time
import warnings
from abc import ABC, abstractmethod
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from gnomon.core import limits
from gnomon.core.errors import NotFound
from gnomon.sdk import log_files, records
from gnomon.sdk.asking import Dataset
from gnomon.sdk.logs import LogEntries, ShadowLogEntries
from gnomon.sdk.moments import moment
from gnomon.sdk.session import Session

_MORE = (
    "There are more logs available. Please set a larger limit or request a file using export_logs."
)


class Reading(ABC):
    """Something whose log can be read."""

    _session: Session

    @abstractmethod
    def name(self) -> str:
        """Return the pipeline's name."""

    @abstractmethod
    def _route(self, *more: object) -> str:
        """Return the route of the pipeline, or of something below it."""

    def logs(
        self,
        limit: int | None = None,
        valid: bool | None = None,
        *,
        start_datetime: datetime | str | None = None,
        end_datetime: datetime | str | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: str | None = None,
        arrow: bool = False,
        model: str | None = None,
        status: str | None = None,
        request_id: str | None = None,
        where: str | None = None,
        disagree: str | bool | None = None,
    ) -> Any:
        """Return requests with one entry per model, newest first.

        With both a start and an end the oldest come first. Warns if there are more. What was read
        is decoded when it is looked at.

        Args:
            limit: How many requests; None: 100, or 1,000 with a start or an end.
            valid: False: only rows in which a validation found an anomaly; True: only others.
            start_datetime: Those that arrived then or later; a time, or a text as
                "2026-11-23T08:00:00+01:00". Without a zone it is UTC.
            end_datetime: Those that arrived before.
            dataset: Columns of the frames that the entries make, or groups of them:
                ["time", "out"]. None: all but "metadata".
            dataset_exclude: Columns or groups that they have not. The longer of two names counts.
            dataset_separator: What joins the parts of a column's name; None: a dot.
            arrow: True returns a pyarrow Table, one row per input row.
            model: Only the entries of this label.
            status: Only the entries of this status: "ok", "error", "timeout", "dropped",
                "schema", "skipped", "pending" or "lost".
            request_id: Only this request.
            where: Only requests of which it holds for a row: a condition on columns of the log's
                table, as `'ABS("out.dense_1"[1] - "out_rf.dense_1"[1]) > 0.1'`. It may have AND,
                OR, NOT, =, <>, <, <=, >, >=, IN, BETWEEN, IS NULL, +, -, *, / and ABS.
            disagree: Only requests in which the challenger of this label, or any if it is True,
                gave other values than the champion; floats that differ by rounding are alike.

        Returns:
            LogEntries; or a pyarrow Table.

        Raises:
            Invalid: An argument is not what it can be.
        """
        chosen = Dataset.of(dataset, dataset_exclude, dataset_separator)
        wanted = _conditions(
            start_datetime,
            end_datetime,
            disagree,
            valid=valid,
            model=model,
            status=status,
            request_id=request_id,
            where=where,
        )
        if limit is None:
            is_span = start_datetime is not None or end_datetime is not None
            limit = limits.LOGS_IN_SPAN_DEFAULT if is_span else limits.LOGS_DEFAULT
        found, more = records.fetch(self._session, self._route("logs"), limit, **wanted)
        if more:
            warnings.warn(_MORE, UserWarning, stacklevel=2)
        entries = LogEntries.of(
            *found,
            more=more,
            model=model,
            status=status,
            dataset=chosen,
            oldest_first=wanted["order"] == "oldest",
        )
        return entries.to_arrow() if arrow else entries

    def _following(self, *, disagree: str | bool | None = None, **others: Any) -> records.Following:
        """Return what gives the requests that are logged from now on; arguments as of `logs`."""
        wanted = _conditions(None, None, disagree, **others)
        return records.Following(self._session, self._route("logs"), **wanted)

    def logs_shadow_deploy(self, limit: int = limits.LOGS_DEFAULT) -> ShadowLogEntries:
        """Return the newest requests that had challengers, one entry per request."""
        found, more = records.fetch(self._session, self._route("logs"), limit)
        return ShadowLogEntries.of(chain.from_iterable(found), more=more)

    def export_logs(
        self,
        directory: str | os.PathLike[str] | None = None,
        file_prefix: str | None = None,
        data_size_limit: str | None = None,
        limit: int | None = None,
        start_datetime: datetime | str | None = None,
        end_datetime: datetime | str | None = None,
        valid: bool | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: str | None = None,
        arrow: bool = False,
        *,
        format: str | None = None,
        model: str | None = None,
        status: str | None = None,
        request_id: str | None = None,
        where: str | None = None,
        disagree: str | bool | None = None,
    ) -> list[Path]:
        """Write requests to files, one row per input row, page by page.

        Rows whose columns are of other kinds than before go to a further file. Files of the same
        names are replaced.

        Args:
            directory: Made if it is missing; None: "logs".
            file_prefix: The files are `<prefix>-1.json` and so on; None: the pipeline's name.
            data_size_limit: Of all files, as "100MiB", which is the default: the export ends with
                the page that exceeds it, and warns.
            limit: How many requests; None: all.
            arrow: The same as format="arrow".
            format: "json" (one object a line, times in milliseconds since 1970), "csv" (texts that
                a spreadsheet would take for formulas begin with '), "arrow" (an Arrow file) or
                "parquet". None: "json".
            model: This and the others are those of `logs`: the requests with such an entry, with
                all of their models.

        Returns:
            The files.

        Raises:
            Invalid: An argument is not what it can be.
            OSError: A file cannot be written.
        """
        wanted = _conditions(
            start_datetime,
            end_datetime,
            disagree,
            valid=valid,
            model=model,
            status=status,
            request_id=request_id,
            where=where,
        )
        return log_files.export(
            records.pages(self._session, self._route("logs"), limit, **wanted),
            prefix=Path(directory or "logs") / (file_prefix or self.name()),
            format=format or ("arrow" if arrow else "json"),
            bytes_max=log_files.parse_size(data_size_limit),
            dataset=Dataset.of(dataset, dataset_exclude, dataset_separator),
            oldest_first=wanted["order"] == "oldest",
            shown=self._session.interactive,
        )

    def log_table(self, timeout: float = limits.LOG_TABLE_WAIT_S) -> str:
        """Return where the newest Delta table of the log is.

        A request stands in the table some seconds after all of its models have ended. There is a
        new table when a column changes its type; the older ones stand beside it, by number.

        Args:
            timeout: Seconds to wait for the first one.

        Raises:
            NotFound: There is none yet.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                view = self._session.transport.call("GET", self._route("logs", "tables")).json()
                return str(view["tables"][-1])
            except NotFound:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(limits.LOG_TABLE_LOOK_S)


def _conditions(
    start: datetime | str | None,
    end: datetime | str | None,
    disagree: str | bool | None,
    **others: Any,
) -> dict[str, Any]:
    """Return what `logs` and `export_logs` were given as `records.pages` takes it.

    Raises:
        Invalid: The start or the end is no time.
    """
    return {
        **others,
        "start_datetime": moment("start_datetime", start),
        "end_datetime": moment("end_datetime", end),
        "order": "oldest" if start is not None and end is not None else None,
        "disagree": "*" if disagree is True else disagree or None,
    }
