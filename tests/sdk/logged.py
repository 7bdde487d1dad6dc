"""Log records made by hand, for what is shown of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from gnomon.sdk.records import LoggedModel, LoggedRequest

TIME = datetime(2022, 10, 19, 17, 52, 14, 875_000, tzinfo=UTC)


def model(label: str = "ccfraud-rf", role: str = "challenger", **changed: Any) -> LoggedModel:
    facts = {
        "label": label,
        "role": role,
        "name": label,
        "ordinal": 1,
        "version": f"uuid-of-{label}",
        "sha": "0" * 64,
        "status": "ok",
        "error": None,
        "elapsed_ns": 226_951,
        "time": TIME,
        "output_names": ("dense_1",),
        "outputs": (np.array([[0.5]], np.float32),),
    }
    if changed.get("status", "ok") != "ok":
        facts.update(output_names=(), outputs=())
    return LoggedModel(**{**facts, **changed})


def request(*challengers: LoggedModel, **changed: Any) -> LoggedRequest:
    facts = {
        "request_id": "request-1",
        "time": TIME,
        "pipeline": "cc-shadow",
        "pipeline_version": "uuid-of-version",
        "rows": 1,
        "inputs": {"tensor": np.array([[0.1, 0.2, 0.3]], np.float32)},
        "models": (model("ccfraud-lstm", "champion"), *challengers),
    }
    return LoggedRequest(**{**facts, **changed})
