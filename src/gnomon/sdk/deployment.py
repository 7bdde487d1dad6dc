"""A pipeline's deployment as the server tells it, and waiting until it is as wanted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from gnomon.core import limits
from gnomon.core.errors import DeploymentError, ServerUnreachable, WaitExpired
from gnomon.sdk import html
from gnomon.sdk.bars import share_text
from gnomon.sdk.session import Session

_LOOK_AGAIN_S = 0.05
_STATUS_WORDS = {
    "starting": "Starting",
    "running": "Running",
    "failed": "Error",
    "stopping": "Stopping",
    "stopped": "Stopped",
    "ready": "Running",
    "crash_looping": "Error",
    "gone": "Error",
}
_DOWN = frozenset({"failed", "crash_looping"})
# Why a model does not answer, where the server does not say.
_REASONS = {
    "failed": "it failed",
    "crash_looping": "it keeps crashing",
    "starting": "its host is starting",
    "stopping": "its host ends, and is replaced",
    "gone": "its host is gone, and is started again",
}


class Deployment:
    """Where a pipeline answers."""

    def __init__(self, view: Mapping[str, Any]) -> None:
        self._view = view

    def id(self) -> int:
        """Return the deployment's id, which stays through redeploys and restarts."""
        return int(self._view["id"])

    def name(self) -> str:
        """Return the pipeline's name."""
        return str(self._view["pipeline"])

    def url(self) -> str:
        """Return where inferences are posted."""
        return str(self._view["url"])

    _url = url  # notebooks are known to call it by this name

    def __repr__(self) -> str:
        return repr({"id": self.id(), "name": self.name(), "url": self.url()})

    def _repr_html_(self) -> str:
        return html.facts(
            (
                ("name", self.name()),
                ("id", self.id()),
                ("url", self.url()),
                ("status", word(self._view)),
                ("models", shadow_text(self._view)),
            )
        )


def shadow_text(view: Mapping[str, Any]) -> str:
    """Return the models of a deployment and how the challengers watch now, in a line."""
    shadow = view["shadow"]
    joined = shadow["mode"] == "joined" and len(_champions(view)) < len(view["models"])
    waits = f" - answers wait up to {shadow['shadow_wait_ms']} ms" if joined else ""
    steps = groupby(view["models"], key=itemgetter("step"))
    return "; ".join(_step_text(list(models)) for _, models in steps) + waits


def _step_text(models: Sequence[Mapping[str, Any]]) -> str:
    answering = " or ".join(model["label"] for model in models if model["role"] == "champion")
    shadows = [
        f"{model['label']} (shadow, {share_text(model['sample'], on=model['on'])})"
        for model in models
        if model["role"] == "challenger"
    ]
    return ", ".join([answering, *shadows])


def is_deployed(view: Mapping[str, Any] | None) -> bool | None:
    """Say whether a deployment is there to answer; None if there has never been one."""
    if view is None:
        return None
    answers = view["pipeline_version"] is not None or view["state"] != "failed"
    return view["desired"] == "running" and answers


def settle(session: Session, route: str, view: Mapping[str, Any]) -> Mapping[str, Any]:
    """Wait until the server has done what a call asked for, or has given up.

    A control plane that goes away meanwhile is waited for like the rest.

    Args:
        route: Of the deployment.
        view: What the call returned.

    Raises:
        WaitExpired: It was not done within the session's `timeout_s`.
    """
    asked = view["revision"]
    deadline = time.monotonic() + session.timeout_s
    while not (view["settled"] and view["revision"] >= asked):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise WaitExpired(
                f"Pipeline {view['pipeline']!r} is still {view['state']} after "
                f"{session.timeout_s:g} s. {' '.join(problems(view))}".rstrip()
                + " It goes on; status() shows how far it is.",
                pipeline=view["pipeline"],
                state=view["state"],
            )
        begun = time.monotonic()
        view = _look(session, route, view, min(left_s, limits.LONG_POLL_MAX_S))
        if time.monotonic() - begun < _LOOK_AGAIN_S:
            time.sleep(_LOOK_AGAIN_S)
    return view


def _look(
    session: Session, route: str, view: Mapping[str, Any], wait_s: float
) -> Mapping[str, Any]:
    query = {"wait_s": max(1, int(wait_s)), "revision": view["revision"]}
    try:
        found: Mapping[str, Any] = session.transport.call("GET", route, query=query).json()
    except ServerUnreachable:
        return view
    return found


def check_running(view: Mapping[str, Any]) -> None:
    """Warn of challengers that do not run.

    Raises:
        DeploymentError: What was to be deployed does not answer; the message names the model
            and the reason.
    """
    name = view["pipeline"]
    wrong = list(problems(view))
    if view["state"] != "running" or view["pipeline_version"] != view["wanted_version"]:
        still = " Its previous version still answers." if _old_one_answers(view) else ""
        if view["desired"] == "stopped":
            wrong.insert(0, "It was undeployed meanwhile.")
        raise DeploymentError(
            f"Pipeline {name!r} could not be deployed. {' '.join(wrong)}{still}".rstrip(),
            pipeline=name,
            state=view["state"],
            reason=view["reason"],
        )
    if wrong:
        warnings.warn(
            f"Pipeline {name!r} is deployed, but: {' '.join(wrong)}", UserWarning, stacklevel=4
        )


def _old_one_answers(view: Mapping[str, Any]) -> bool:
    """Say whether a deployment that failed has an older version, and that one's champion is up.

    A deployment that failed shows the models of the version that is left.
    """
    left = view["state"] == "failed" and view["pipeline_version"] is not None
    return left and all(model["state"] == "ready" for model in _champions(view))


def _champions(view: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [model for model in view["models"] if model["role"] == "champion"]


def state(view: Mapping[str, Any]) -> str:
    """Return the deployment's state as its callers find it, which is the champion's.

    Returns:
        The server's word for it: "starting", "running", "failed", "stopping" or "stopped". What
        runs but has a champion that is down is "failed", or "starting" if it is on its way.
    """
    noted = str(view["state"])
    if noted != "running":
        return noted
    champions = {model["state"] for model in _champions(view)}
    if champions & _DOWN:
        return "failed"
    return "running" if champions <= {"ready"} else "starting"


def word(view: Mapping[str, Any]) -> str:
    """Return `state` as `status` says it: "Running", "Starting", "Error", ..."""
    return _STATUS_WORDS[state(view)]


def model_word(view: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Return a model's state as `status` says it."""
    # What runs has a new host for a model whose host is gone as soon as the server looks.
    if view["state"] == "running" and model["state"] in {"gone", "stopping"}:
        return "Starting"
    return _STATUS_WORDS.get(model["state"], "Error")


def problems(view: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong, a sentence each: of the whole, and of each model that does not run."""
    # The models of what failed are those of the version before, if there is one: they explain it
    # only if there is none.
    named = view["pipeline_version"] is None and any(m["state"] in _DOWN for m in view["models"])
    if view["reason"] and not named:
        yield f"{view['reason'].rstrip('.')}."
    for model in view["models"]:
        waited_for = view["state"] == "running" and model["role"] == "champion"
        if model["state"] in _DOWN or (waited_for and model["state"] != "ready"):
            reason = (model["reason"] or _REASONS.get(model["state"], "")).rstrip(".")
            yield f"Model {model['label']} (version {model['version']}): {reason}."
        elif down := [host for host in model["hosts"] if host["state"] in _DOWN]:
            reason = (down[0]["reason"] or _REASONS.get(down[0]["state"], "")).rstrip(".")
            hosts = f"{len(down)} of its {len(model['hosts'])} hosts"
            yield f"Model {model['label']} (version {model['version']}), {hosts}: {reason}."
