"""A pipeline by itself: built here, deployed and asked on the server."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from gnomon.core.errors import DeploymentError, Invalid, ServerUnreachable
from gnomon.core.log_settings import USUAL_LOG
from gnomon.core.pipeline import Definition
from gnomon.core.plan import check_steps
from gnomon.core.resources import check_document, without_effect
from gnomon.sdk import asking, deployment, html, status
from gnomon.sdk.building import Building
from gnomon.sdk.deployment import Deployment
from gnomon.sdk.inferring import Inferring
from gnomon.sdk.log_configuring import LogConfiguring
from gnomon.sdk.model import ModelBase
from gnomon.sdk.picture import picture_beside_text
from gnomon.sdk.reading import Reading
from gnomon.sdk.session import Session
from gnomon.sdk.shadowing import Shadowing
from gnomon.sdk.status import Status
from gnomon.sdk.step_texts import steps_html, steps_text
from gnomon.sdk.transport import path
from gnomon.sdk.waiting import Waiting


class PipelineBase(Building, Inferring, LogConfiguring, Reading, Shadowing):
    """A pipeline: all of a `catalog.Pipeline` that leads to nothing else."""

    def __init__(self, session: Session, view: Mapping[str, Any]) -> None:
        self._session = session
        self._take(view)

    def _take(self, view: Mapping[str, Any]) -> None:
        """Become what the server says, steps included."""
        self._view = view
        self._take_steps(Definition.from_json(view["definition"]))

    def _route(self, *more: object) -> str:
        view = self._view
        return path("workspaces", view["workspace_id"], "pipelines", view["name"], *more)

    def _look(self) -> Mapping[str, Any]:
        """Ask how the pipeline is now; the steps that are being built stay as they are."""
        view: Mapping[str, Any] = self._session.transport.call("GET", self._route()).json()
        self._view = view
        return view

    # What it is

    def id(self) -> int:
        """Return the pipeline's id, unique in the server."""
        return int(self._view["id"])

    def owner_id(self) -> Any:
        """Return who made it."""
        return self._view["created_by"]

    def name(self) -> str:
        """Return the pipeline's name, unique in its workspace."""
        return str(self._view["name"])

    def create_time(self) -> datetime:
        """Return when it was made; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def last_update_time(self) -> datetime:
        """Return when it was last changed; aware, in UTC."""
        return datetime.fromisoformat(self._view["updated_at"])

    def tags(self) -> list[Any]:
        """Return its tags."""
        return list(self._view["tags"])

    def model_configs(self) -> list[dict[str, Any]]:
        """Return how each model of the steps is fed: champion first, then its challengers.

        Returns:
            What `Model.config()` says, with "model_name" and "model_version" (a uuid).
        """
        models = path("workspaces", self._view["workspace_id"], "models")
        found = []
        for ref in (ref for step in self._steps for ref in step.models()):
            route = f"{models}/{ref.name}/versions/{ref.uuid}"
            model = ModelBase(self._session, self._session.transport.call("GET", route).json())
            named = {"model_name": model.name(), "model_version": model.version()}
            found.append({**named, **model.config()})
        return found

    # Running it

    def deploy(
        self,
        pipeline_name: str | None = None,
        deployment_config: Mapping[str, Any] | None = None,
        wait_for_status: bool = True,
    ) -> Self:
        """Run the pipeline as it is built now, as a new version, and wait until it answers.

        A deployed pipeline answers all the while, with its old version until the new one is
        ready. A challenger that does not start is warned of.

        Args:
            pipeline_name: None, or the pipeline's own name: it is deployed under that.
            deployment_config: What `DeploymentConfigBuilder().build()` returns: CPUs and memory
                for the models' hosts. What it asks for that one machine does not give is kept,
                and warned of. None: as in the version whose steps these are, if it had one.
            wait_for_status: False returns as soon as the server knows what to run.

        Returns:
            The pipeline itself.

        Raises:
            Invalid: It has no step, or another name, or asks for what no host can have.
            DeploymentError: A model did not start; the message names it and the reason.
            WaitExpired: It took longer than the client's `request_timeout`; it goes on.
        """
        if pipeline_name is not None and pipeline_name != self.name():
            raise Invalid(
                f"This is the pipeline {self.name()!r}, and it is deployed under that name, not "
                f"under {str(pipeline_name)[:80]!r}: for that, build_pipeline with that name."
            )
        check_steps(self._steps)
        if deployment_config is None:
            deployment_config = self._deployment_config
        definition = Definition(
            steps=tuple(self._steps), deployment_config=deployment_config, log=self._log
        )
        check_document(deployment_config)
        if kept := without_effect(deployment_config, definition.models()):
            warnings.warn(
                f"Kept, without effect on one machine: {', '.join(kept)}.",
                UserWarning,
                stacklevel=2,
            )
        route = self._route("deployment")
        document = {"definition": definition.to_json()}
        view = self._session.transport.call("PUT", route, document=document).json()
        self._take_steps(definition)
        return self._follow(view, wait_for_status)

    def _follow(self, view: Mapping[str, Any], wait_for_status: bool) -> Self:
        """Wait until what was asked for runs; `view` is what the server said to it."""
        if not wait_for_status:
            if self._session.interactive:
                print(
                    f"Deployment initiated for {self.name()}. Please check pipeline status.",
                    flush=True,
                )
            self._take(self._look())
            return self
        try:
            with self._waiting("deployment"):
                settled = deployment.settle(self._session, self._route("deployment"), view)
                deployment.check_running(settled)
        except DeploymentError:
            with contextlib.suppress(ServerUnreachable):
                self._look()
            raise
        self._take(self._look())
        return self

    def undeploy(self) -> Self:
        """Stop the pipeline and wait until it has stopped. No error if it does not run.

        Returns:
            The pipeline itself.

        Raises:
            WaitExpired: It took longer than the client's `request_timeout`; it goes on.
        """
        route = self._route("deployment")
        reply = self._session.transport.call("DELETE", route)
        if reply.status == 202:  # else there was nothing to stop
            with self._waiting("undeployment"):
                deployment.settle(self._session, route, reply.json())
        self._look()
        return self

    def _waiting(self, what: str) -> Waiting:
        return self._session.waiting(what, self._session.timeout_s, at_once=True)

    def delete(self) -> None:
        """Delete the pipeline with its versions. Its log stays until `gnomon gc`.

        Raises:
            Conflict: It is deployed: `undeploy()` first.
        """
        self._session.transport.call("DELETE", self._route())

    def status(self) -> Status:
        """Return how the pipeline and each of its models is; see `sdk/status.py`."""
        view = self._look()["deployment"]
        stats = None
        if deployment.is_deployed(view):
            route = self._route("deployment", "stats")
            stats = self._session.transport.call("GET", route).json()
        return status.status(self.name(), view, stats)

    def url(self) -> str:
        """Return where inferences are posted. It stays through redeploys and restarts.

        Raises:
            NotDeployed: The pipeline has never been deployed.
        """
        return self._deployment.url()

    @property
    def _deployment(self) -> Deployment:
        view = self._view["deployment"] or self._look()["deployment"]
        if view is None:
            raise asking.not_deployed(self.name())
        return Deployment(view)

    # Showing it

    def __repr__(self) -> str:
        return repr(
            {
                "name": self.name(),
                "create_time": self.create_time(),
                "definition": self.definition(),
            }
        )

    def _row(self) -> dict[str, object]:
        deployed = deployment.is_deployed(self._view["deployment"])
        return {
            "name": self.name(),
            "created": self.create_time(),
            "last_updated": self.last_update_time(),
            "deployed": "(none)" if deployed is None else deployed,
            "tags": ", ".join(map(str, self.tags())),
            "steps": steps_text(self._steps),
        }

    def _list_row(self) -> dict[str, object]:
        view = self._view
        return {
            **self._row(),
            "steps": steps_html(self._steps),
            "versions": f"{len(view['versions'])}, newest {view['versions'][0]}",
            "workspace_id": view["workspace_id"],
            "workspace_name": view["workspace"],
        }

    def _repr_html_(self) -> str:
        view = self._view["deployment"]
        rows = {**self._row(), "steps": steps_html(self._steps)}
        if deployment.is_deployed(view) and view["shadow"]["changed_at"] is not None:
            rows["changed to"] = deployment.shadow_text(view)
        if self._log != USUAL_LOG:
            rows["log"] = self._log.text()
        return html.facts(rows.items()) + picture_beside_text(self._steps)
