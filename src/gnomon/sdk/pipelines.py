"""The pipelines of a workspace."""

from __future__ import annotations

from typing import Any

from gnomon.core import limits
from gnomon.sdk import html
from gnomon.sdk.pipeline import Pipeline
from gnomon.sdk.session import Session
from gnomon.sdk.step_texts import steps_html
from gnomon.sdk.transport import path


class Pipelines(list[Pipeline]):
    """A list of pipelines, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = [_row(pipeline) for pipeline in self]
        headings = tuple(rows[0]) if rows else ()
        return html.table(headings, (tuple(row.values()) for row in rows), empty="pipelines")


def _row(pipeline: Pipeline) -> dict[str, object]:
    view = pipeline._view
    uuids = view["versions"]
    newest = f"{len(uuids)}, newest {uuids[0]}"
    where = {"workspace_id": view["workspace_id"], "workspace_name": view["workspace"]}
    steps = {"steps": steps_html(pipeline._steps)}
    return {**pipeline._row(), **steps, "versions": newest, **where}


def list_pipelines(session: Session, workspace_id: int, name: str | None = None) -> Pipelines:
    """Return the pipelines of a workspace, newest first; of one name only if `name` is given."""
    query: dict[str, Any] = {"limit": limits.PAGE_ROWS_MAX}
    if name is not None:
        query["name"] = name
    route = path("workspaces", workspace_id, "pipelines")
    found = session.transport.call("GET", route, query=query).json()["pipelines"]
    return Pipelines(Pipeline(session, view) for view in found)
