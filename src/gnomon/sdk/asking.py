"""One request to a front: its headers, its body, its answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.core import limits
from gnomon.core.binding import TENSOR
from gnomon.core.errors import InferenceTimeout, Invalid, MalformedRequest, NotDeployed
from gnomon.core.names import check_request_id
from gnomon.sdk import inference, rows
from gnomon.sdk.inference import InferenceResult
from gnomon.sdk.session import Session
from gnomon.sdk.transport import JSON, Reply

if TYPE_CHECKING:
    import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a pipeline's front is asked.

    Attributes:
        pipeline: Its name, for messages.
        timeout_s: Seconds to wait for the champion; None: what the server says.
        request_id: By which the logs know the request; None: the server makes one.
        shadow_wait_ms: How long the answer may wait for the challengers; None: what the
            pipeline says.

    Raises:
        MalformedRequest: The request id breaks its rule.
        Invalid: A time is out of bounds.
    """

    pipeline: str
    timeout_s: float | None = None
    request_id: str | None = None
    shadow_wait_ms: int | None = None

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

    def ask(self, session: Session, url: str, tensor: Any) -> Any:
        """Send named tensors, an array or a frame, and return what came back.

        Returns:
            A frame of the same kind for a frame, else a list with one InferenceResult.

        Raises:
            TypeError: `tensor` is none of these.
            InferenceError: It was refused, or failed.
        """
        if isinstance(tensor, np.ndarray):
            tensor = {TENSOR: tensor}
        if isinstance(tensor, Mapping):
            body = inference.encode_tensors(tensor)
            reply = self._post(session, url, body, self._headers(JSON))
            return [InferenceResult(answer) for answer in reply.json()]
        if rows.is_tabular(tensor):
            return rows.like(self._ask_table(session, url, rows.table_of(tensor)), tensor)
        raise TypeError(
            'infer takes a dict of named tensors, as {"tensor": [[...]]}, a numpy array, a pyarrow '
            "Table, a polars DataFrame or a pandas DataFrame; "
            f"got {type(tensor).__name__}."
        )

    def _ask_table(self, session: Session, url: str, table: pa.Table) -> pa.Table:
        """Send a table, in several requests if it is large, and return the answers joined."""
        answers, request_ids, told = [], [], []
        for part, body in enumerate(rows.bodies(table), start=1):
            reply = self._post(session, url, body, self._headers(ARROW, part))
            answers.append(rows.decode(reply.body))
            request_ids.append(reply.headers.get("X-Gnomon-Request-Id", ""))
            told.append(json.loads(reply.headers.get("X-Gnomon-Challengers") or "{}"))
        return rows.joined(answers, request_ids, told)

    def _headers(self, content_type: str, part: int = 1) -> dict[str, str]:
        return {"Content-Type": content_type, **self.headers(part)}

    def _post(self, session: Session, url: str, body: bytes, headers: dict[str, str]) -> Reply:
        waits_s = session.timeout_s
        if self.timeout_s is not None:
            # The server gives up first, and says why; this is for one that is silent.
            wait_s = (self.shadow_wait_ms or 0) / 1000
            waits_s = self.timeout_s + wait_s + limits.CLIENT_CONNECT_TIMEOUT_S
        with session.waiting("inference response", waits_s):
            try:
                return session.transport.send(
                    "POST",
                    url,
                    body=body,
                    headers=headers,
                    timeout_s=waits_s,
                    late=InferenceTimeout,
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


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_later(**given: Any) -> None:
    """Refuse an argument that other platforms have, and gnomon not yet.

    Raises:
        Invalid: One is not None.
    """
    for name, value in given.items():
        if value is not None:
            raise Invalid(
                f"{name}={str(value)[:80]!r} is not supported yet; it comes with a later version. "
                "Leave it out, and choose from what is returned."
            )


def check_dataset(**given: Any) -> None:
    """Refuse a choice of columns: an answer has all of them.

    Raises:
        Invalid: Anything but the default was chosen.
    """
    for name, value in given.items():
        if value not in (None, "*", ["*"]):
            raise Invalid(
                f"{name}={value!r} is not supported yet: an answer has all columns. Choose "
                'from it: frame[["out.dense_1"]].'
            )
