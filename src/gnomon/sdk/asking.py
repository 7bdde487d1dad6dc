"""One request to a front: its headers, its body, its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnomon.core import limits
from gnomon.core.errors import InferenceTimeout, Invalid, NotDeployed
from gnomon.core.names import check_request_id
from gnomon.sdk import inference, rows
from gnomon.sdk.inference import InferenceResult
from gnomon.sdk.session import Session
from gnomon.sdk.transport import JSON, Reply

RECORDS = "application/json; format=pandas-records"


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
            check_request_id(self.request_id)
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise Invalid(f"timeout must be more than 0 seconds, got {self.timeout_s}.")
        if self.shadow_wait_ms is not None:
            check_shadow_wait(self.shadow_wait_ms)

    def headers(self) -> dict[str, str]:
        """Return the headers that say all this."""
        found = {}
        if self.request_id is not None:
            found["X-Gnomon-Request-Id"] = self.request_id
        if self.timeout_s is not None:
            capped_s = min(self.timeout_s, limits.INFER_TIMEOUT_MAX_S)
            found["X-Gnomon-Timeout-Ms"] = str(max(1, round(capped_s * 1000)))
        if self.shadow_wait_ms is not None:
            found["X-Gnomon-Shadow-Wait-Ms"] = str(self.shadow_wait_ms)
        return found

    def ask(self, session: Session, url: str, tensor: Any) -> Any:
        """Send named tensors or a DataFrame, and return what came back in the same kind.

        Raises:
            TypeError: `tensor` is neither.
            InferenceError: It was refused, or failed.
        """
        if rows.is_frame(tensor):
            reply = self._post(session, url, rows.encode_frame(tensor), RECORDS)
            told = json.loads(reply.headers.get("X-Gnomon-Challengers") or "{}")
            request_id = reply.headers.get("X-Gnomon-Request-Id", "")
            return rows.decode_frame(reply.json(), inference.challengers_of(told), request_id)
        if isinstance(tensor, Mapping):
            reply = self._post(session, url, inference.encode_tensors(tensor), JSON)
            return [InferenceResult(answer) for answer in reply.json()]
        raise TypeError(
            'infer takes a dict of named tensors, as {"tensor": [[...]]}, or a pandas DataFrame; '
            f"got {type(tensor).__name__}."
        )

    def _post(self, session: Session, url: str, body: bytes, content_type: str) -> Reply:
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
                    headers={"Content-Type": content_type, **self.headers()},
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
    if not 0 <= shadow_wait_ms <= limits.SHADOW_WAIT_MAX_MS:
        raise Invalid(
            f"shadow_wait_ms must be 0 to {limits.SHADOW_WAIT_MAX_MS} milliseconds, "
            f"got {shadow_wait_ms}."
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
