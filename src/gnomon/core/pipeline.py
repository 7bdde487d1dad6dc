"""A pipeline's definition: its steps, and what is asked of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gnomon.core.log_settings import USUAL_LOG, LogSettings
from gnomon.core.steps import ModelRef, Step, step_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The steps of one pipeline version.

    Attributes:
        deployment_config: What was asked of the machine; see `core/resources.py`.
        log: How its requests are logged.
    """

    steps: tuple[Step, ...] = ()
    deployment_config: Mapping[str, Any] = field(default_factory=dict)
    log: LogSettings = USUAL_LOG

    def models(self) -> tuple[ModelRef, ...]:
        """Return the models of all steps, each step's champion before its challengers."""
        return tuple(model for step in self.steps for model in step.models())

    def to_json(self) -> dict[str, Any]:
        """Return the definition as JSON values."""
        steps = [step.to_json() for step in self.steps]
        config = {"deployment_config": self.deployment_config} if self.deployment_config else {}
        log = {"log": value} if (value := self.log.to_json()) else {}
        return {"steps": steps, **config, **log}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Definition:
        """Read what `to_json` wrote."""
        return cls(
            steps=tuple(step_from_json(step) for step in value.get("steps", ())),
            deployment_config=value.get("deployment_config", {}),
            log=LogSettings.from_json(value.get("log", {})),
        )
