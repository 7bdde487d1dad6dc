"""Pipelines, as a notebook sees them: built here, deployed and asked on the server."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from gnomon.core import limits
from gnomon.core.errors import DeploymentError, Invalid, ServerUnreachable
from gnomon.core.pipeline import Definition, check_steps
from gnomon.sdk import asking, deployment, html, inference, records, rows
from gnomon.sdk.asking import Asking
from gnomon.sdk.building import Building
from gnomon.sdk.deployment import Deployment
from gnomon.sdk.inference import InferenceResult
from gnomon.sdk.logs import LogEntries, ShadowLogEntries
from gnomon.sdk.model import Model
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path
from gnomon.sdk.waiting import Waiting

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.sdk.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """A pipeline as it was deployed at one time."""

    _pipeline: str
    _uuid: str

    def name(self) -> str:
        """Return the version's uuid."""
        return self._uuid

    def __repr__(self) -> str:
        return repr({"name": self._pipeline, "version": self._uuid})


class Pipeline(Building):
    """A champion that answers, and challengers that watch. Made by `Client.build_pipeline`.

    Its steps are what will be deployed next. A pipeline that was fetched, or has just been
    deployed, has the steps of its newest version, challengers included, so `deploy()` runs it
    again as it was. The first `add_*` after that builds anew, in place of those steps; a further
    `add_*` before the next `deploy()` adds to what was built.
    """

    def __init__(self, session: Session, view: Mapping[str, Any]) -> None:
        self._session = session
        self._take(view)

    def _take(self, view: Mapping[str, Any]) -> None:
        """Become what the server says, steps included."""
        self._view = view
        self._take_steps(Definition.from_json(view["definition"]))

    def _route(self, *more: object) -> str:
        view = self._view
        return path("workspaces", view["workspace_id"], "pipelines", view["name"], *more)

    def _look(self) -> Mapping[str, Any]:
        """Ask how the pipeline is now; the steps that are being built stay as they are."""
        view: Mapping[str, Any] = self._session.transport.call("GET", self._route()).json()
        self._view = view
        return view

    # What it is

    def id(self) -> int:
        """Return the pipeline's id, unique in the server."""
        return int(self._view["id"])

    def owner_id(self) -> Any:
        """Return who made it."""
        return self._view["created_by"]

    def name(self) -> str:
        """Return the pipeline's name, unique in its workspace."""
        return str(self._view["name"])

    def create_time(self) -> datetime:
        """Return when it was made; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def last_update_time(self) -> datetime:
        """Return when it was last changed; aware, in UTC."""
        return datetime.fromisoformat(self._view["updated_at"])

    def tags(self) -> list[Any]:
        """Return its tags."""
        return list(self._view["tags"])

    def versions(self) -> list[PipelineVersion]:
        """Return its versions, newest first."""
        return [PipelineVersion(self.name(), uuid) for uuid in self._view["versions"]]

    variants = versions

    def workspace(self) -> Workspace:
        """Return the workspace that it is in.

        Raises:
            NotFound: It is not there any more.
        """
        from gnomon.sdk.workspace import workspace_of  # which lists pipelines, so knows this module

        return workspace_of(self._session, self._view["workspace_id"])

    def model_configs(self) -> list[dict[str, Any]]:
        """Return how each model of the steps is fed: champion first, then its challengers.

        Returns:
            What `Model.config()` says, with "model_name" and "model_version" (a uuid).
        """
        models = path("workspaces", self._view["workspace_id"], "models")
        found = []
        for ref in (ref for step in self._steps for ref in step.models()):
            route = f"{models}/{ref.name}/versions/{ref.uuid}"
            model = Model(self._session, self._session.transport.call("GET", route).json())
            named = {"model_name": model.name(), "model_version": model.version()}
            found.append({**named, **model.config()})
        return found

    # Running it

    def deploy(
        self,
        pipeline_name: str | None = None,
        deployment_config: Any = None,
        wait_for_status: bool = True,
    ) -> Pipeline:
        """Run the pipeline as it is built now, as a new version, and wait until it answers.

        A deployed pipeline answers all the while, with its old version until the new one is
        ready. A challenger that does not start is warned of.

        Args:
            pipeline_name: None, or the pipeline's own name: it is deployed under that.
            deployment_config: Taken for compatibility, with a warning that it has no effect:
                each model has one process.
            wait_for_status: False returns as soon as the server knows what to run.

        Returns:
            The pipeline itself.

        Raises:
            Invalid: It has no step, or steps that cannot be deployed; or another name.
            DeploymentError: A model did not start; the message names it and the reason.
            WaitExpired: It took longer than the client's `request_timeout`; it goes on.
        """
        if pipeline_name is not None and pipeline_name != self.name():
            raise Invalid(
                f"This is the pipeline {self.name()!r}, and it is deployed under that name, not "
                f"under {str(pipeline_name)[:80]!r}: for that, build_pipeline with that name."
            )
        check_steps(self._steps)
        if deployment_config is not None:
            warnings.warn(
                "deployment_config has no effect: gnomon gives each model one process.",
                UserWarning,
                stacklevel=2,
            )
        definition = Definition(steps=tuple(self._steps)).to_json()
        route = self._route("deployment")
        call = self._session.transport.call
        view = call("PUT", route, document={"definition": definition}).json()
        if not wait_for_status:
            if self._session.interactive:
                print(
                    f"Deployment initiated for {self.name()}. Please check pipeline status.",
                    flush=True,
                )
            self._take(self._look())
            return self
        try:
            with self._waiting("deployment"):
                deployment.check_running(deployment.settle(self._session, route, view))
        except DeploymentError:
            with contextlib.suppress(ServerUnreachable):
                self._look()
            raise
        self._take(self._look())
        return self

    def undeploy(self) -> Pipeline:
        """Stop the pipeline and wait until it has stopped. No error if it does not run.

        Returns:
            The pipeline itself.

        Raises:
            WaitExpired: It took longer than the client's `request_timeout`; it goes on.
        """
        route = self._route("deployment")
        reply = self._session.transport.call("DELETE", route)
        if reply.status == 202:  # else there was nothing to stop
            with self._waiting("undeployment"):
                deployment.settle(self._session, route, reply.json())
        self._look()
        return self

    def _waiting(self, what: str) -> Waiting:
        return self._session.waiting(what, self._session.timeout_s, at_once=True)

    def status(self) -> dict[str, Any]:
        """Return how the pipeline and each of its models is; see `sdk/deployment.py`."""
        return deployment.status(self.name(), self._look()["deployment"])

    def url(self) -> str:
        """Return where inferences are posted. It stays through redeploys and restarts.

        Raises:
            NotDeployed: The pipeline has never been deployed.
        """
        return self._deployment.url()

    @property
    def _deployment(self) -> Deployment:
        view = self._view["deployment"] or self._look()["deployment"]
        if view is None:
            raise asking.not_deployed(self.name())
        return Deployment(view)

    # Asking it

    def infer(
        self,
        tensor: Any,
        timeout: float | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: Any = None,
        *,
        request_id: str | None = None,
        shadow_wait_ms: int | None = None,
    ) -> Any:
        """Ask the champion. The answer has what the challengers said, if they were done in time.

        Args:
            tensor: Named tensors, as {"tensor": [[...]]}, with lists or arrays; or an array, for
                a model with one input; or a frame (pandas or polars DataFrame, pyarrow Table),
                one input row a row, whose further columns are logged with it. A frame is sent as
                Arrow, in several requests where it is larger than one may be.
            timeout: Seconds to wait for the champion.
            dataset: This and the next two are taken for compatibility; only their defaults, all
                columns, are known yet.
            request_id: By which the logs know the request; made by the server if None.
            shadow_wait_ms: How long the answer may wait for the challengers, in milliseconds; 0
                does not wait. None: 1,000, or what a "joined" pipeline says.

        Returns:
            A list with one InferenceResult; or, for a frame, a frame of the same kind with the
            columns time, in.*, out.*, anomaly.count and out_<label>.*. The `attrs` of a DataFrame
            have "request_id", "request_ids" (of all requests that it was sent in) and
            "challengers"; a Table has them as JSON in its schema's metadata, under "gnomon".

        Raises:
            InputMismatch: It does not fit the champion's inputs; the message says what does not.
            NotDeployed: The pipeline does not run.
            InferenceTimeout: No answer in time.
            TypeError: `tensor` is none of these.
        """
        asking.check_dataset(
            dataset=dataset,
            dataset_exclude=dataset_exclude,
            dataset_separator=dataset_separator,
        )
        joined = any(step.mode == "joined" for step in self._deployed_steps)
        if shadow_wait_ms is None and not joined:
            # Asked of every pipeline: one without challengers has nobody to wait for.
            shadow_wait_ms = limits.SHADOW_WAIT_DEFAULT_MS
        request = Asking(
            pipeline=self.name(),
            timeout_s=timeout,
            request_id=request_id,
            shadow_wait_ms=shadow_wait_ms,
        )
        return request.ask(self._session, self.url(), tensor)

    def infer_from_file(
        self,
        filename: str | os.PathLike[str],
        data_format: str | None = None,
        timeout: float | None = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: Any = None,
        *,
        request_id: str | None = None,
        shadow_wait_ms: int | None = None,
    ) -> list[InferenceResult] | pd.DataFrame:
        """Ask the champion about what is in a file.

        Args:
            filename: A .json file with named tensors or a list of records, or an Arrow IPC file
                (.arrow).
            data_format: What the file holds, whatever it is called: "pandas-records" (JSON, a
                list of records), "custom-json" (JSON, either of the two) or "arrow". None: what
                its name says.
            timeout: This and the others are those of `infer`.

        Returns:
            A list with one InferenceResult for named tensors, else a DataFrame; see `infer`.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError: Its name ends in something else, and `data_format` is None.
            MalformedRequest: It is not what its name or `data_format` says.
            Invalid: Another `data_format`.
        """
        content = inference.read_file(filename, data_format)
        answer: Any = self.infer(
            content,
            timeout,
            dataset,
            dataset_exclude,
            dataset_separator,
            request_id=request_id,
            shadow_wait_ms=shadow_wait_ms,
        )
        if isinstance(answer, list) or rows.is_frame(answer):
            return cast("list[InferenceResult] | pd.DataFrame", answer)
        return rows.to_pandas(answer)

    # Reading its log

    def logs(
        self,
        limit: int | None = None,
        valid: bool | None = None,
        *,
        start_datetime: Any = None,
        end_datetime: Any = None,
        dataset: Any = None,
        dataset_exclude: Any = None,
        dataset_separator: Any = None,
        arrow: bool = False,
    ) -> LogEntries:
        """Return the newest requests, one entry per model.

        Args:
            limit: How many requests; None: 100.
            valid: This and what follows is taken for compatibility; only the defaults, all of
                the newest requests and all of their columns, are known yet.

        Raises:
            Invalid: Something else than a default was asked for.
        """
        asking.check_later(
            valid=valid,
            start_datetime=start_datetime,
            end_datetime=end_datetime,
            dataset_separator=dataset_separator,
            arrow=arrow or None,
        )
        asking.check_dataset(dataset=dataset, dataset_exclude=dataset_exclude)
        wanted = limits.LOGS_DEFAULT if limit is None else limit
        found, more = records.fetch(self._session, self._route("logs"), wanted)
        return LogEntries.of(found, more=more)

    def logs_shadow_deploy(self, limit: int = limits.LOGS_DEFAULT) -> ShadowLogEntries:
        """Return the newest requests that had challengers, one entry per request."""
        found, more = records.fetch(self._session, self._route("logs"), limit)
        return ShadowLogEntries.of(found, more=more)

    # Showing it

    def __repr__(self) -> str:
        return repr(
            {
                "name": self.name(),
                "create_time": self.create_time(),
                "definition": self.definition(),
            }
        )

    def _row(self) -> dict[str, object]:
        deployed = deployment.is_deployed(self._view["deployment"])
        return {
            "name": self.name(),
            "created": self.create_time(),
            "last_updated": self.last_update_time(),
            "deployed": "(none)" if deployed is None else deployed,
            "tags": ", ".join(map(str, self.tags())),
            "steps": self._steps_text(),
        }

    def _repr_html_(self) -> str:
        return html.facts(self._row().items())
