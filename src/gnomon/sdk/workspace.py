"""Workspaces: where models and pipelines have their names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gnomon.core.errors import NotFound
from gnomon.sdk import html
from gnomon.sdk.model import ModelList, list_models
from gnomon.sdk.pipelines import Pipelines, list_pipelines
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path


class Workspace:
    """A room of its own for models and pipelines. Made by `Client.create_workspace`."""

    def __init__(self, session: Session, view: Mapping[str, Any]) -> None:
        self._session = session
        self._view = view

    def id(self) -> int:
        """Return the workspace's id, unique in the server."""
        return int(self._view["id"])

    def name(self) -> str:
        """Return the workspace's name."""
        return str(self._view["name"])

    def created_at(self) -> datetime:
        """Return when it was made; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def created_by(self) -> Any:
        """Return who made it."""
        return self._view["created_by"]

    def archived(self) -> bool:
        """Say whether it was archived."""
        return bool(self._view["archived"])

    def models(self) -> ModelList:
        """Return its models, as they are now."""
        return list_models(self._session, self.id())

    def pipelines(self) -> Pipelines:
        """Return its pipelines, newest first, as they are now."""
        return list_pipelines(self._session, self.id())

    def users(self) -> list[Any]:
        """Return who may use it."""
        return [self.created_by()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Workspace) and other.id() == self.id()

    def __hash__(self) -> int:
        return hash(self.id())

    def __repr__(self) -> str:
        return repr(
            {
                "name": self.name(),
                "id": self.id(),
                "archived": self.archived(),
                "created_by": self.created_by(),
                "created_at": self.created_at().isoformat(),
                "models": len(self._view["models"]),
                "pipelines": len(self._view["pipelines"]),
            }
        )

    def _row(self) -> tuple[object, ...]:
        return (
            self.name(),
            html.time_text(self.created_at()),
            len(self.users()),
            len(self._view["models"]),
            len(self._view["pipelines"]),
        )

    def _repr_html_(self) -> str:
        return html.facts(zip(_HEADINGS, self._row(), strict=True))


_HEADINGS = ("Name", "Created At", "Users", "Models", "Pipelines")


class Workspaces(list[Workspace]):
    """A list of workspaces that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return html.table(_HEADINGS, (workspace._row() for workspace in self), empty="workspaces")


def workspace_of(session: Session, workspace_id: int) -> Workspace:
    """Return the workspace with that id.

    Raises:
        NotFound: There is none.
    """
    for view in session.transport.call("GET", path("workspaces")).json()["workspaces"]:
        if view["id"] == workspace_id:
            return Workspace(session, view)
    raise NotFound(f"There is no workspace with the id {workspace_id}.")
