"""Asking a pipeline: one input, a file, many at once."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gnomon.core import limits
from gnomon.core.binding import TENSOR
from gnomon.core.errors import InputMismatch
from gnomon.core.pipeline import Definition
from gnomon.core.plan import plan
from gnomon.sdk import answers, inference, rows
from gnomon.sdk.asking import Asking, Dataset, check_count, check_retries
from gnomon.sdk.connections import Cancel
from gnomon.sdk.inference import InferenceResult
from gnomon.sdk.model import ModelBase
from gnomon.sdk.progress import Progress
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Inferring(ABC):
    """The part of a pipeline that asks its champion."""

    _session: Session
    _view: Mapping[str, Any]
    _joined: bool
    _array_name = TENSOR  # under which an array alone is sent

    @abstractmethod
    def name(self) -> str:
        """Return the pipeline's name."""

    @abstractmethod
    def url(self) -> str:
        """Return where inferences are posted."""

    def infer(
        self,
        tensor: Any,
        timeout: float | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: str | None = None,
        *,
        request_id: str | None = None,
        shadow_wait_ms: int | None = None,
    ) -> Any:
        """Ask the champion. The answer has what the challengers said, if they were done in time.

        What is larger than one request may be is sent in several, one after the other, and the
        answers are joined in order.

        Args:
            tensor: Named tensors, as {"tensor": [[...]]}, with lists or arrays; or an array, for
                a model with one input; or a frame (pandas or polars DataFrame, pyarrow Table),
                one input row a row, whose further columns are logged with it. A frame is sent as
                Arrow, so that its types and NaN arrive as they are.
            timeout: Seconds to wait for the champion's answer to each request.
            dataset: Columns that the answer to a frame has, or groups of them: ["time", "out"].
                None or "*": all but "metadata", which has versions and times.
            dataset_exclude: Columns or groups that it has not. The longer of two names counts:
                dataset="anomaly.count" with dataset_exclude="anomaly" shows the count.
            dataset_separator: What joins the parts of a name; None: a dot. "": a column a group,
                of structs.
            request_id: By which the logs know the request; made by the server if None. The
                second of several is "<request_id>.2".
            shadow_wait_ms: How long the answer may wait for the challengers, in milliseconds; 0
                does not wait. None: 1,000, or what a "joined" pipeline says.

        Returns:
            A list with one InferenceResult; or, for a frame, a frame of the same kind with the
            columns time, in.*, out.*, anomaly.count and out_<label>.*. The `attrs` of a DataFrame
            have "request_id", "request_ids" (of all requests that it was sent in) and
            "challengers"; a Table has them as JSON in its schema's metadata, under "gnomon".

        Raises:
            InputMismatch: It does not fit the champion's inputs; the message says what does not.
            BodyTooLarge: A single row is larger than one request may be.
            NotDeployed: The pipeline does not run.
            InferenceTimeout: No answer in time.
            TypeError: `tensor` is none of these.
        """
        wanted = Dataset.of(dataset, dataset_exclude, dataset_separator)
        asking = self._asking(timeout, wanted, request_id, shadow_wait_ms)
        return self._ask(asking, self._session, tensor)

    def infer_from_file(
        self,
        filename: str | os.PathLike[str],
        data_format: str | None = None,
        timeout: float | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: str | None = None,
        *,
        request_id: str | None = None,
        shadow_wait_ms: int | None = None,
    ) -> list[InferenceResult] | pd.DataFrame:
        """Ask the champion about what is in a file.

        Args:
            filename: A .json file with named tensors or a list of records, or an Arrow IPC file
                (.arrow).
            data_format: What the file holds, whatever it is called: "pandas-records" (JSON, a
                list of records), "custom-json" (JSON, either of the two) or "arrow". None: what
                its name says.
            timeout: This and the others are those of `infer`.

        Returns:
            A list with one InferenceResult for named tensors, else a DataFrame; see `infer`.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError: Its name ends in something else, and `data_format` is None.
            MalformedRequest: It is not what its name or `data_format` says.
            Invalid: Another `data_format`.
        """
        answer: Any = self.infer(
            inference.read_file(filename, data_format),
            timeout,
            dataset,
            dataset_exclude,
            dataset_separator,
            request_id=request_id,
            shadow_wait_ms=shadow_wait_ms,
        )
        if isinstance(answer, list) or rows.is_frame(answer):
            return cast("list[InferenceResult] | pd.DataFrame", answer)
        return answers.to_pandas(answer)

    async def async_infer(
        self,
        tensor: Any,
        async_client: Any = None,
        timeout: float | None = None,
        retries: int | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: str | None = None,
        *,
        request_id: str | None = None,
        shadow_wait_ms: int | None = None,
    ) -> Any:
        """Ask like `infer`, while others run: up to 64 in a process wait at the same time.

        Cancelling it ends the request.

        Args:
            async_client: Taken for compatibility and not used: all requests go over the
                connections of this client.
            retries: How often it is asked again, after a pause, where the server is busy or
                starting, or is gone. None: 2.
        """
        del async_client
        from gnomon.sdk import parallel  # which loads asyncio

        wanted = Dataset.of(dataset, dataset_exclude, dataset_separator)
        asking = self._asking(timeout, wanted, request_id, shadow_wait_ms)
        ask = partial(self._ask, asking, replace(self._session, interactive=False), tensor)
        return await parallel.patiently(ask, check_retries(retries))

    async def parallel_infer(
        self,
        tensor: Any,
        batch_size: int = 1,
        timeout: float | None = None,
        num_parallel: int | None = None,
        retries: int | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: str | None = None,
        *,
        request_id: str | None = None,
        shadow_wait_ms: int | None = None,
    ) -> Any:
        """Ask about the rows of a frame in batches, several at a time, and show how far it is.

        A batch that fails leaves the others alone: its rows are in the answer with nulls, and the
        column "error" says why; without failures there is no such column. A warning counts them.

        Args:
            tensor: A frame, as for `infer`.
            batch_size: Rows in a request.
            timeout: Seconds to wait for the champion's answer to each request.
            num_parallel: Requests at a time, at most 64; None: 8.
            retries: How often each is asked again, as in `async_infer`.
            dataset: This and the next two are those of `infer`.
            request_id: That of batch n is "<request_id>.<n>", from 1.

        Returns:
            A frame of the same kind as `infer` gives it, in the order of the rows. `attrs` has
            "failures" too: a list of {"start", "stop", "error", "error_code"}, where `stop` is
            the first row that is no longer meant.

        Raises:
            GnomonError: All batches failed, the first of them with this.
            Invalid: A number is out of bounds.
            TypeError: `tensor` is no frame.
        """
        from gnomon.sdk import parallel  # which loads asyncio

        batch_rows = check_count("batch_size", batch_size, at_least=1)
        at_a_time = limits.CLIENT_PARALLEL if num_parallel is None else num_parallel
        check_count("num_parallel", at_a_time, at_least=1, at_most=limits.CLIENT_CONNECTIONS_MAX)
        wanted = Dataset.of(dataset, dataset_exclude, dataset_separator)
        asking = self._asking(timeout, wanted, request_id, shadow_wait_ms)
        session, url = replace(self._session, interactive=False), self.url()

        def ask(batch: pa.Table, number: int, cancel: Cancel) -> pa.Table:
            return asking.of_batch(number).ask_table(session, url, batch, cancel)

        table = rows.table_of(tensor)
        batches = parallel.Batches(table, batch_rows, ask, check_retries(retries))
        with Progress("Inferring", table.num_rows, shown=self._session.interactive) as progress:
            answer = await batches.infer(at_a_time, progress)
        answers.warn_of_failures(answer)
        return answers.like(answer, tensor)

    def _asking(
        self,
        timeout: float | None,
        dataset: Dataset,
        request_id: str | None,
        shadow_wait_ms: int | None,
    ) -> Asking:
        if shadow_wait_ms is None and not self._joined:
            # Asked of every pipeline: one without challengers has nobody to wait for.
            shadow_wait_ms = limits.SHADOW_WAIT_DEFAULT_MS
        return Asking(
            pipeline=self.name(),
            timeout_s=timeout,
            request_id=request_id,
            shadow_wait_ms=shadow_wait_ms,
            dataset=dataset,
        )

    def _ask(
        self, asking: Asking, session: Session, tensor: Any, cancel: Cancel | None = None
    ) -> Any:
        if not isinstance(tensor, np.ndarray):
            return asking.ask(session, self.url(), tensor, cancel)
        try:
            return asking.ask(session, self.url(), {self._array_name: tensor}, cancel)
        except InputMismatch:
            name = self._champions_field()
            if name in (None, self._array_name):
                raise
        answer = asking.ask(session, self.url(), {name: tensor}, cancel)
        self._array_name = name
        return answer

    def _champions_field(self) -> str | None:
        """Return the column that alone feeds the champion, if it was given one.

        Raises:
            InputMismatch: It takes several.
        """
        steps = Definition.from_json(self._view["definition"]).steps
        champion = plan(steps).stages[0].champions[0]
        models = path("workspaces", self._view["workspace_id"], "models")
        route = f"{models}/{champion.name}/versions/{champion.uuid}"
        model = ModelBase(self._session, self._session.transport.call("GET", route).json())
        fields = model.tensor_fields() or tuple(spec.name for spec in model.inputs())
        if len(fields) > 1:
            raise InputMismatch(
                f"The champion {model.name()!r} takes {len(fields)} inputs, and an array does not "
                f"say which one it is: give a dict with {', '.join(map(repr, fields))}."
            )
        return None if model.tensor_fields() is None else fields[0]
