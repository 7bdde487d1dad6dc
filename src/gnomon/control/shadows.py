"""How challengers watch: changing it while they do, and seeing who changed it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from gnomon.control.access import pipeline_for
from gnomon.control.changes import Changes
from gnomon.control.deployment_views import DeploymentView, shown_version
from gnomon.control.deployments import Deployments
from gnomon.control.routes import follows, shadow_of
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.errors import NotDeployed
from gnomon.core.routing import Route
from gnomon.core.shadow import ShadowChange
from gnomon.stores import deployments as deployment_rows
from gnomon.stores import shadows as rows
from gnomon.stores.database import Database
from gnomon.stores.records import Deployment, ShadowRecord

log = logging.getLogger(__name__)


class Shadows:
    """The challengers of running pipelines.

    What is changed is kept with the pipeline version: no host notices, and a redeploy, which is
    another version, begins with what its own definition says.

    Args:
        published: The route that the fronts follow, by the deployment's id.
    """

    def __init__(
        self,
        database: Database,
        deployments: Deployments,
        changes: Changes,
        *,
        published: Callable[[int], Route | None],
    ) -> None:
        self._database = database
        self._deployments = deployments
        self._changes = changes
        self._published = published

    def change(
        self,
        caller: Caller,
        workspace_id: int,
        name: str,
        change: ShadowChange,
        *,
        wait_s: float = limits.FRONT_CALL_TIMEOUT_S,
    ) -> DeploymentView:
        """Let the challengers of a running pipeline watch in another way.

        While a redeploy is on its way, both versions are changed, each as far as it has these
        challengers.

        Args:
            wait_s: Return when every front does as it should, at most so many seconds from now.

        Raises:
            NotFound: No such workspace or pipeline.
            NotDeployed: The pipeline does not run.
            Invalid: See `ShadowChange.check`.
        """
        now = datetime.now(UTC)
        with self._database.write() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name)
            deployment = deployment_rows.find_deployment(tx, pipeline.id)
            if deployment is None or deployment.desired == "stopped":
                raise NotDeployed(
                    f"Pipeline {pipeline.name!r} is not deployed, so there is no challenger to "
                    "change: deploy it first.",
                    pipeline=pipeline.name,
                )
            change.check(tuple(shadow_of(shown_version(deployment)).sample))
            versions = {v.id: v for v in (deployment.wanted, deployment.serving) if v is not None}
            for version in versions.values():
                settings = shadow_of(version).changed(change)
                rows.add_change(tx, version.id, settings, user_id=caller.user_id, now=now)
        self._changes.wanted()
        log.info(
            "shadow.changed deployment=%d user=%d change=%r",
            deployment.id,
            caller.user_id,
            change,
        )

        def in_force(found: Deployment) -> bool:
            route = self._published(found.id)
            return route is not None and follows(route, shown_version(found))

        changed = self._deployments.wait_until(in_force, caller, workspace_id, name, wait_s=wait_s)
        return self._deployments.view(changed)

    def history(
        self,
        caller: Caller,
        workspace_id: int,
        name: str,
        *,
        limit: int = limits.PAGE_ROWS_MAX,
    ) -> list[ShadowRecord]:
        """Return what was changed of a pipeline's challengers, newest first.

        Raises:
            NotFound: No such workspace or pipeline.
        """
        with self._database.read() as tx:
            pipeline = pipeline_for(tx, caller, workspace_id, name)
            return rows.pipeline_changes(tx, pipeline.id, limit=limit)
