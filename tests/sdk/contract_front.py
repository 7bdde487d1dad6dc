"""The data plane of the contract server: inference by arithmetic, and its log."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from gnomon.core.names import uuid7
from tests.sdk.wire import FRONT, Answer, Seen, refusal, tensor


class ContractFront:
    """Answers inferences from the pipelines and model versions that it is given."""

    def __init__(self) -> None:
        self.erring: dict[str, str] = {}  # model name -> why it fails at each request
        self.above: dict[str, float] = {}  # validation name -> sum of a row that is too high
        self.versions: list[dict[str, Any]] = []
        self.pipelines: list[dict[str, Any]] = []
        self.log: dict[int, list[dict[str, Any]]] = {}

    def infer(self, seen: Seen) -> Answer:
        number = int(seen.path.removeprefix(FRONT).split("/")[0].rpartition("-")[2])
        found = [p for p in self.pipelines if (p["deployment"] or {}).get("id") == number]
        if not found or not found[0]["deployment"]["pipeline_version"]:
            return refusal(404, "not_deployed", "Nothing is deployed here.")
        records = seen.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
        sent = pa.ipc.open_stream(seen.body).read_all() if records else None
        body = None if records else seen.json()
        columns = sent.to_pydict() if records else body
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
            "anomalies": [
                tensor(name, values.sum(axis=1) > high) for name, high in self.above.items()
            ],
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
            self._table(sent, champion, done, challengers, ms)
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
        output = (values.sum(axis=1, keepdims=True) * float(version["factor"])).astype(np.float32)
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

    def _table(
        self,
        sent: pa.Table,
        champion: dict[str, Any],
        done: list[dict[str, Any]],
        challengers: list[dict[str, Any]],
        ms: int,
    ) -> bytes:
        def lists(values: Any) -> pa.Array:
            return pa.array(list(values), pa.list_(pa.float32()))

        rows, ready = sent.num_rows, {m["label"] for m in done}
        answer = pa.table(
            {
                "time": pa.array([ms] * rows, pa.timestamp("ms")),
                **{f"in.{name}": sent.column(name) for name in sent.column_names},
                "out.dense_1": lists(champion["values"]),
                "anomaly.count": pa.array([0] * rows, pa.uint32()),
                **{
                    f"out_{m['label']}.dense_1": lists(
                        m["values"] if m["label"] in ready else [None] * rows
                    )
                    for m in challengers
                },
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, answer.schema) as writer:
            writer.write_table(answer)
        return sink.getvalue().to_pybytes()
