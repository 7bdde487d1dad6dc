"""Looks to decide upon, put together from short texts."""

from __future__ import annotations

from typing import Any

from gnomon.control.policy import Look, Note, Seen
from gnomon.core import limits
from gnomon.core.deployment import HostSpec, HostStatus
from gnomon.core.routing import Role, Route, ServedModel
from gnomon.testing import SIGNATURE

LATE = limits.OTHER_HOSTS_START_TIMEOUT_S


def model(version_id: int, role: Role, deployment: int = 1) -> ServedModel:
    return ServedModel(
        label=f"m{version_id}",
        role=role,
        name=f"m{version_id}",
        ordinal=1,
        version_id=version_id,
        uuid=f"uuid-{version_id}",
        sha256="0" * 64,
        signature=SIGNATURE,
        tensor_fields=None,
        host=f"d{deployment}-s0-m{version_id}-{role}",
    )


def route(version: str, champion: int, *challengers: int, deployment: int = 1) -> Route:
    return Route(
        deployment_id=deployment,
        workspace_id=1,
        pipeline_id=deployment,
        pipeline="pipe",
        pipeline_version=version,
        champion=model(champion, "champion", deployment),
        challengers=tuple(model(number, "challenger", deployment) for number in challengers),
        mode="async",
        shadow_wait_ms=0,
    )


def host(text: str) -> HostStatus:
    """Return the status of a host from "name state" or "name state: reason"."""
    name, _, rest = text.partition(" ")
    state, _, reason = rest.partition(": ")
    spec = HostSpec(
        name=name,
        model_path="",
        sha256="0" * 64,
        version_uuid="",
        role="champion",
        model_bytes=1,
    )
    return HostStatus(
        name=name, state=state, pid=None, restarts=0, reason=reason or None, spec=spec
    )  # type: ignore[arg-type]


C1, C2 = "d1-s0-m1-champion", "d1-s0-m2-challenger"
D1 = "d1-s0-m10-champion"
CHAMPION, RIVAL = model(1, "champion"), model(2, "challenger")
OLD = route("v-old", 10)
NEW = route("v-new", 1, 2)
ALONE = route("v-alone", 1)


def look(seen: Seen | list[Seen], hosts: list[str], published: Any = (), **more: Any) -> Look:
    seens = seen if isinstance(seen, list) else [seen]
    return Look(
        deployments=tuple(seens),
        hosts={status.name: status for status in map(host, hosts)},
        published={r.deployment_id: r for r in published},
        **more,
    )


def first(**changes: Any) -> Seen:
    """A first deploy of NEW that asked for both hosts."""
    values: dict[str, Any] = {
        "id": 1,
        "revision": 1,
        "wanted": NEW,
        "asked": frozenset({C1, C2}),
    }
    return Seen(**{**values, **changes})


def redeploy(**changes: Any) -> Seen:
    """NEW is wanted while OLD serves."""
    return first(
        **{"revision": 2, "serving": OLD, "noted": "running", "noted_revision": 1, **changes}
    )


def running(**changes: Any) -> Seen:
    values = {"serving": NEW, "noted": "running", "noted_revision": 1, "came_up": True}
    return first(**{**values, **changes})


def note(state: str, revision: int = 1, serving: str | None = None, reason: str | None = None):
    return Note(
        deployment_id=1,
        revision=revision,
        state=state,  # type: ignore[arg-type]
        serving=serving,
        reason=reason,
    )
