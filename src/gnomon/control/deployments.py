"""Deployments: asking for them, and seeing how they fare."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gnomon.backends.base import Backend
from gnomon.control.access import pipeline_for, version_for
from gnomon.control.changes import Changes
from gnomon.control.deployment_views import DeploymentView, is_settled, view_of
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.chains import Fed, check_chain
from gnomon.core.errors import NotFound, ServerUnreachable
from gnomon.core.pipeline import Definition
from gnomon.core.plan import check_steps, plan
from gnomon.core.redaction import check_redacted
from gnomon.core.resources import check_document
from gnomon.core.routing import Route
from gnomon.core.steps import ModelRef, with_refs
from gnomon.stores import deployments as rows
from gnomon.stores import models, pipelines
from gnomon.stores.database import Database, Transaction
from gnomon.stores.records import Deployment, Pipeline

log = logging.getLogger(__name__)


class Deployments:
    """What should run. Making it so is the reconciler's work.

    Args:
        published: The route that the fronts follow, by the deployment's id.
        front_url: Of the data plane, without a slash at the end.
    """

    def __init__(
        self,
        database: Database,
        backend: Backend,
        changes: Changes,
        *,
        published: Callable[[int], Route | None],
        front_url: str,
    ) -> None:
        self._database = database
        self._backend = backend
        self._changes = changes
        self._published = published
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
            Invalid, LimitReached: See `check_steps`, `check_document`, `check_chain`,
                `LogSettings.check` and `check_redacted`.
        """
        check_steps(definition.steps)
        check_document(definition.deployment_config)
        definition.log.check()
        with self._database.write() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name, adding=True)
            known, tensor_fields = _looked_up(tx, workspace_id, definition)
            deployment = _wanted(tx, caller, pipeline, known, tensor_fields)
        return self._asked(caller, deployment)

    def restore(self, caller: Caller, workspace_id: int, name: str, version: str) -> DeploymentView:
        """Ask for an older version to run again, as a new version that is its copy.

        Its models are fed as they were then, whatever was configured since.

        Args:
            version: uuid or number of the older one.

        Raises:
            NotFound: No such workspace, pipeline or version; or a model version of it was deleted.
            Invalid: It has no steps, or they would be refused today.
        """
        with self._database.write() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name, adding=True)
            older = version_for(tx, pipeline, version)
            definition = older.version.definition
            check_steps(definition.steps)
            fields = older.version.tensor_fields
            _looked_up(tx, workspace_id, definition, fields)
            deployment = _wanted(tx, caller, pipeline, definition, fields, older.version.uuid)
        return self._asked(caller, deployment)

    def _asked(self, caller: Caller, deployment: Deployment) -> DeploymentView:
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
            pipeline = pipeline_for(tx, caller, workspace_id, name)
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

        def is_news(found: Deployment) -> bool:
            return is_settled(found) or (revision is not None and found.revision != revision)

        return self.view(self.wait_until(is_news, caller, workspace_id, name, wait_s=wait_s))

    def all(self, caller: Caller) -> list[DeploymentView]:
        """Return every deployment of the caller's workspaces, oldest first."""
        return self.views(self.stored(caller))

    def stored(self, caller: Caller) -> list[Deployment]:
        """Return what is stored of every deployment of the caller's workspaces, oldest first."""
        assert caller.rights
        with self._database.read() as tx:
            return rows.all_deployments(tx)[: limits.PAGE_ROWS_MAX]

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
        return [
            view_of(deployment, hosts, self._published(deployment.id), self._front_url)
            for deployment in deployments
        ]

    def wait_until(
        self,
        true: Callable[[Deployment], bool],
        caller: Caller,
        workspace_id: int,
        name: str,
        *,
        wait_s: float,
    ) -> Deployment:
        """Return a pipeline's deployment when something is true of it, or after `wait_s` seconds.

        Raises:
            NotFound: No such workspace or pipeline, or it was never deployed.
        """
        until = time.monotonic() + min(wait_s, limits.LONG_POLL_MAX_S)
        # Those who wait each hold a thread; some stay free for all others.
        waits = wait_s > 0 and self._waiters.acquire(blocking=False)
        try:
            while True:
                count = self._changes.count()
                deployment = self.find(caller, workspace_id, name)
                rest_s = until - time.monotonic()
                if true(deployment) or rest_s <= 0 or not waits:
                    return deployment
                self._changes.wait_beyond(count, rest_s)
        finally:
            if waits:
                self._waiters.release()

    def find(self, caller: Caller, workspace_id: int, name: str) -> Deployment:
        """Return what is stored of a pipeline's deployment.

        Raises:
            NotFound: No such workspace or pipeline, or it was never deployed.
        """
        with self._database.read() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name)
            deployment = rows.find_deployment(tx, pipeline.id)
        if deployment is None:
            raise NotFound(
                f"Pipeline {pipeline.name!r} was never deployed.", pipeline=pipeline.name
            )
        return deployment


def _wanted(
    tx: Transaction,
    caller: Caller,
    pipeline: Pipeline,
    definition: Definition,
    tensor_fields: Mapping[int, tuple[str, ...] | None],
    restores: str | None = None,
) -> Deployment:
    """Write down that a definition should run, as a new version; see `pipelines.add_version`."""
    now = datetime.now(UTC)
    version_id = pipelines.add_version(
        tx,
        pipeline.id,
        definition,
        tensor_fields,
        uuid=str(uuid.uuid4()),
        user_id=caller.user_id,
        now=now,
        restores=restores,
    )
    rows.want_running(
        tx, pipeline.workspace_id, pipeline.id, version_id, user_id=caller.user_id, now=now
    )
    deployment = rows.find_deployment(tx, pipeline.id)
    assert deployment is not None
    return deployment


def _looked_up(
    tx: Transaction,
    workspace_id: int,
    definition: Definition,
    pinned: Mapping[int, tuple[str, ...] | None] | None = None,
) -> tuple[Definition, Mapping[int, tuple[str, ...] | None]]:
    """Return the definition with every reference read from the database, and the columns.

    Args:
        pinned: The columns that feed each model version; None: as it is configured now.

    Raises:
        NotFound: There is no such model version.
        Invalid: See `check_chain` and `check_redacted`.
    """
    known = models.versions_by_id(tx, (ref.version_id for ref in definition.models()))

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
            single=model.configuration.batch_config == "single",
        )

    steps = tuple(with_refs(step, true) for step in definition.steps)
    planned = plan(steps)
    tensor_fields = pinned or {key: model.tensor_fields for key, model in known.items()}
    signatures = {key: model.signature for key, model in known.items()}
    fed = {
        key: Fed(signature=signature, tensor_fields=tensor_fields.get(key))
        for key, signature in signatures.items()
    }
    check_chain(planned, fed)
    check_redacted(definition.log, planned, signatures)
    return replace(definition, steps=steps), tensor_fields


def _log_wish(deployment: Deployment, caller: Caller) -> None:
    log.info(
        "deployment.wanted deployment=%d revision=%d desired=%s user=%d",
        deployment.id,
        deployment.revision,
        deployment.desired,
        caller.user_id,
    )
