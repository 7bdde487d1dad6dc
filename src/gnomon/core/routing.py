"""The routing table: all that a front has to know, pushed by the control plane as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gnomon.core.model import Signature
from gnomon.core.pipeline import Mode
from gnomon.core.resources import USUAL, Resources

Role = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model version in a host of its own.

    Attributes:
        label: The champion's name, or the challenger's label (`core/pipeline.py`).
        name: The model's name.
        ordinal: The version's number under that name.
        version_id: Id of the model version.
        uuid: Its uuid, as users see it.
        host: Name of the host, which is also the name of its socket.
        tensor_fields: Columns that feed the inputs; None: found by name.
        resources: What was asked for its host.
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

    def __str__(self) -> str:
        return f"{self.name}@{self.ordinal}"

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
class Route:
    """One deployment: where its requests go.

    Attributes:
        deployment_id: Stays through redeploys and restarts, as the URL does.
        pipeline_version: uuid of the version that is deployed.
        step: Index of the step in the definition.
        sampling: Share of the requests that each challenger sees, in [0, 1]; 0: it is switched
            off. Not given: all of them see all. It stands here, not with the models, so that
            hosts and channels are kept when it changes.
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

    def __post_init__(self) -> None:
        if not self.sampling:
            object.__setattr__(self, "sampling", (1.0,) * len(self.challengers))
        assert len(self.sampling) == len(self.challengers)

    def models(self) -> tuple[ServedModel, ...]:
        """Return the champion and then the challengers."""
        return (self.champion, *self.challengers)

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
