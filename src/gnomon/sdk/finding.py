"""What a client finds: models, pipelines and their versions, tags and users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from gnomon.core.errors import NotFound
from gnomon.core.names import check_name
from gnomon.sdk.catalog import (
    Model,
    ModelList,
    ModelVersions,
    Pipeline,
    Pipelines,
    PipelineVersionList,
    Workspace,
    Workspaces,
    list_pipelines,
    version_list,
    workspace_of,
)
from gnomon.sdk.moments import moment
from gnomon.sdk.session import Session
from gnomon.sdk.tags import Tag, Tags, list_tags
from gnomon.sdk.transport import path
from gnomon.sdk.users import User, Users

Time = datetime | str | None


class Finding(ABC):
    """The part of a client that finds things.

    Where a method takes a workspace, it is one, its id, or its name; the current one by default.
    """

    _session: Session

    @abstractmethod
    def get_current_workspace(self) -> Workspace:
        """Return the workspace that this client works in."""

    @abstractmethod
    def get_workspace(self, name: str) -> Workspace:
        """Return the workspace of that name."""

    @abstractmethod
    def list_workspaces(self) -> Workspaces:
        """Return all workspaces."""

    # Models

    def get_model(self, name: str, version: str | int | None = None) -> Model:
        """Return a version of a model of the current workspace; the newest by default.

        Args:
            version: Its uuid, or its number.

        Raises:
            NotFound: There is no such model or version.
        """
        return self.model_by_name(name, "latest" if version is None else version)

    def model_by_name(
        self,
        name: str,
        version: str | int,
        workspace_id: int | Workspace | None = None,
        workspace_name: str | None = None,
    ) -> Model:
        """Return a version of a model.

        Args:
            version: Its uuid, its number, or "latest".

        Raises:
            NotFound: There is no such workspace, model or version.
        """
        check_name("model", name)
        workspace = self._workspace_of(workspace_id, workspace_name).id()
        route = path("workspaces", workspace, "models", name, "versions", version)
        return Model(self._session, self._session.transport.call("GET", route).json())

    def model_version_by_name(self, model_class: str, model_name: str) -> Model:
        """Return a version of a model; the names of the arguments are those of other platforms.

        Args:
            model_class: The model's name.
            model_name: The version's uuid.

        Raises:
            NotFound: There is no such model or version.
        """
        return self.model_by_name(model_class, model_name)

    def list_models(
        self, workspace_id: int | Workspace | None = None, workspace_name: str | None = None
    ) -> ModelList:
        """Return the models of a workspace, oldest first."""
        return self._workspace_of(workspace_id, workspace_name).models()

    def search_models(
        self,
        search_term: str | None = None,
        uploaded_time_start: Time = None,
        uploaded_time_end: Time = None,
        workspace_id: int | Workspace | None = None,
        workspace_name: str | None = None,
    ) -> ModelVersions:
        """Return the newest 1,000 model versions of which all this is true, newest first.

        Args:
            search_term: Part of a name, sha, version, file name or tag, whatever its case.
            uploaded_time_start: Uploaded then or later; a time, or a text as
                "2026-11-23T08:00:00+01:00". Without a zone it is UTC.
            uploaded_time_end: Uploaded then or before.

        Raises:
            Invalid: A time is none.
        """
        found = self._search(
            self._workspace_of(workspace_id, workspace_name),
            "model-versions",
            term=search_term,
            uploaded_start=moment("uploaded_time_start", uploaded_time_start),
            uploaded_end=moment("uploaded_time_end", uploaded_time_end),
        )
        return ModelVersions(Model(self._session, view) for view in found["versions"])

    # Pipelines

    def list_pipelines(
        self, workspace_id: int | Workspace | None = None, workspace_name: str | None = None
    ) -> Pipelines:
        """Return the pipelines of a workspace, newest first."""
        return self._workspace_of(workspace_id, workspace_name).pipelines()

    def pipelines_by_name(
        self,
        pipeline_name: str,
        workspace_id: int | Workspace | None = None,
        workspace_name: str | None = None,
    ) -> Pipelines:
        """Return the pipelines of that name in a workspace: a list of one.

        Raises:
            NotFound: There is none.
        """
        workspace = self._workspace_of(workspace_id, workspace_name)
        found = list_pipelines(self._session, workspace.id(), name=str(pipeline_name))
        if not found:
            raise NotFound(
                f"There is no pipeline {str(pipeline_name)[:80]!r} in the workspace "
                f"{workspace.name()!r}. Make it with build_pipeline(name), or change to its "
                "workspace with set_current_workspace.",
                name=str(pipeline_name)[:80],
            )
        return found

    def get_pipeline(self, name: str, version: str | int | None = None) -> Pipeline:
        """Return the pipeline of that name in the current workspace.

        Args:
            version: uuid or number of one of its versions, whose steps it then has, so that
                `deploy()` runs them again; None: those of the newest.

        Raises:
            NotFound: There is no such pipeline or version.
        """
        found = self.pipelines_by_name(name)[0]
        return found if version is None else found.version(version).pipeline()

    def search_pipelines(
        self,
        search_term: str | None = None,
        deployed: bool | None = None,
        created_start: Time = None,
        created_end: Time = None,
        updated_start: Time = None,
        updated_end: Time = None,
        workspace_id: int | Workspace | None = None,
        workspace_name: str | None = None,
    ) -> PipelineVersionList:
        """Return the newest 1,000 pipeline versions of which all this is true, newest first.

        Args:
            search_term: Part of the pipeline's name, a tag of it, or the version, whatever its
                case.
            deployed: Whether callers get this version.
            created_start: Made then or later; a time, or a text as "2026-11-23T08:00:00+01:00".
                Without a zone it is UTC.
            created_end: Made then or before.
            updated_start: Made then or later, or changed how its challengers watch.
            updated_end: Made or last changed then or before.

        Raises:
            Invalid: A time is none.
        """
        found = self._search(
            self._workspace_of(workspace_id, workspace_name),
            "pipeline-versions",
            term=search_term,
            deployed=None if deployed is None else str(bool(deployed)).lower(),
            created_start=moment("created_start", created_start),
            created_end=moment("created_end", created_end),
            updated_start=moment("updated_start", updated_start),
            updated_end=moment("updated_end", updated_end),
        )
        return version_list(self._session, found)

    # Tags and users

    def create_tag(self, tag_text: str) -> Tag:
        """Make a tag in the current workspace; if there is one of this text, return that.

        Raises:
            Invalid: It has no or more than 100 characters, or one that is not shown.
        """
        route = path("workspaces", self.get_current_workspace().id(), "tags")
        document = {"tag": str(tag_text)}
        view = self._session.transport.call("POST", route, document=document).json()
        return Tag(self._session, view)

    def list_tags(self) -> Tags:
        """Return the tags of the current workspace, oldest first."""
        return list_tags(self._session, self.get_current_workspace().id())

    def list_users(self) -> Users:
        """Return everybody whom the server knows, oldest first."""
        found = self._session.transport.call("GET", path("users")).json()
        return Users(map(User, found["users"]))

    def _search(self, workspace: Workspace, what: str, **conditions: Any) -> Any:
        route = path("workspaces", workspace.id(), what)
        query = {name: value for name, value in conditions.items() if value is not None}
        return self._session.transport.call("GET", route, query=query).json()

    def _workspace_of(self, workspace: int | Workspace | None, name: str | None) -> Workspace:
        """Return the workspace that is meant; its id counts before its name."""
        if isinstance(workspace, Workspace):
            return workspace
        if workspace is not None:
            if isinstance(workspace, bool) or not isinstance(workspace, int):
                raise TypeError(f"workspace_id must be an integer, got {type(workspace).__name__}.")
            return workspace_of(self._session, workspace)
        if name is not None:
            return self.get_workspace(name)
        return self.get_current_workspace()
