"""The contract server's part that counts, and changes how challengers watch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gnomon.core.stats import OUTCOMES
from tests.sdk.wire import Answer, problem


def counts(**counted: Any) -> dict[str, Any]:
    """Return what the fronts counted of a model."""
    outcomes = {**dict.fromkeys(OUTCOMES, 0), **counted}
    return {
        "p50_ms": None,
        "p99_ms": None,
        "breaker": None,
        "connected": True,
        **outcomes,
        "sampled": sum(outcomes[name] for name in OUTCOMES),
    }


class ContractShadow:
    """Counts as told to, and changes as asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.fronts = {"front-0": True}  # name -> whether it answers
        self.front_log: dict[str, Any] = {"log": {}, "log_trouble": None}
        self.counted: dict[str, dict[str, Any]] = {}  # label -> what the fronts counted
        self.changes: list[dict[str, Any]] = []

    def stats(self, *views: dict[str, Any]) -> dict[str, Any]:
        fronts = [
            {"front": name, "answers": answers, "requests": 12, **self.front_log}
            for name, answers in self.fronts.items()
        ]
        deployments = [
            {
                "id": view["id"],
                "models": {m["label"]: counts(ok=0) for m in view["models"]} | self.counted
                if any(self.fronts.values())
                else {},
            }
            for view in views
        ]
        return {"fronts": fronts, "deployments": deployments}

    def change(self, view: dict[str, Any] | None, change: dict[str, Any]) -> Answer:
        if view is None or view["desired"] == "stopped":
            return problem(404, "not_deployed", "It is not deployed.")
        watching = {m["label"]: m for m in view["models"] if m["role"] == "challenger"}
        sample = change.get("sample", {})
        if not isinstance(sample, dict):
            sample = dict.fromkeys(watching, sample)
        for label in {*sample, *change.get("on", {})} - set(watching):
            return problem(422, "invalid", f"There is no challenger {label!r}.")
        for label, rate in sample.items():
            watching[label]["sample"] = rate
        for label, on in change.get("on", {}).items():
            watching[label]["on"] = on
        in_force = all(self.fronts.values())
        view["shadow"].update(
            changed_at=datetime.now(UTC).isoformat(), changed_by=1, in_force=in_force
        )
        for key in ("mode", "shadow_wait_ms"):
            view["shadow"][key] = change.get(key, view["shadow"][key])
        self.changes.append(
            {
                "pipeline_version": view["pipeline_version"],
                **{k: v for k, v in view["shadow"].items() if k != "in_force"},
                "sample": {label: m["sample"] for label, m in watching.items()},
                "off": [label for label, m in watching.items() if not m["on"]],
            }
        )
        return Answer(200 if in_force else 202, view)
