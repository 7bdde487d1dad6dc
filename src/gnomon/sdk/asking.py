"""One request to a front: its headers, its body, its answer."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from gnomon.core import limits
from gnomon.core.errors import (
    BodyTooLarge,
    InferenceTimeout,
    InputMismatch,
    Invalid,
    MalformedRequest,
    NotDeployed,
)
from gnomon.core.names import check_request_id
from gnomon.sdk import answers, inference, parts, rows
from gnomon.sdk.connections import Cancel
from gnomon.sdk.inference import InferenceResult
from gnomon.sdk.parts import NamedTensors, Part, Rows
from gnomon.sdk.session import Session
from gnomon.sdk.transport import Reply

if TYPE_CHECKING:
    import pyarrow as pa


class Dataset(NamedTuple):
    """Which columns of an answer are wanted, and how they are named.

    Attributes:
        columns: Names as "out.dense_1", or groups of them as "out"; "*" is all but "metadata".
            Empty: all of these.
        excluded: Likewise, what is left out. The longer of two names counts.
        separator: What joins the parts of a name; None: a dot; "": groups are structs.
    """

    columns: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    separator: str | None = None

    @classmethod
    def of(cls, dataset: Any, dataset_exclude: Any, dataset_separator: Any) -> Dataset:
        """Read what a caller gave.

        Raises:
            Invalid: It is no list of names, or no text.
        """
        if dataset_separator is not None and not isinstance(dataset_separator, str):
            raise Invalid(f"dataset_separator must be text, got {dataset_separator!r}: try '.'.")
        columns = _names("dataset", dataset)
        return cls(
            columns if columns != ("*",) else (),
            _names("dataset_exclude", dataset_exclude),
            dataset_separator,
        )

    def query(self) -> str:
        """Return what is added to the address, with its question mark; empty for the default."""
        given = [("dataset[]", name) for name in self.columns]
        given += [("dataset.exclude[]", name) for name in self.excluded]
        if self.separator is not None:
            given.append(("dataset.separator", self.separator))
        return f"?{urlencode(given)}" if given else ""


_ALL, _NO_INPUT = Dataset(), Dataset(excluded=("in",))


def _names(name: str, given: Any) -> tuple[str, ...]:
    found = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise Invalid(
            f'{name} must be a list of columns, as ["time", "out"], got {str(given)[:80]!r}.'
        )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a pipeline's front is asked.

    Attributes:
        pipeline: Its name, for messages.
        timeout_s: Seconds to wait for the champion; None: what the server says.
        request_id: By which the logs know the request; None: the server makes one.
        shadow_wait_ms: How long the answer may wait for the challengers; None: what the
            pipeline says.
        dataset: Which columns the answer to a frame has.

    Raises:
        MalformedRequest: The request id breaks its rule.
        Invalid: A time is out of bounds.
    """

    pipeline: str
    timeout_s: float | None = None
    request_id: str | None = None
    shadow_wait_ms: int | None = None
    dataset: Dataset = _ALL

    def __post_init__(self) -> None:
        if self.request_id is not None:
            if not isinstance(self.request_id, str):
                raise MalformedRequest(
                    f"request_id must be text, got {type(self.request_id).__name__}: try "
                    f"request_id={str(self.request_id)[:64]!r}."
                )
            check_request_id(self.request_id)
        if self.timeout_s is not None:
            check_seconds("timeout", self.timeout_s)
        if self.shadow_wait_ms is not None:
            check_shadow_wait(self.shadow_wait_ms)

    def headers(self, part: int = 1) -> dict[str, str]:
        """Return the headers that say all this.

        Args:
            part: Which request this is of those that a large frame is sent in, from 1. The
                second is known to the logs as "<request_id>.2".
        """
        found = {}
        if self.request_id is not None:
            request_id = self.request_id if part == 1 else f"{self.request_id}.{part}"
            found["X-Gnomon-Request-Id"] = check_request_id(request_id)
        if self.timeout_s is not None:
            capped_s = min(self.timeout_s, limits.INFER_TIMEOUT_MAX_S)
            found["X-Gnomon-Timeout-Ms"] = str(max(1, round(capped_s * 1000)))
        if self.shadow_wait_ms is not None:
            found["X-Gnomon-Shadow-Wait-Ms"] = str(self.shadow_wait_ms)
        return found

    def of_batch(self, number: int) -> Asking:
        """Return how a batch is asked, by its number from 1, if this asks about many."""
        if self.request_id is None:
            return self
        return replace(self, request_id=f"{self.request_id}.{number}")

    def ask(self, session: Session, url: str, tensor: Any, cancel: Cancel | None = None) -> Any:
        """Send named tensors or a frame, and return what came back.

        What one request cannot take is sent in several, one after the other.

        Args:
            cancel: By which another thread can end it.

        Returns:
            A frame of the same kind for a frame, else a list with one InferenceResult.

        Raises:
            TypeError: `tensor` is none of these.
            InferenceError: It was refused, or failed.
            Cancelled: Another thread ended it.
        """
        if isinstance(tensor, Mapping):
            if self.dataset != _ALL:
                raise Invalid(
                    "dataset, dataset_exclude and dataset_separator choose columns of the answer "
                    "to a frame. The answer to named tensors or an array has none; send a frame."
                )
            return [self._ask_tensors(session, url, tensor, cancel)]
        table = rows.table_of(tensor)
        return answers.like(self.ask_table(session, url, table, cancel), tensor)

    def _ask_tensors(
        self, session: Session, url: str, tensors: Mapping[str, Any], cancel: Cancel | None
    ) -> InferenceResult:
        as_rows = parts.arrays_as_rows(tensors)
        if as_rows is not None:
            try:  # without the input: as JSON it would be most of the answer
                return self._result(session, url + _NO_INPUT.query(), as_rows, cancel)
            except InputMismatch:
                # It may be a model whose first axis is not the row, which takes an array whole.
                if not parts.is_finite(tensors):
                    raise
        return self._result(session, url, NamedTensors(tensors), cancel)

    def _result(
        self, session: Session, url: str, whole: Part, cancel: Cancel | None
    ) -> InferenceResult:
        told, sizes = [], []
        for part, reply in self._replies(session, url, whole, cancel):
            told += reply.json()
            sizes.append(part.rows)
        return InferenceResult(inference.joined(told, sizes))

    def ask_table(
        self, session: Session, url: str, table: pa.Table, cancel: Cancel | None = None
    ) -> pa.Table:
        """Send a table, as `rows.table_of` makes it, and return the answer."""
        url += self.dataset.query()
        return answers.joined(
            [
                answers.read(
                    reply.body,
                    reply.headers.get("X-Gnomon-Request-Id", ""),
                    reply.headers.get("X-Gnomon-Challengers"),
                )
                for _, reply in self._replies(session, url, Rows(table), cancel)
            ]
        )

    def _replies(
        self, session: Session, url: str, whole: Part, cancel: Cancel | None
    ) -> Iterator[tuple[Part, Reply]]:
        """Send rows, in halves where they are too many for one request, and yield the answers."""
        waiting, number = [whole], 1
        while waiting:
            part = waiting.pop()
            try:
                reply = self._post(session, url, part, number, cancel)
            except BodyTooLarge:
                if part.rows == 1:
                    raise
                waiting += reversed(part.halves())
            else:
                number += 1
                yield part, reply

    def _post(
        self, session: Session, url: str, part: Part, number: int, cancel: Cancel | None
    ) -> Reply:
        waits_s = session.timeout_s
        if self.timeout_s is not None:
            # The server gives up first, and says why; this is for one that is silent.
            wait_s = (self.shadow_wait_ms or 0) / 1000
            waits_s = self.timeout_s + wait_s + limits.CLIENT_CONNECT_TIMEOUT_S
        body = part.body()
        # No thread counts: it would cost more than most models do.
        with session.waiting("inference response", waits_s, counting=False) as waiting:
            try:
                return session.transport.send(
                    "POST",
                    url,
                    body=body,
                    headers={**part.headers, **self.headers(number)},
                    timeout_s=waits_s,
                    late=InferenceTimeout,
                    repeatable=True,  # a model only computes
                    cancel=cancel,
                    on_second=waiting.tick,
                )
            except NotDeployed as error:
                raise not_deployed(self.pipeline, error.request_id) from error


def not_deployed(pipeline: str, request_id: str | None = None) -> NotDeployed:
    """Return the error of asking a pipeline that does not run."""
    return NotDeployed(
        f"Pipeline {pipeline!r} is not deployed: call deploy() first.",
        request_id=request_id,
        pipeline=pipeline,
    )


def check_shadow_wait(shadow_wait_ms: int) -> None:
    """Refuse a wait for challengers that is out of bounds.

    Raises:
        Invalid: It is.
    """
    if not _is_number(shadow_wait_ms) or not 0 <= shadow_wait_ms <= limits.SHADOW_WAIT_MAX_MS:
        raise Invalid(
            f"shadow_wait_ms must be 0 to {limits.SHADOW_WAIT_MAX_MS} milliseconds, "
            f"got {shadow_wait_ms!r}."
        )


def check_seconds(name: str, seconds: float) -> None:
    """Refuse what is no time to wait.

    Raises:
        Invalid: It is no number, or not more than 0.
    """
    if not _is_number(seconds) or not (seconds > 0 and math.isfinite(seconds)):
        raise Invalid(f"{name} must be more than 0 seconds, got {seconds!r}.")


def check_retries(retries: int | None) -> int:
    """Return how often something is asked again.

    Raises:
        Invalid: It is no number, or out of bounds.
    """
    if retries is None:
        return limits.CLIENT_RETRIES
    return check_count("retries", retries, at_most=limits.CLIENT_RETRIES_MAX)


def check_count(name: str, count: Any, *, at_least: int = 0, at_most: int = sys.maxsize) -> int:
    """Return a whole number.

    Raises:
        Invalid: It is none, or out of bounds.
    """
    is_whole = isinstance(count, Integral) and not isinstance(count, bool)
    if not is_whole or not at_least <= count <= at_most:
        most = "or more" if at_most == sys.maxsize else f"to {at_most:,}"
        raise Invalid(f"{name} must be a whole number, {at_least} {most}, got {count!r}.")
    return int(count)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
