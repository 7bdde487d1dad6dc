"""What a version of a pipeline says of itself: who made it and when, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gnomon.core.log_settings import USUAL_LOG
from gnomon.core.pipeline import Definition
from gnomon.sdk import html
from gnomon.sdk.diffs import Diff, definition_lines
from gnomon.sdk.picture import picture_beside_text
from gnomon.sdk.session import Session
from gnomon.sdk.step_texts import steps_html, steps_text
from gnomon.sdk.transport import path


class PipelineVersionBase:
    """A pipeline's version: all of a `catalog.PipelineVersion` that leads to nothing else."""

    def __init__(self, session: Session, view: Mapping[str, Any]) -> None:
        self._session = session
        self._view = view

    def id(self) -> int:
        """Return the version's id, unique in the server."""
        return int(self._view["id"])

    def name(self) -> str:
        """Return the version's uuid, by which logs name it too."""
        return str(self._view["uuid"])

    def number(self) -> int:
        """Return the version's number in its pipeline, from 1."""
        return int(self._view["number"])

    def create_time(self) -> datetime:
        """Return when it was made; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def last_update_time(self) -> datetime:
        """Return when it was made, or last changed how its challengers watch; aware, in UTC."""
        return datetime.fromisoformat(self._view["updated_at"])

    def created_by(self) -> str:
        """Return the name of who made it."""
        return str(self._view["author"])

    def restores(self) -> str | None:
        """Return the uuid of the older version that it is a copy of; None: it is none."""
        restored: str | None = self._view["restores"]
        return restored

    def deployed(self) -> bool:
        """Say whether callers got this version when it was fetched."""
        return bool(self._view["deployed"])

    def definition(self) -> dict[str, Any]:
        """Return the steps, as JSON values."""
        return dict(self._view["definition"])

    def tags(self) -> list[str]:
        """Return the pipeline's tags."""
        return list(self._view["tags"])

    def model_configs(self) -> list[dict[str, Any]]:
        """Return how each of its models was fed: champion first, then its challengers.

        Returns:
            Dicts with "model_name", "model_version" (a uuid) and "tensor_fields".
        """
        fields = self._view["tensor_fields"]
        return [
            {
                "model_name": ref.name,
                "model_version": ref.uuid,
                "tensor_fields": fields.get(str(ref.version_id)),
            }
            for ref in self._built().models()
        ]

    def diff(self, other: PipelineVersionBase) -> Diff:
        """Return what has to be changed in this version to make it the other one.

        Raises:
            TypeError: `other` is no pipeline version.
        """
        if not isinstance(other, PipelineVersionBase):
            raise TypeError(
                f"diff takes a version as pipeline.versions() has them, got {type(other).__name__}."
            )
        return Diff.of(self._title(), self._lines(), other._title(), other._lines())

    def _route(self, *more: object) -> str:
        view = self._view
        return path("workspaces", view["workspace_id"], "pipelines", view["pipeline"], *more)

    def _built(self) -> Definition:
        return Definition.from_json(self._view["definition"])

    def _title(self) -> str:
        return f"{self._view['pipeline']} version {self.number()}"

    def _lines(self) -> list[str]:
        return definition_lines(self._view["definition"], self._view["tensor_fields"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PipelineVersionBase) and other.name() == self.name()

    def __hash__(self) -> int:
        return hash(self.name())

    def __repr__(self) -> str:
        return repr(
            {
                "name": self._view["pipeline"],
                "version": self.name(),
                "number": self.number(),
                "create_time": self.create_time(),
                "created_by": self.created_by(),
                "deployed": self.deployed(),
            }
        )

    def _row(self) -> dict[str, object]:
        view = self._view
        return {
            "name": view["pipeline"],
            "version": self.name(),
            "number": self.number(),
            "creation_time": html.time_text(self.create_time()),
            "created_by": self.created_by(),
            "last_updated_time": html.time_text(self.last_update_time()),
            "deployed": self.deployed(),
            "workspace_id": view["workspace_id"],
            "workspace_name": view["workspace"],
            "tags": ", ".join(self.tags()),
            "steps": steps_text(self._built().steps),
        }

    def _html_row(self) -> dict[str, object]:
        return {**self._row(), "steps": steps_html(self._built().steps)}

    def _repr_html_(self) -> str:
        restored = {} if self.restores() is None else {"restores": self.restores()}
        log = self._built().log
        logged = {} if log == USUAL_LOG else {"log": log.text()}
        rows = {**self._html_row(), **restored, **logged}
        return html.facts(rows.items()) + picture_beside_text(self._built().steps)
