"""Tags: texts by which models and pipelines are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnomon.sdk import html
from gnomon.sdk.catalog import Model, ModelVersions, Pipeline, Pipelines
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path


class Tag:
    """A text that model versions and pipelines of a workspace can have. Made by `create_tag`."""

    def __init__(self, session: Session, view: Mapping[str, Any]) -> None:
        self._session = session
        self._view = view

    def id(self) -> int:
        """Return the tag's id, unique in the server."""
        return int(self._view["id"])

    def tag(self) -> str:
        """Return its text."""
        return str(self._view["text"])

    def model_tags(self) -> list[dict[str, int]]:
        """Return which model versions have it: dicts with "model_id" and "tag_id"."""
        return [{"model_id": model["id"], "tag_id": self.id()} for model in self._view["models"]]

    def pipeline_tags(self) -> list[dict[str, int]]:
        """Return which pipelines have it: dicts with "pipeline_pk_id" and "tag_pk_id"."""
        return [
            {"pipeline_pk_id": pipeline["id"], "tag_pk_id": self.id()}
            for pipeline in self._view["pipelines"]
        ]

    def list_models(self) -> ModelVersions:
        """Return the model versions that have it, newest first, as they are now."""
        self._look()
        models = path("workspaces", self._view["workspace_id"], "models")
        call = self._session.transport.call
        return ModelVersions(
            Model(self._session, call("GET", f"{models}/{m['name']}/versions/{m['uuid']}").json())
            for m in reversed(self._view["models"])
        )

    list_model_versions = list_models

    def list_pipelines(self) -> Pipelines:
        """Return the pipelines that have it, newest first, as they are now."""
        self._look()
        pipelines = path("workspaces", self._view["workspace_id"], "pipelines")
        call = self._session.transport.call
        return Pipelines(
            Pipeline(self._session, call("GET", f"{pipelines}/{pipeline['name']}").json())
            for pipeline in reversed(self._view["pipelines"])
        )

    def add_to_model(self, model_id: int | Model) -> dict[str, int]:
        """Let a model version have it; nothing happens if it has it.

        Args:
            model_id: The id of the version, as `model.id()` returns it; or the version.

        Raises:
            NotFound: There is none in the tag's workspace.
        """
        return self._model("PUT", model_id)

    def remove_from_model(self, model_id: int | Model) -> dict[str, int]:
        """Let a model version have it no more; see `add_to_model`."""
        return self._model("DELETE", model_id)

    def add_to_pipeline(self, pipeline_id: int | Pipeline) -> dict[str, int]:
        """Let a pipeline, all of its versions, have it; nothing happens if it has it.

        Args:
            pipeline_id: The id of the pipeline; or the pipeline.

        Raises:
            NotFound: There is none in the tag's workspace.
        """
        return self._pipeline("PUT", pipeline_id)

    def remove_from_pipeline(self, pipeline_id: int | Pipeline) -> dict[str, int]:
        """Let a pipeline have it no more; see `add_to_pipeline`."""
        return self._pipeline("DELETE", pipeline_id)

    def delete(self) -> None:
        """Delete the tag, from whatever has it."""
        self._session.transport.call("DELETE", self._route())

    def _model(self, method: str, model: int | Model) -> dict[str, int]:
        model_id = model.id() if isinstance(model, Model) else model
        self._change(method, "models", model_id)
        return {"model_id": model_id, "tag_id": self.id()}

    def _pipeline(self, method: str, pipeline: int | Pipeline) -> dict[str, int]:
        pipeline_id = pipeline.id() if isinstance(pipeline, Pipeline) else pipeline
        self._change(method, "pipelines", pipeline_id)
        return {"pipeline_pk_id": pipeline_id, "tag_pk_id": self.id()}

    def _change(self, method: str, kind: str, tagged_id: int) -> None:
        if isinstance(tagged_id, bool) or not isinstance(tagged_id, int):
            raise TypeError(
                f"A tag is given to {kind} by their id, an integer, or by themselves; got "
                f"{type(tagged_id).__name__}."
            )
        self._view = self._session.transport.call(method, self._route(kind, tagged_id)).json()

    def _look(self) -> None:
        found = list_tags(self._session, self._view["workspace_id"])
        self._view = next((tag._view for tag in found if tag.id() == self.id()), self._view)

    def _route(self, *more: object) -> str:
        return path("workspaces", self._view["workspace_id"], "tags", self.id(), *more)

    def _models(self) -> list[tuple[str, list[str]]]:
        """Return the models that have it, each with the versions that do."""
        versions: dict[str, list[str]] = {}
        for model in self._view["models"]:
            versions.setdefault(model["name"], []).append(model["uuid"])
        return list(versions.items())

    def _pipelines(self) -> list[str]:
        return [pipeline["name"] for pipeline in self._view["pipelines"]]

    def __repr__(self) -> str:
        return repr(
            {
                "id": self.id(),
                "tag": self.tag(),
                "models": self._models(),
                "pipelines": self._pipelines(),
            }
        )

    def _row(self) -> dict[str, object]:
        return {
            "id": self.id(),
            "tag": self.tag(),
            "models": "; ".join(f"{name} ({', '.join(uuids)})" for name, uuids in self._models()),
            "pipelines": ", ".join(self._pipelines()),
        }

    def _repr_html_(self) -> str:
        return html.facts(self._row().items())


class Tags(list[Tag]):
    """A list of tags that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return html.listing([tag._row() for tag in self], empty="tags")


def list_tags(session: Session, workspace_id: int) -> Tags:
    """Return the tags of a workspace, oldest first."""
    found = session.transport.call("GET", path("workspaces", workspace_id, "tags")).json()
    return Tags(Tag(session, view) for view in found["tags"])
