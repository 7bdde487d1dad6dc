"""What should run and what does: hosts, probes, and the state of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gnomon.core.model import Signature
from gnomon.core.resources import USUAL, Resources
from gnomon.core.routing import Role

HostState = Literal["starting", "ready", "failed", "crash_looping", "stopping"]
DeploymentState = Literal["starting", "running", "failed", "stopping", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """One host: a model version in one role of one deployment.

    Attributes:
        name: Unique in the server, and the name of the host's socket.
        model_path: The file in the artifact store.
        model_bytes: Size of that file; the memory cap follows from it, if none was asked for.
        resources: What was asked for.
        declared: What a Python model was said to take and give; None: it is an ONNX model.
    """

    name: str
    model_path: str
    sha256: str
    version_uuid: str
    role: Role
    model_bytes: int
    resources: Resources = USUAL
    declared: Signature | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> HostSpec:
        """Read what `to_json` wrote."""
        declared = value["declared"]
        return cls(
            **{
                **value,
                "resources": Resources(**value["resources"]),
                "declared": None if declared is None else Signature.from_json(declared),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """What the supervisor knows of a host.

    Attributes:
        state: "failed": the model cannot be loaded, and it is not tried again before the next
            deploy. "crash_looping": it died too often and is restarted after a pause.
        restarts: How often it was started again.
        reason: Why it is not ready, in a sentence.
    """

    name: str
    state: HostState
    pid: int | None
    restarts: int
    reason: str | None
    spec: HostSpec

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> HostStatus:
        """Read what `to_json` wrote."""
        return cls(**{**value, "spec": HostSpec.from_json(value["spec"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a throw-away host found in an uploaded file.

    Exactly one of `signature` and `reason` is set.

    Attributes:
        reason: Code word: not_onnx, external_data_not_allowed, custom_operator, model_too_complex,
            model_load_failed, model_crashed_loader, model_load_timeout, model_memory_exceeded; of
            a Python model also not_python, model_failed, python_not_allowed, python_not_confined.
        message: The same in a sentence.
    """

    signature: Signature | None = None
    reason: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        assert (self.signature is None) != (self.reason is None)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "signature": None if self.signature is None else self.signature.to_json(),
            "reason": self.reason,
            "message": self.message,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProbeReport:
        """Read what `to_json` wrote."""
        signature = value["signature"]
        return cls(
            signature=None if signature is None else Signature.from_json(signature),
            reason=value["reason"],
            message=value["message"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process of the server, other than a host.

    Attributes:
        log: Path of its log file.
    """

    name: str
    pid: int | None
    state: Literal["running", "starting", "stopped"]
    restarts: int
    log: str

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessStatus:
        """Read what `to_json` wrote."""
        return cls(**value)
