"""Pipelines: names under which versions are built and deployed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gnomon.control.access import pipeline_for, version_for, workspace_for
from gnomon.control.deployment_views import DeploymentView
from gnomon.control.deployments import Deployments
from gnomon.control.uses import check_at_rest
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.errors import LimitReached, NotFound
from gnomon.core.log_settings import LogSettings
from gnomon.core.names import check_name
from gnomon.core.pipeline import Definition
from gnomon.stores import deployments as deployment_rows
from gnomon.stores import pipelines as rows
from gnomon.stores import versions
from gnomon.stores.database import Database
from gnomon.stores.deletion import delete_pipeline
from gnomon.stores.records import ALWAYS, Period, Pipeline, PipelineVersionRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineView:
    """A pipeline as users see it.

    Attributes:
        deployment: None if it was never deployed.
    """

    pipeline: Pipeline
    deployment: DeploymentView | None


class Pipelines:
    """Making pipelines, finding them, and removing them."""

    def __init__(self, database: Database, deployments: Deployments) -> None:
        self._database = database
        self._deployments = deployments

    def build(self, caller: Caller, workspace_id: int, name: str) -> tuple[PipelineView, bool]:
        """Make a pipeline; or, if there is one of that name, an empty new version of it.

        Returns:
            The pipeline, and whether it is new. What is deployed stays deployed.

        Raises:
            InvalidName, LimitReached.
            NotFound: No such workspace.
            Conflict: It is archived.
        """
        check_name("pipeline", name)
        now = datetime.now(UTC)
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id, adding=True)
            found = rows.find_pipeline(tx, workspace_id, name)
            if found is not None:
                pipeline_id = found.id
            elif rows.count_pipelines(tx, workspace_id) < limits.PIPELINES_PER_WORKSPACE_MAX:
                pipeline_id = rows.add_pipeline(tx, workspace_id, name, caller.user_id, now)
            else:
                raise LimitReached(
                    f"Workspace {workspace_id} has {limits.PIPELINES_PER_WORKSPACE_MAX} "
                    "pipelines, the most it may have. Use another workspace."
                )
            rows.add_version(
                tx,
                pipeline_id,
                Definition(),
                {},
                uuid=str(uuid.uuid4()),
                user_id=caller.user_id,
                now=now,
            )
        return self.get(caller, workspace_id, name), found is None

    def get(self, caller: Caller, workspace_id: int, name: str) -> PipelineView:
        """Return one pipeline.

        Raises:
            NotFound: No such workspace or pipeline.
        """
        found = self.list(caller, workspace_id, name=name)
        if not found:
            raise _not_found(workspace_id, name)
        return found[0]

    def logged(
        self, caller: Caller, workspace_id: int, name: str
    ) -> tuple[Pipeline, LogSettings | None]:
        """Return a pipeline, and how the version is logged that callers get, or last got.

        Returns:
            None instead of the settings if it was never deployed.

        Raises:
            NotFound: No such workspace or pipeline.
        """
        with self._database.read() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name)
            deployment = deployment_rows.find_deployment(tx, pipeline.id)
        if deployment is None:
            return pipeline, None
        return pipeline, (deployment.serving or deployment.wanted).definition.log

    def list(
        self,
        caller: Caller,
        workspace_id: int,
        *,
        name: str | None = None,
        limit: int = limits.PAGE_ROWS_MAX,
    ) -> list[PipelineView]:
        """Return a workspace's pipelines, newest first.

        Args:
            name: Only the one of this name, whatever its case.
            limit: Only so many.

        Raises:
            NotFound: No such workspace.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            found = rows.list_pipelines(tx, workspace_id, name=name, limit=limit)
            if len(found) == 1:
                one = deployment_rows.find_deployment(tx, found[0].id)
                deployed = [] if one is None else [one]
            else:
                deployed = deployment_rows.workspace_deployments(tx, workspace_id)
        views = {view.pipeline_id: view for view in self._deployments.views(deployed)}
        return [
            PipelineView(pipeline=pipeline, deployment=views.get(pipeline.id)) for pipeline in found
        ]

    def versions(
        self, caller: Caller, workspace_id: int, name: str, *, limit: int = limits.PAGE_ROWS_MAX
    ) -> Sequence[PipelineVersionRecord]:
        """Return the versions of a pipeline, newest first.

        Raises:
            NotFound: No such workspace or pipeline.
        """
        with self._database.read() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name)
            return versions.pipeline_history(tx, pipeline.id, limit=limit)

    def version(
        self, caller: Caller, workspace_id: int, name: str, version: str
    ) -> PipelineVersionRecord:
        """Return one version of a pipeline.

        Args:
            version: Its uuid, or its number.

        Raises:
            NotFound: No such workspace, pipeline or version.
        """
        with self._database.read() as tx:
            return version_for(tx, pipeline_for(tx, caller, workspace_id, name), version)

    def search(
        self,
        caller: Caller,
        workspace_id: int,
        term: str | None,
        *,
        deployed: bool | None = None,
        created: Period = ALWAYS,
        updated: Period = ALWAYS,
        limit: int = limits.PAGE_ROWS_MAX,
    ) -> Sequence[PipelineVersionRecord]:
        """Return the pipeline versions of which this is true, newest first; see `versions.search`.

        Raises:
            NotFound: No such workspace.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            return versions.search(
                tx,
                workspace_id,
                term,
                deployed=deployed,
                created=created,
                updated=updated,
                limit=limit,
            )

    def delete(self, caller: Caller, workspace_id: int, name: str) -> None:
        """Remove a pipeline with its versions. Its log stays until it is collected.

        Raises:
            NotFound: No such workspace or pipeline.
            Conflict: It is deployed, or has not stopped yet.
        """
        with self._database.write() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name)
            check_at_rest(deployment_rows.find_deployment(tx, pipeline.id))
            delete_pipeline(tx, pipeline.id)
        log.info("pipeline.deleted pipeline=%d user=%d", pipeline.id, caller.user_id)


def _not_found(workspace_id: int, name: str) -> NotFound:
    return NotFound(
        f"There is no pipeline {name[:80]!r} in workspace {workspace_id}.", pipeline=name[:80]
    )
