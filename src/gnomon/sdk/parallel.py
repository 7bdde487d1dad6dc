"""Many requests at a time: what waits for answers is a bounded number of threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from gnomon.core import limits
from gnomon.core.errors import (
    Denied,
    GnomonError,
    HostUnavailable,
    NotDeployed,
    Overloaded,
    ServerUnreachable,
)
from gnomon.sdk import answers
from gnomon.sdk.answers import Failure
from gnomon.sdk.connections import Cancel
from gnomon.sdk.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

# Nothing was computed, and may be another time.
_WORTH_ANOTHER = (Overloaded, HostUnavailable, ServerUnreachable)
# What all further requests would meet too.
_HOPELESS = (Denied, NotDeployed, ServerUnreachable)


async def patiently(ask: Callable[[Cancel], Any], retries: int) -> Any:
    """Ask in a thread; again, after a pause, where the server is busy or starting, or is gone.

    Args:
        ask: Takes what ends it if the caller is cancelled.
        retries: How often at most it is asked again.
    """
    left, pause_s = retries, limits.CLIENT_RETRY_PAUSE_S
    while True:
        try:
            return await _in_thread(ask)
        except _WORTH_ANOTHER as error:
            if not left:
                raise
            await asyncio.sleep(
                max(pause_s, limits.RETRY_AFTER_S if isinstance(error, Overloaded) else 0)
            )
        left, pause_s = left - 1, min(2 * pause_s, limits.CLIENT_RETRY_PAUSE_MAX_S)


async def _in_thread(ask: Callable[[Cancel], Any]) -> Any:
    cancel = Cancel()
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads(os.getpid()), ask, cancel)
    except asyncio.CancelledError:
        cancel.now()
        raise


@cache
def _threads(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 (a forked child has its own)
    return ThreadPoolExecutor(limits.CLIENT_CONNECTIONS_MAX, thread_name_prefix="gnomon-infer")


class Batches:
    """A table that is sent in batches, several at a time.

    Args:
        rows: Of each batch but the last.
        ask: Takes a batch, its number from 1, and what ends it; returns its answer.
        retries: As in `patiently`.
    """

    def __init__(
        self,
        table: pa.Table,
        rows: int,
        ask: Callable[[pa.Table, int, Cancel], pa.Table],
        retries: int,
    ) -> None:
        self._table = table
        self._rows = rows
        self._ask = ask
        self._retries = retries
        self._starts = range(0, table.num_rows, rows)
        self._answers: list[Any] = [None] * len(self._starts)  # a table or an error
        self._hopeless: GnomonError | None = None

    async def infer(self, parallel: int, progress: Progress) -> pa.Table:
        """Send all, so many at a time, and join the answers in the order of the rows.

        Returns:
            See `answers.with_failures`; where a batch failed, its input and nulls.

        Raises:
            GnomonError: Of the first batch, if all have failed.
        """
        numbers = iter(range(len(self._starts)))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(parallel, len(self._starts))):
                group.create_task(self._work(numbers, progress))
        return self._joined()

    async def _work(self, numbers: Iterator[int], progress: Progress) -> None:
        for number in numbers:  # which all share
            batch = self._batch(number)
            answer = self._hopeless or await self._answer(number, batch)
            self._answers[number] = answer
            progress.add(batch.num_rows, failed=isinstance(answer, GnomonError))

    async def _answer(self, number: int, batch: pa.Table) -> pa.Table | GnomonError:
        try:
            return await patiently(partial(self._ask, batch, number + 1), self._retries)
        except _HOPELESS as error:
            self._hopeless = error
            return error
        except GnomonError as error:
            return error

    def _batch(self, number: int) -> pa.Table:
        return self._table.slice(self._starts[number], self._rows)

    def _joined(self) -> pa.Table:
        errors = [each for each in self._answers if isinstance(each, GnomonError)]
        answered = [each for each in self._answers if not isinstance(each, GnomonError)]
        if not answered:
            errors[0].add_note(f"All of the {len(errors):,} batches failed, the first with this.")
            raise errors[0]
        schema = answered[0].schema
        parts, failures = [], []
        for number, answer in enumerate(self._answers):
            batch = self._batch(number)
            if isinstance(answer, GnomonError):
                failures.append(_failure(self._starts[number], batch.num_rows, answer))
                answer = answers.unanswered(batch, schema)
            parts.append(answer)
        return answers.with_failures(answers.joined(parts), failures)


def _failure(start: int, rows: int, error: GnomonError) -> Failure:
    return Failure(start=start, stop=start + rows, error=str(error), error_code=error.code)
