"""The data plane of the contract server: inference by arithmetic, and its log."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np

from gnomon.core.names import uuid7
from tests.sdk.wire import FRONT, Answer, Seen, refusal, tensor


class ContractFront:
    """Answers inferences from the pipelines and model versions that it is given."""

    def __init__(self) -> None:
        self.erring: dict[str, str] = {}  # model name -> why it fails at each request
        self.versions: list[dict[str, Any]] = []
        self.pipelines: list[dict[str, Any]] = []
        self.log: dict[int, list[dict[str, Any]]] = {}

    def infer(self, seen: Seen) -> Answer:
        number = int(seen.path.removeprefix(FRONT).split("/")[0].rpartition("-")[2])
        found = [p for p in self.pipelines if (p["deployment"] or {}).get("id") == number]
        if not found or not found[0]["deployment"]["pipeline_version"]:
            return refusal(404, "not_deployed", "Nothing is deployed here.")
        body = seen.json()
        records = isinstance(body, list)
        columns = {k: [row[k] for row in body] for k in body[0]} if records else body
        values = np.array(next(iter(columns.values())), np.float32)
        if values.ndim != 2 or values.shape[1] != 3:
            return refusal(422, "input_mismatch", "input 'tensor' must have shape [?, 3].")
        request_id = seen.headers.get("X-Gnomon-Request-Id") or uuid7(
            time.time_ns() // 1_000_000, uuid.uuid4().bytes
        )
        waits = int(seen.headers.get("X-Gnomon-Shadow-Wait-Ms", 0)) > 0
        models = [self._run(m, values) for m in found[0]["deployment"]["models"]]
        champion, *challengers = [models[0], *sorted(models[1:], key=lambda m: m["label"])]
        row = {
            "request_id": request_id,
            "time": datetime.now(UTC),
            "pipeline": found[0]["name"],
            "pipeline_version": found[0]["deployment"]["pipeline_version"],
            "rows": len(values),
            "inputs": [tensor(name, np.array(column)) for name, column in columns.items()],
            "models": [champion, *challengers],
        }
        row["inputs"][0] = tensor(next(iter(columns)), values)
        self.log.setdefault(found[0]["id"], []).append(row)
        summary = {
            m["label"]: {
                "model_name": m["name"],
                "model_version": m["version"],
                "status": m["status"] if waits else "pending",
                "error": m["error"] if waits else None,
                "elapsed": m["elapsed_ns"] if waits else 0,
            }
            for m in challengers
        }
        done = [m for m in challengers if waits and m["status"] == "ok"]
        ms = int(row["time"].timestamp() * 1000)
        answer = (
            self._records(columns, champion, done, challengers, ms)
            if records
            else [self._result(row, body, champion, done, summary, ms)]
        )
        headers = {"X-Gnomon-Request-Id": request_id}
        if records:
            headers["X-Gnomon-Challengers"] = json.dumps(summary)
        return Answer(200, answer, headers)

    def _run(self, model: dict[str, Any], values: Any) -> dict[str, Any]:
        [version] = [v for v in self.versions if v["uuid"] == model["version"]]
        error = self.erring.get(model["name"])
        output = (values.sum(axis=1, keepdims=True) * version["factor"]).astype(np.float32)
        return {
            "label": model["label"],
            "role": model["role"],
            "name": model["name"],
            "ordinal": version["ordinal"],
            "version": model["version"],
            "sha": model["sha"],
            "status": "error" if error else "ok",
            "error": error,
            "elapsed_ns": 226951,
            "time": datetime.now(UTC),
            "outputs": [] if error else [tensor("dense_1", output)],
            "values": output,
        }

    def _result(
        self,
        row: dict[str, Any],
        body: Any,
        champion: dict[str, Any],
        done: list[dict[str, Any]],
        summary: dict[str, Any],
        ms: int,
    ) -> dict[str, Any]:
        def shown(model: dict[str, Any]) -> list[Any]:
            data = model["values"].astype(np.float64).ravel().tolist()
            return [{"Float": {"data": data, "dim": list(model["values"].shape), "v": 1}}]

        return {
            "check_failures": [],
            "elapsed": champion["elapsed_ns"],
            "model_name": champion["name"],
            "model_version": champion["version"],
            "original_data": body,
            "outputs": shown(champion),
            "pipeline_name": row["pipeline"],
            "shadow_data": {m["label"]: shown(m) for m in done},
            "time": ms,
            "request_id": row["request_id"],
            "challengers": summary,
        }

    def _records(
        self,
        columns: dict[str, Any],
        champion: dict[str, Any],
        done: list[dict[str, Any]],
        challengers: list[dict[str, Any]],
        ms: int,
    ) -> list[dict[str, Any]]:
        def short(value: Any) -> list[float]:
            return [float(str(value))]

        ready = {m["label"] for m in done}
        return [
            {
                "time": ms,
                "in": {name: column[i] for name, column in columns.items()},
                "out": {"dense_1": short(champion["values"][i, 0])},
                "anomaly": {"count": 0},
                **{
                    f"out_{m['label']}": {
                        "dense_1": short(m["values"][i, 0]) if m["label"] in ready else None
                    }
                    for m in challengers
                },
            }
            for i in range(len(champion["values"]))
        ]
