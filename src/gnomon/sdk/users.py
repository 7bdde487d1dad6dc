"""Users, and what they are in a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gnomon.sdk import html


class User:
    """Somebody whom the server knows; in a workspace, with their role there."""

    def __init__(self, view: Mapping[str, Any]) -> None:
        self._view = view

    def id(self) -> int:
        """Return the user's id, unique in the server."""
        return int(self._view["id"])

    def name(self) -> str:
        """Return the user's name, which may be an e-mail address."""
        return str(self._view["name"])

    email = name  # users are known to be asked for it

    def role(self) -> str | None:
        """Return "owner" or "user" in the workspace that was asked; None: none was."""
        role: str | None = self._view.get("role")
        return role

    def created_at(self) -> datetime:
        """Return since when they are known, or have that role; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and other.id() == self.id()

    def __hash__(self) -> int:
        return hash(self.id())

    def __repr__(self) -> str:
        role = {} if self.role() is None else {"role": self.role()}
        return repr({"id": self.id(), "name": self.name(), **role})


class Users(list[User]):
    """A list of users that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = (
            (user.id(), user.name(), user.role() or "", html.time_text(user.created_at()))
            for user in self
        )
        return html.table(("Id", "Name", "Role", "Since"), rows, empty="users")
