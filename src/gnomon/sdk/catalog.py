"""Workspaces, models, pipelines and their versions: how each leads to the others.

A workspace has models and pipelines, which know their workspace; a pipeline has versions, which
know their pipeline. So they stand in one module, with little more than that: what each can by
itself is in the class that it extends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gnomon.core import limits
from gnomon.sdk import html
from gnomon.sdk.diffs import Diff
from gnomon.sdk.model import ModelBase
from gnomon.sdk.pipeline import PipelineBase
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path
from gnomon.sdk.versions import PipelineVersionBase
from gnomon.sdk.workspace import WorkspaceBase


class Model(ModelBase):
    """One uploaded version of a model. Made by `Client.upload_model`."""

    def workspace(self) -> Workspace:
        """Return the workspace that it is in.

        Raises:
            NotFound: It is not there any more.
        """
        return workspace_of(self._session, self._view["workspace_id"])

    def versions(self) -> ModelVersions:
        """Return all versions of its name, newest first, as they are now.

        Raises:
            NotFound: They were deleted.
        """
        route = path("workspaces", self._view["workspace_id"], "models", self.name())
        view = self._session.transport.call("GET", route).json()
        return ModelFamily(self._session, view).versions()


class ModelVersions(list[Model]):
    """Model versions, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return html.listing([model._row() for model in self], empty="model versions")


class ModelFamily:
    """All versions under one name. Listed by `Client.list_models`."""

    def __init__(self, session: Session, view: Mapping[str, Any]) -> None:
        self._view = view
        self._versions = ModelVersions(Model(session, version) for version in view["versions"])

    def id(self) -> int:
        """Return the model's id, unique in the server."""
        return int(self._view["id"])

    def name(self) -> str:
        """Return the name."""
        return str(self._view["name"])

    def versions(self) -> ModelVersions:
        """Return the versions, newest first."""
        return self._versions

    def created_at(self) -> datetime:
        """Return when the first version was uploaded; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def last_update_time(self) -> datetime:
        """Return when the newest version was uploaded; aware, in UTC."""
        return datetime.fromisoformat(self._view["updated_at"])

    def __repr__(self) -> str:
        return repr({"name": self.name(), "versions": len(self._versions)})

    def _row(self) -> dict[str, object]:
        newest = self._versions[0]
        return {
            "Name": self.name(),
            "# of Versions": len(self._versions),
            "Newest by": newest.created_by(),
            "Last Updated": html.time_text(self.last_update_time()),
            "Created At": html.time_text(self.created_at()),
            "Workspace id": newest._view["workspace_id"],
            "Workspace name": newest._view["workspace"],
        }

    def _repr_html_(self) -> str:
        return html.facts(self._row().items())


class ModelList(list[ModelFamily]):
    """The models of a workspace, as a table in a notebook."""

    def _repr_html_(self) -> str:
        return html.listing([model._row() for model in self], empty="models")


class PipelineVersion(PipelineVersionBase):
    """A pipeline as it was built or deployed at one time. Never changes."""

    def pipeline(self) -> Pipeline:
        """Return its pipeline, with the steps of this version."""
        view = self._session.transport.call("GET", self._route()).json()
        return Pipeline(self._session, {**view, "definition": self._view["definition"]})

    def deploy(self, wait_for_status: bool = True) -> Pipeline:
        """Run this version again, and wait until it answers; as a new version, which is its copy.

        Its models are fed as they were then, whatever was configured since. (`deploy()` of
        `pipeline()` runs the same steps with what is configured now.)

        Args:
            wait_for_status: False returns as soon as the server knows what to run.

        Returns:
            The pipeline.

        Raises:
            NotFound: A model version of it was deleted.
            Invalid: It has no steps.
            DeploymentError, WaitExpired: See `Pipeline.deploy`.
        """
        route = self._route("versions", self.name(), "deployment")
        view = self._session.transport.call("PUT", route).json()
        return self.pipeline()._follow(view, wait_for_status)


class PipelineVersionList(list[PipelineVersion]):
    """Pipeline versions, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return html.listing([version._html_row() for version in self], empty="pipeline versions")


class Pipeline(PipelineBase):
    """Models that answer, and challengers that watch. Made by `Client.build_pipeline`.

    Its steps are what will be deployed next. A pipeline that was fetched, or has just been
    deployed, has the steps of its newest version, challengers included, so `deploy()` runs it
    again as it was. When an `add_*` after that builds anew: see `StepList`.
    """

    def workspace(self) -> Workspace:
        """Return the workspace that it is in.

        Raises:
            NotFound: It is not there any more.
        """
        return workspace_of(self._session, self._view["workspace_id"])

    def versions(self) -> PipelineVersionList:
        """Return its newest 1,000 versions, newest first."""
        query = {"limit": limits.PAGE_ROWS_MAX}
        found = self._session.transport.call("GET", self._route("versions"), query=query).json()
        return version_list(self._session, found)

    variants = versions

    def version(self, version: str | int) -> PipelineVersion:
        """Return one of its versions.

        Args:
            version: Its uuid, or its number.

        Raises:
            NotFound: There is no such version.
        """
        route = self._route("versions", version)
        return PipelineVersion(self._session, self._session.transport.call("GET", route).json())

    def diff(self, before: str | int, after: str | int | None = None) -> Diff:
        """Return what was changed from one version to another.

        Args:
            before: uuid or number of a version.
            after: uuid or number of another; None: the newest.

        Raises:
            NotFound: There is no such version.
        """
        newest = self.version(after) if after is not None else self.versions()[0]
        return self.version(before).diff(newest)


class Pipelines(list[Pipeline]):
    """A list of pipelines, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return html.listing([pipeline._list_row() for pipeline in self], empty="pipelines")


class Workspace(WorkspaceBase):
    """A room of its own for models and pipelines. Made by `Client.create_workspace`."""

    def models(self) -> ModelList:
        """Return its models, as they are now."""
        found = self._session.transport.call("GET", self._route("models")).json()["models"]
        return ModelList(ModelFamily(self._session, view) for view in found)

    def pipelines(self) -> Pipelines:
        """Return its pipelines, newest first, as they are now."""
        return list_pipelines(self._session, self.id())


class Workspaces(list[Workspace]):
    """A list of workspaces that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return html.listing([workspace._row() for workspace in self], empty="workspaces")


def list_pipelines(session: Session, workspace_id: int, name: str | None = None) -> Pipelines:
    """Return the pipelines of a workspace, newest first; of one name only if `name` is given."""
    query: dict[str, Any] = {"limit": limits.PAGE_ROWS_MAX}
    if name is not None:
        query["name"] = name
    route = path("workspaces", workspace_id, "pipelines")
    found = session.transport.call("GET", route, query=query).json()["pipelines"]
    return Pipelines(Pipeline(session, view) for view in found)


def version_list(session: Session, document: Mapping[str, Any]) -> PipelineVersionList:
    """Return the versions that a server answered with."""
    return PipelineVersionList(PipelineVersion(session, view) for view in document["versions"])


def workspace_of(session: Session, workspace_id: int) -> Workspace:
    """Return the workspace with that id.

    Raises:
        NotFound: There is none.
    """
    view = session.transport.call("GET", path("workspaces", workspace_id)).json()
    return Workspace(session, view)
