"""What is still used, and by whom: asked before anything is deleted."""

from __future__ import annotations

from collections.abc import Iterable

from gnomon.core import limits
from gnomon.core.errors import Conflict
from gnomon.core.model import ModelVersion
from gnomon.core.pipeline import Definition
from gnomon.stores import deployments, pipelines
from gnomon.stores.database import Transaction
from gnomon.stores.records import Deployment, Pipeline, Workspace

_NAMED_MAX = 10


def check_not_in_use(tx: Transaction, version: ModelVersion) -> None:
    """Refuse to delete a model version that a pipeline runs, or would at its next deploy.

    Raises:
        Conflict: The message and `details["pipelines"]` name the pipelines.
    """
    found = pipelines.list_pipelines(tx, version.workspace_id, limit=limits.PAGE_ROWS_MAX)
    deployed = {
        d.pipeline_id: d for d in deployments.workspace_deployments(tx, version.workspace_id)
    }
    users = [p.name for p in found if _uses(p, deployed.get(p.id), version.id)]
    if users:
        raise Conflict(
            f"{version.name}@{version.ordinal} is used by {_named('pipeline', users)}: it runs "
            "there, or is in the version that would be deployed next. Deploy them without it, or "
            "delete them.",
            pipelines=users,
        )


def check_at_rest(deployment: Deployment | None) -> None:
    """Refuse to delete a pipeline that is deployed.

    Raises:
        Conflict: It is, or has not stopped yet.
    """
    if deployment is not None and not _rests(deployment):
        raise Conflict(
            f"Pipeline {deployment.pipeline!r} {_doing(deployment)}. Undeploy it first.",
            pipeline=deployment.pipeline,
        )


def check_nothing_runs(tx: Transaction, workspace: Workspace, doing: str) -> None:
    """Refuse to do something to a workspace in which something is deployed.

    Args:
        doing: As "archived".

    Raises:
        Conflict: The message and `details["pipelines"]` name the pipelines.
    """
    found = deployments.workspace_deployments(tx, workspace.id)
    running = [deployment.pipeline for deployment in found if not _rests(deployment)]
    if running:
        raise Conflict(
            f"The workspace {workspace.name!r} cannot be {doing}: {_named('pipeline', running)} "
            "still deployed there. Undeploy first.",
            pipelines=running,
        )


def _rests(deployment: Deployment) -> bool:
    """Say whether a deployment is stopped, as it should be and as was seen."""
    seen = deployment.observed_revision == deployment.revision
    return deployment.desired == "stopped" and deployment.observed == "stopped" and seen


def _doing(deployment: Deployment) -> str:
    return "is deployed" if deployment.desired == "running" else "has not stopped yet"


def _uses(pipeline: Pipeline, deployment: Deployment | None, version_id: int) -> bool:
    definitions = [pipeline.definition]
    if deployment is not None:
        versions = (deployment.wanted, deployment.serving)
        definitions += [version.definition for version in versions if version is not None]
    return any(version_id in _ids(definition) for definition in definitions)


def _ids(definition: Definition) -> set[int]:
    return {ref.version_id for step in definition.steps for ref in step.models()}


def _named(what: str, names: Iterable[str]) -> str:
    all_names = list(names)
    shown = ", ".join(map(repr, all_names[:_NAMED_MAX]))
    more = len(all_names) - _NAMED_MAX
    rest = f" and {more} more" if more > 0 else ""
    return f"the {what}{'' if len(all_names) == 1 else 's'} {shown}{rest}"
