"""Deployments: asking for them, and seeing how they fare."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from gnomon.backends.base import Backend
from gnomon.control.access import workspace_for
from gnomon.control.changes import Changes
from gnomon.control.routes import host_name
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.deployment import DeploymentState, HostState, HostStatus
from gnomon.core.errors import NotFound, ServerUnreachable
from gnomon.core.pipeline import Definition, ModelRef, check_steps
from gnomon.core.routing import Role
from gnomon.stores import deployments as rows
from gnomon.stores import models, pipelines
from gnomon.stores.database import Database, Transaction
from gnomon.stores.records import Deployment, Desired, Pipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInDeployment:
    """One model of a deployment, with what its host does.

    Attributes:
        version: uuid of the model version.
        state: "gone": it has no host.
    """

    label: str
    role: Role
    name: str
    version: str
    sha: str
    state: HostState | Literal["gone"]
    reason: str | None
    restarts: int
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment as users see it.

    Attributes:
        settled: What is desired has come about, or failed.
        pipeline_version: uuid of the version that callers get.
        wanted_version: uuid of the version that should run.
        url: Where inferences go.
        models: Of the version that callers get, if the wanted one failed; else of the wanted one.
    """

    id: int
    pipeline_id: int
    pipeline: str
    workspace_id: int
    revision: int
    desired: Desired
    state: DeploymentState
    settled: bool
    reason: str | None
    pipeline_version: str | None
    wanted_version: str | None
    url: str
    models: tuple[ModelInDeployment, ...]
    updated_at: datetime


class Deployments:
    """What should run. Making it so is the reconciler's work.

    Args:
        front_url: Of the data plane, without a slash at the end.
    """

    def __init__(
        self, database: Database, backend: Backend, changes: Changes, *, front_url: str
    ) -> None:
        self._database = database
        self._backend = backend
        self._changes = changes
        self._front_url = front_url
        self._waiters = threading.BoundedSemaphore(limits.LONG_POLLS_MAX)

    def request(
        self, caller: Caller, workspace_id: int, name: str, definition: Definition
    ) -> DeploymentView:
        """Ask for a definition to run, as a new version of the pipeline.

        Args:
            definition: Its references are looked up by id and uuid; the rest is not believed.

        Raises:
            NotFound: No such workspace, pipeline or model version.
            Invalid, LimitReached: See `check_steps`.
        """
        check_steps(definition.steps)
        now = datetime.now(UTC)
        with self._database.write() as tx:
            pipeline = _pipeline(tx, caller, workspace_id, name)
            known, tensor_fields = _looked_up(tx, workspace_id, definition)
            version_id = pipelines.add_version(
                tx,
                pipeline.id,
                known,
                tensor_fields,
                uuid=str(uuid.uuid4()),
                user_id=caller.user_id,
                now=now,
            )
            rows.want_running(
                tx, workspace_id, pipeline.id, version_id, user_id=caller.user_id, now=now
            )
            deployment = rows.find_deployment(tx, pipeline.id)
        assert deployment is not None
        self._changes.wanted()
        _log_wish(deployment, caller)
        return self.view(deployment)

    def request_stop(
        self, caller: Caller, workspace_id: int, name: str
    ) -> tuple[DeploymentView | None, bool]:
        """Ask for a pipeline to run no more.

        Returns:
            The deployment, None if there never was one; and whether this call changed anything.

        Raises:
            NotFound: No such workspace or pipeline.
        """
        with self._database.write() as tx:
            pipeline = _pipeline(tx, caller, workspace_id, name)
            deployment = rows.find_deployment(tx, pipeline.id)
            changed = deployment is not None and deployment.desired == "running"
            if deployment is not None and changed:
                rows.want_stopped(tx, deployment.id, datetime.now(UTC))
                deployment = rows.find_deployment(tx, pipeline.id)
        if deployment is None:
            return None, False
        if changed:
            self._changes.wanted()
            _log_wish(deployment, caller)
        return self.view(deployment), changed

    def get(
        self,
        caller: Caller,
        workspace_id: int,
        name: str,
        *,
        wait_s: float = 0.0,
        revision: int | None = None,
    ) -> DeploymentView:
        """Return a pipeline's deployment.

        Args:
            wait_s: Return when it is settled, at most so many seconds from now.
            revision: Or when it is at another revision than this.

        Raises:
            NotFound: No such workspace or pipeline, or it was never deployed.
        """
        until = time.monotonic() + min(wait_s, limits.LONG_POLL_MAX_S)
        # Those who wait each hold a thread; some stay free for all others.
        waits = wait_s > 0 and self._waiters.acquire(blocking=False)
        try:
            while True:
                count = self._changes.count()
                deployment = self._find(caller, workspace_id, name)
                rest_s = until - time.monotonic()
                other = revision is not None and deployment.revision != revision
                if _is_settled(deployment) or other or rest_s <= 0 or not waits:
                    return self.view(deployment)
                self._changes.wait_beyond(count, rest_s)
        finally:
            if waits:
                self._waiters.release()

    def all(self, caller: Caller) -> list[DeploymentView]:
        """Return every deployment of the caller's workspaces, oldest first."""
        assert caller.rights
        with self._database.read() as tx:
            found = rows.all_deployments(tx)
        return self.views(found[: limits.PAGE_ROWS_MAX])

    def view(self, deployment: Deployment) -> DeploymentView:
        """Return a deployment with what its hosts do now."""
        return self.views([deployment])[0]

    def views(self, deployments: Sequence[Deployment]) -> list[DeploymentView]:
        """Return deployments with what their hosts do now."""
        if not deployments:
            return []
        try:
            hosts = {status.name: status for status in self._backend.hosts()}
        except ServerUnreachable as error:  # what is desired can be told all the same
            log.warning("hosts.unknown reason=%r", error.message)
            hosts = {}
        return [_view(deployment, hosts, self._front_url) for deployment in deployments]

    def _find(self, caller: Caller, workspace_id: int, name: str) -> Deployment:
        with self._database.read() as tx:
            pipeline = _pipeline(tx, caller, workspace_id, name)
            deployment = rows.find_deployment(tx, pipeline.id)
        if deployment is None:
            raise NotFound(
                f"Pipeline {pipeline.name!r} was never deployed.", pipeline=pipeline.name
            )
        return deployment


def _pipeline(tx: Transaction, caller: Caller, workspace_id: int, name: str) -> Pipeline:
    workspace_for(tx, caller, workspace_id)
    pipeline = pipelines.find_pipeline(tx, workspace_id, name)
    if pipeline is None:
        raise NotFound(
            f"There is no pipeline {name[:80]!r} in workspace {workspace_id}.",
            pipeline=name[:80],
        )
    return pipeline


def _looked_up(
    tx: Transaction, workspace_id: int, definition: Definition
) -> tuple[Definition, dict[int, tuple[str, ...] | None]]:
    """Return the definition with every reference read from the database, and the columns."""
    named = [ref for step in definition.steps for ref in step.models()]
    known = models.versions_by_id(tx, (ref.version_id for ref in named))

    def true(ref: ModelRef) -> ModelRef:
        model = known.get(ref.version_id)
        if model is None or model.workspace_id != workspace_id or model.uuid != ref.uuid:
            raise NotFound(
                f"There is no model version {ref.name[:80]}@{ref.ordinal} ({ref.uuid[:40]}) in "
                f"workspace {workspace_id}. Upload it there first.",
                model=ref.name[:80],
                version=ref.uuid[:40],
            )
        return ModelRef(
            version_id=model.id,
            name=model.name,
            ordinal=model.ordinal,
            uuid=model.uuid,
            sha256=model.sha256,
        )

    steps = tuple(
        replace(
            step,
            champion=true(step.champion),
            challengers=tuple(true(ref) for ref in step.challengers),
        )
        for step in definition.steps
    )
    return Definition(steps=steps), {key: model.tensor_fields for key, model in known.items()}


def _is_settled(deployment: Deployment) -> bool:
    return deployment.observed_revision == deployment.revision and deployment.observed != "starting"


def _state(deployment: Deployment) -> DeploymentState:
    if deployment.observed_revision == deployment.revision:
        return deployment.observed
    return "starting" if deployment.desired == "running" else "stopping"


def _view(
    deployment: Deployment, hosts: Mapping[str, HostStatus], front_url: str
) -> DeploymentView:
    state = _state(deployment)
    serving = deployment.serving
    shown = serving if state == "failed" and serving is not None else deployment.wanted
    absent: HostState | Literal["gone"] = "starting" if state == "starting" else "gone"
    labelled: list[tuple[str, Role, ModelRef]] = []
    for step in shown.definition.steps:
        labelled.append((step.champion.name, "champion", step.champion))
        labelled += [
            (label, "challenger", ref)
            for label, ref in zip(step.labels(), step.challengers, strict=True)
        ]
    name = deployment.pipeline
    return DeploymentView(
        id=deployment.id,
        pipeline_id=deployment.pipeline_id,
        pipeline=name,
        workspace_id=deployment.workspace_id,
        revision=deployment.revision,
        desired=deployment.desired,
        state=state,
        settled=_is_settled(deployment),
        reason=deployment.reason if state == "failed" else None,
        pipeline_version=None if serving is None else serving.uuid,
        wanted_version=deployment.wanted.uuid if deployment.desired == "running" else None,
        url=f"{front_url}/v1/api/pipelines/infer/{name}-{deployment.id}/{name}",
        models=tuple(
            _model(
                ref, role, label, hosts.get(host_name(deployment.id, ref.version_id, role)), absent
            )
            for label, role, ref in labelled
        ),
        updated_at=deployment.updated_at,
    )


def _model(
    ref: ModelRef,
    role: Role,
    label: str,
    status: HostStatus | None,
    absent: HostState | Literal["gone"],
) -> ModelInDeployment:
    return ModelInDeployment(
        label=label,
        role=role,
        name=ref.name,
        version=ref.uuid,
        sha=ref.sha256,
        state=absent if status is None else status.state,
        reason=None if status is None else status.reason,
        restarts=0 if status is None else status.restarts,
        pid=None if status is None else status.pid,
    )


def _log_wish(deployment: Deployment, caller: Caller) -> None:
    log.info(
        "deployment.wanted deployment=%d revision=%d desired=%s user=%d",
        deployment.id,
        deployment.revision,
        deployment.desired,
        caller.user_id,
    )
