"""The pipelines of a workspace."""

from __future__ import annotations

from typing import Any

from gnomon.core import limits
from gnomon.sdk import html
from gnomon.sdk.pipeline import Pipeline
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path


class Pipelines(list[Pipeline]):
    """A list of pipelines, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        headings = ("name", "created", "last_updated", "deployed", "tags", "steps")
        lines = (pipeline._row().values() for pipeline in self)
        return html.table(headings, (tuple(line) for line in lines), empty="pipelines")


def list_pipelines(session: Session, workspace_id: int, name: str | None = None) -> Pipelines:
    """Return the pipelines of a workspace, newest first; of one name only if `name` is given."""
    query: dict[str, Any] = {"limit": limits.PAGE_ROWS_MAX}
    if name is not None:
        query["name"] = name
    route = path("workspaces", workspace_id, "pipelines")
    found = session.transport.call("GET", route, query=query).json()["pipelines"]
    return Pipelines(Pipeline(session, view) for view in found)
