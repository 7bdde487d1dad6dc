"""How the challengers of a running pipeline watch: what can be changed without a redeploy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gnomon.core.errors import Invalid
from gnomon.core.plan import Plan
from gnomon.core.sampling import check_labels, rates_by_label
from gnomon.core.steps import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowChange:
    """What is to be another way; what is None or not named stays.

    Attributes:
        mode, shadow_wait_ms: See `ModelStep`.
        sample: One rate for all challengers, or rates by label.
        on: By label, whether a challenger watches. One that is off keeps its rate and its host.
    """

    mode: Mode | None = None
    shadow_wait_ms: int | None = None
    sample: float | Mapping[str, float] | None = None
    on: Mapping[str, bool] = field(default_factory=dict)

    def check(self, labels: Sequence[str]) -> None:
        """Refuse a change that these challengers cannot have.

        Raises:
            Invalid: It changes nothing, a rate is none, or there is no such challenger.
        """
        if self == ShadowChange():
            raise Invalid("Nothing is to be changed: give mode, shadow_wait_ms, sample or on.")
        rates_by_label({} if self.sample is None else self.sample, labels)
        check_labels(self.on, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowSettings:
    """How the challengers of one pipeline version watch now.

    Attributes:
        mode, shadow_wait_ms: See `ModelStep`.
        sample: Share of the requests that each challenger sees while it is on, by label.
        off: Labels of those that see none.
    """

    mode: Mode
    shadow_wait_ms: int
    sample: Mapping[str, float]
    off: frozenset[str] = frozenset()

    @classmethod
    def of(cls, plan: Plan) -> ShadowSettings:
        """Return the settings that a pipeline version begins with."""
        return cls(mode=plan.mode, shadow_wait_ms=plan.shadow_wait_ms, sample=plan.sample())

    def rate(self, label: str) -> float:
        """Return the share of the requests that a challenger sees, 0 if it is off."""
        return 0.0 if label in self.off else self.sample[label]

    def changed(self, change: ShadowChange) -> ShadowSettings:
        """Return the settings after a change; challengers that are not here are passed over."""
        labels = tuple(self.sample)
        sample = {} if change.sample is None else change.sample
        if isinstance(sample, Mapping):
            sample = {label: rate for label, rate in sample.items() if label in labels}
        off = {label for label in labels if not change.on.get(label, label not in self.off)}
        return ShadowSettings(
            mode=change.mode or self.mode,
            shadow_wait_ms=(
                self.shadow_wait_ms if change.shadow_wait_ms is None else change.shadow_wait_ms
            ),
            sample={**self.sample, **rates_by_label(sample, labels)},
            off=frozenset(off),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            "mode": self.mode,
            "shadow_wait_ms": self.shadow_wait_ms,
            "sample": dict(self.sample),
            "off": sorted(self.off),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ShadowSettings:
        """Read what `to_json` wrote."""
        return cls(
            mode=value["mode"],
            shadow_wait_ms=value["shadow_wait_ms"],
            sample=dict(value["sample"]),
            off=frozenset(value["off"]),
        )
