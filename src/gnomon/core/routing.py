"""The routing table: all that a front has to know, pushed by the control plane as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from gnomon.core.log_settings import USUAL_LOG, LogSettings
from gnomon.core.model import Runtime, Signature
from gnomon.core.plan import Check, Split
from gnomon.core.resources import USUAL, Resources
from gnomon.core.steps import Mode

Role = Literal["champion", "challenger"]


def host_names(first: str, replicas: int) -> tuple[str, ...]:
    """Return the names of a model's hosts, so that one more or less changes no other's."""
    return (first, *(f"{first}-r{number}" for number in range(1, replicas)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model version in a host of its own, or in several.

    Attributes:
        label: Unique in the route; see `core/plan.py`.
        name: The model's name.
        ordinal: The version's number under that name.
        version_id: Id of the model version.
        uuid: Its uuid, as users see it.
        host: Name of the (first) host, which is also the name of its socket.
        tensor_fields: Columns that feed the inputs; None: found by name.
        resources: What was asked for each host.
        replicas: How many hosts it has.
        runtime: What runs it there.
    """

    label: str
    role: Role
    name: str
    ordinal: int
    version_id: int
    uuid: str
    sha256: str
    signature: Signature
    tensor_fields: tuple[str, ...] | None
    host: str
    resources: Resources = USUAL
    replicas: int = 1
    runtime: Runtime = "onnx"

    def __str__(self) -> str:
        return f"{self.name}@{self.ordinal}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the names of its hosts."""
        return host_names(self.host, self.replicas)

    def each(self) -> tuple[ServedModel, ...]:
        """Return it as each of its hosts has it: as if there were no others."""
        if self.replicas == 1:
            return (self,)
        return tuple(replace(self, host=host, replicas=1) for host in self.hosts)

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON values."""
        return {
            "label": self.label,
            "role": self.role,
            "name": self.name,
            "ordinal": self.ordinal,
            "version_id": self.version_id,
            "uuid": self.uuid,
            "sha256": self.sha256,
            "signature": self.signature.to_json(),
            "tensor_fields": None if self.tensor_fields is None else list(self.tensor_fields),
            "host": self.host,
            "resources": asdict(self.resources),
            "replicas": self.replicas,
            "runtime": self.runtime,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ServedModel:
        """Read what `to_json` wrote."""
        fields = value["tensor_fields"]
        return cls(
            **{
                **value,
                "signature": Signature.from_json(value["signature"]),
                "tensor_fields": None if fields is None else tuple(fields),
                "resources": Resources(**value.get("resources", {})),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStage:
    """One of several steps with models, as it is served.

    Attributes:
        step: Index of the step in the definition.
        champions: One, or the options of a split.
        split: How one of several champions is chosen; None: there is one.
        challengers: How many of the route's challengers are this stage's. They stand in the order
            of the stages.
    """

    step: int
    champions: tuple[ServedModel, ...]
    split: Split | None = None
    challengers: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the stage as JSON values."""
        return {
            "step": self.step,
            "champions": [model.to_json() for model in self.champions],
            "split": None if self.split is None else self.split.to_json(),
            "challengers": self.challengers,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ServedStage:
        """Read what `to_json` wrote."""
        split = value["split"]
        return cls(
            step=value["step"],
            champions=tuple(map(ServedModel.from_json, value["champions"])),
            split=None if split is None else Split.from_json(split),
            challengers=value["challengers"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One deployment: where its requests go.

    Attributes:
        deployment_id: Stays through redeploys and restarts, as the URL does.
        pipeline_version: uuid of the version that is deployed.
        champion: The model that answers. Of several stages, or of a split, it is how they look
            from outside: the last stage's (first) champion with the inputs of the first stage.
        challengers: Of all stages.
        step: Index of the champion's step in the definition.
        sampling: Share of the requests that each challenger sees, in [0, 1]; 0: it is switched
            off. Not given: all of them see all. It stands here, not with the models, so that
            hosts and channels are kept when it changes.
        stages: Empty where there is one stage and one champion, as nearly always.
        checks: Validations of what a stage gives.
        log: How its requests are logged.
    """

    deployment_id: int
    workspace_id: int
    pipeline_id: int
    pipeline: str
    pipeline_version: str
    champion: ServedModel
    challengers: tuple[ServedModel, ...]
    mode: Mode
    shadow_wait_ms: int
    step: int = 0
    sampling: tuple[float, ...] = ()
    stages: tuple[ServedStage, ...] = ()
    checks: tuple[Check, ...] = ()
    log: LogSettings = USUAL_LOG

    def __post_init__(self) -> None:
        if not self.sampling:
            object.__setattr__(self, "sampling", (1.0,) * len(self.challengers))
        assert len(self.sampling) == len(self.challengers)
        assert not self.stages or len(self.challengers) == sum(s.challengers for s in self.stages)

    def models(self) -> tuple[ServedModel, ...]:
        """Return the champion and then the challengers."""
        return (self.champion, *self.challengers)

    @property
    def has_splits(self) -> bool:
        """Say whether several models answer, each its share of the requests."""
        return any(stage.split is not None for stage in self.stages)

    def champions(self) -> tuple[ServedModel, ...]:
        """Return every model without which there is no answer."""
        if not self.stages:
            return (self.champion,)
        return tuple(model for stage in self.stages for model in stage.champions)

    def answering(self) -> tuple[ServedModel, ...]:
        """Return the models of which one gives a request its answer."""
        return self.stages[-1].champions if self.stages else (self.champion,)

    def served(self) -> tuple[ServedModel, ...]:
        """Return every model that has a host, the champions first."""
        return (*self.champions(), *self.challengers)

    def to_json(self) -> dict[str, Any]:
        """Return the route as JSON values."""
        return {
            "deployment_id": self.deployment_id,
            "workspace_id": self.workspace_id,
            "pipeline_id": self.pipeline_id,
            "pipeline": self.pipeline,
            "pipeline_version": self.pipeline_version,
            "champion": self.champion.to_json(),
            "challengers": [model.to_json() for model in self.challengers],
            "mode": self.mode,
            "shadow_wait_ms": self.shadow_wait_ms,
            "step": self.step,
            "sampling": list(self.sampling),
            "stages": [stage.to_json() for stage in self.stages],
            "checks": [check.to_json() for check in self.checks],
            **({"log": value} if (value := self.log.to_json()) else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Route:
        """Read what `to_json` wrote."""
        return cls(
            **{
                **value,
                "champion": ServedModel.from_json(value["champion"]),
                "challengers": tuple(
                    ServedModel.from_json(model) for model in value["challengers"]
                ),
                "sampling": tuple(value.get("sampling", ())),
                "stages": tuple(map(ServedStage.from_json, value.get("stages", ()))),
                "checks": tuple(map(Check.from_json, value.get("checks", ()))),
                "log": LogSettings.from_json(value.get("log", {})),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """What a front serves, and whom.

    Attributes:
        version: Grows with every change; a front ignores an older table than it has.
        token_hashes: SHA-256 hex digests of the tokens that may infer, with their owners' ids.
        open_inference: Inference needs no token (loopback only).
    """

    version: int
    routes: tuple[Route, ...] = ()
    token_hashes: Mapping[str, int]
    open_inference: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "version": self.version,
            "routes": [route.to_json() for route in self.routes],
            "token_hashes": dict(self.token_hashes),
            "open_inference": self.open_inference,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RoutingTable:
        """Read what `to_json` wrote."""
        return cls(**{**value, "routes": tuple(Route.from_json(r) for r in value["routes"])})
