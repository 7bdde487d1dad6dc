"""What a workspace says of itself, who may use it, and archiving it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from gnomon.core.names import check_user_name
from gnomon.sdk import html
from gnomon.sdk.session import Session
from gnomon.sdk.transport import Reply, path
from gnomon.sdk.users import User, Users


class WorkspaceBase:
    """A workspace: all of a `catalog.Workspace` that leads to nothing else."""

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

    def users(self) -> Users:
        """Return who may use it, oldest first, with their roles, as they are now.

        Members and their roles are kept; what a token may do is not decided by them yet.
        """
        return self._members(self._session.transport.call("GET", self._route("users")))

    list_users = users

    def add_user(self, user_email: str) -> Users:
        """Let somebody use it; one who was an owner is none any more.

        Args:
            user_email: Their name, as an e-mail address; somebody new becomes known by it.

        Returns:
            Who may use it then.

        Raises:
            InvalidName: It has no or more than 63 characters, a space or a slash.
            Conflict: They may already, or nobody would own the workspace.
        """
        return self._set_role(user_email, "user")

    def add_owner(self, user_email: str) -> Users:
        """Let somebody own it; see `add_user`."""
        return self._set_role(user_email, "owner")

    def remove_user(self, user_email: str) -> Users:
        """Let somebody no longer use it.

        Returns:
            Who may use it then.

        Raises:
            NotFound: They do not.
            Conflict: They are the only owner.
        """
        return self._members(
            self._session.transport.call(
                "DELETE", self._route("users", check_user_name(user_email))
            )
        )

    def archive(self) -> Self:
        """Let nothing more be added to it or deployed in it; what is there can be read.

        Returns:
            The workspace itself.

        Raises:
            Conflict: A pipeline is deployed in it; the message names them. Or it is the default
                workspace of a user.
        """
        return self._archive(True)

    def unarchive(self) -> Self:
        """Bring it back; see `archive`."""
        return self._archive(False)

    def delete(self) -> None:
        """Delete it with its models and pipelines. Files and logs stay until `gnomon gc`.

        Raises:
            Conflict: It is not archived: `archive()` first.
        """
        self._session.transport.call("DELETE", self._route())

    def _set_role(self, user: str, role: str) -> Users:
        check_user_name(user)
        document = {"role": role}
        call = self._session.transport.call
        return self._members(call("PUT", self._route("users", user), document=document))

    def _members(self, reply: Reply) -> Users:
        members = reply.json()["users"]
        self._view = {**self._view, "users": [member["name"] for member in members]}
        return Users(map(User, members))

    def _archive(self, archived: bool) -> Self:
        document = {"archived": archived}
        self._view = self._session.transport.call("PATCH", self._route(), document=document).json()
        return self

    def _route(self, *more: object) -> str:
        return path("workspaces", self.id(), *more)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkspaceBase) and other.id() == self.id()

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

    def _row(self) -> dict[str, object]:
        return {
            "Name": self.name(),
            "Created At": html.time_text(self.created_at()),
            "Users": len(self._view["users"]),
            "Models": len(self._view["models"]),
            "Pipelines": len(self._view["pipelines"]),
            "State": "archived" if self.archived() else "",
        }

    def _repr_html_(self) -> str:
        return html.facts(self._row().items())
