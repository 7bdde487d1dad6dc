"""What fronts count: how each model of a deployment fared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

BreakerState = Literal["closed", "half_open", "open"]

# Every request that a model was sampled for has exactly one of these.
OUTCOMES = ("ok", "error", "timeout", "dropped", "schema", "skipped", "lost", "pending")
_BREAKERS: Sequence[BreakerState | None] = (None, "closed", "half_open", "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStats:
    """What one model did since the server started: `sampled` is the sum of the outcomes.

    Attributes:
        sampled: Requests that were for it; of a champion all.
        ok, error, timeout, dropped, schema, skipped, lost, pending: See `core.inference.Status`.
        p50_ms, p99_ms: Of its newest runs; None: there was none.
        breaker: None: it has none, as a champion.
        connected: The front has its connection to the model's host; to one, if there are several.
    """

    sampled: int = 0
    ok: int = 0
    error: int = 0
    timeout: int = 0
    dropped: int = 0
    schema: int = 0
    skipped: int = 0
    lost: int = 0
    pending: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    breaker: BreakerState | None = None
    connected: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """Return how many requests had which outcome."""
        return {name: getattr(self, name) for name in OUTCOMES}

    def to_json(self) -> dict[str, Any]:
        """Return the stats as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelStats:
        """Read what `to_json` wrote, or a front says."""
        return cls(**{each.name: value[each.name] for each in fields(cls)})


def total(stats: Iterable[ModelStats]) -> ModelStats:
    """Return what a model did in all fronts.

    Counts are added. Quantiles cannot be: they are those of the slowest front. The breaker is the
    one that lets least through; connected means to every front.
    """
    found = list(stats)
    p50s = [each.p50_ms for each in found if each.p50_ms is not None]
    p99s = [each.p99_ms for each in found if each.p99_ms is not None]
    return ModelStats(
        **{name: sum(getattr(each, name) for each in found) for name in ("sampled", *OUTCOMES)},
        p50_ms=max(p50s, default=None),
        p99_ms=max(p99s, default=None),
        breaker=max((each.breaker for each in found), key=_BREAKERS.index, default=None),
        connected=bool(found) and all(each.connected for each in found),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontStats:
    """What one front counted since the server started.

    Attributes:
        front: Its name.
        answers: False: it did not answer in time, and nothing is known of it.
        requests: Inference requests of what is deployed now.
        log: Entries that were appended, dropped, are not committed yet, or were waited for in vain.
        log_trouble: Why its log cannot be written at present; None: it can.
        models: By deployment id and label.
    """

    front: str
    answers: bool
    requests: int = 0
    log: Mapping[str, int] = field(default_factory=dict)
    log_trouble: str | None = None
    models: Mapping[int, Mapping[str, ModelStats]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, front: str, value: Mapping[str, Any]) -> FrontStats:
        """Read what a front says of itself."""
        return cls(
            front=front,
            answers=True,
            requests=value["requests"],
            log={name: count for name, count in value["log"].items() if isinstance(count, int)},
            log_trouble=value["log"].get("degraded"),
            models={
                int(deployment_id): {
                    label: ModelStats.from_json(stats) for label, stats in models.items()
                }
                for deployment_id, models in value["models"].items()
            },
        )


def of_deployment(fronts: Iterable[FrontStats], deployment_id: int) -> dict[str, ModelStats]:
    """Return what each model of a deployment did in all fronts, by label."""
    told = [front.models.get(deployment_id, {}) for front in fronts]
    labels = dict.fromkeys(label for models in told for label in models)
    return {label: total(models[label] for models in told if label in models) for label in labels}
