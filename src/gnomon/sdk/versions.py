"""The versions of a pipeline: who made each and when, what differs, and running one again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gnomon.core import limits
from gnomon.core.log_settings import USUAL_LOG
from gnomon.core.pipeline import Definition
from gnomon.sdk import html
from gnomon.sdk.diffs import Diff, definition_lines
from gnomon.sdk.picture import picture_beside_text
from gnomon.sdk.session import Session
from gnomon.sdk.step_texts import steps_html, steps_text
from gnomon.sdk.transport import path

if TYPE_CHECKING:
    from gnomon.sdk.pipeline import Pipeline


class PipelineVersion:
    """A pipeline as it was built or deployed at one time. Never changes."""

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

    def pipeline(self) -> Pipeline:
        """Return its pipeline, with the steps of this version."""
        from gnomon.sdk.pipeline import Pipeline  # which has versions, so knows this module

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

    def diff(self, other: PipelineVersion) -> Diff:
        """Return what has to be changed in this version to make it the other one.

        Raises:
            TypeError: `other` is no pipeline version.
        """
        if not isinstance(other, PipelineVersion):
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
        return isinstance(other, PipelineVersion) and other.name() == self.name()

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


class PipelineVersionList(list[PipelineVersion]):
    """Pipeline versions, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = [version._html_row() for version in self]
        headings = tuple(rows[0]) if rows else ()
        lines = (tuple(row.values()) for row in rows)
        return html.table(headings, lines, empty="pipeline versions")


class Versioned(ABC):
    """The part of a pipeline that knows its versions, and is deleted with them."""

    _session: Session

    @abstractmethod
    def _route(self, *more: object) -> str:
        """Return the pipeline's route, or one below it."""

    @abstractmethod
    def name(self) -> str:
        """Return the pipeline's name."""

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

    def delete(self) -> None:
        """Delete the pipeline with its versions. Its log stays until `gnomon gc`.

        Raises:
            Conflict: It is deployed: `undeploy()` first.
        """
        self._session.transport.call("DELETE", self._route())


def version_list(session: Session, document: Mapping[str, Any]) -> PipelineVersionList:
    """Return the versions that a server answered with."""
    return PipelineVersionList(PipelineVersion(session, view) for view in document["versions"])
