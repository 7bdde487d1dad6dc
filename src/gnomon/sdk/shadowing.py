"""Challengers of a running pipeline: changing how they watch, and seeing who changed it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self, TypeVar

from gnomon.core.errors import Invalid
from gnomon.core.steps import Mode
from gnomon.sdk import asking, html
from gnomon.sdk.bars import share_text
from gnomon.sdk.model import ModelBase
from gnomon.sdk.session import Session

Setting = TypeVar("Setting")
# The keys are labels or models. Mappings are invariant in their keys, so that to call these
# `str | ModelBase` would refuse a `dict[str, float]`, and one of `str | Model`.
ByChallenger = Mapping[Any, Setting]


class Shadowing(ABC):
    """The part of a pipeline that changes its challengers while they watch.

    It takes effect at once, needs no redeploy, restarts nothing, and stays through restarts. It
    belongs to what is deployed: the next `deploy()` begins with what its own steps say.
    """

    _session: Session
    _view: Mapping[str, Any]

    @abstractmethod
    def _route(self, *more: object) -> str:
        """Return the pipeline's route, or one below it."""

    @abstractmethod
    def name(self) -> str:
        """Return the pipeline's name."""

    def change_shadow(
        self,
        mode: Mode | None = None,
        sample: float | ByChallenger[float] | None = None,
        shadow_wait_ms: int | None = None,
        on: ByChallenger[bool] | None = None,
    ) -> Self:
        """Change how the challengers of the running pipeline watch; what is not given stays.

        Args:
            mode: "async" or "joined"; see `add_shadow_deploy`.
            sample: Share of the requests that challengers see, from 0 to 1: one for all of them,
                or by challenger (a model, or its label).
            shadow_wait_ms: Milliseconds, for mode "joined".
            on: By challenger, whether it sees requests at all; see `switch_off`.

        Returns:
            The pipeline itself, as all of these do.

        Raises:
            Invalid: Nothing is to be changed, to something out of bounds, or of what is no
                challenger.
            NotDeployed: The pipeline does not run.
        """
        change: dict[str, Any] = {}
        if mode is not None:
            change["mode"] = check_mode(mode)
        if sample is not None:
            change["sample"] = by_label(sample, self._labels())
        if shadow_wait_ms is not None:
            asking.check_shadow_wait(shadow_wait_ms)
            change["shadow_wait_ms"] = shadow_wait_ms
        if on is not None:
            change["on"] = by_label(on, self._labels())
        return self._change(change)

    def switch_off(self, *challengers: str | ModelBase) -> Self:
        """Let challengers see no more requests; their hosts stay warm.

        Args:
            challengers: Models, or labels.

        Raises:
            Invalid, NotDeployed: See `change_shadow`.
        """
        on = dict.fromkeys(challengers, False)
        return self._change({"on": by_label(on, self._labels())})

    def switch_on(self, *challengers: str | ModelBase) -> Self:
        """Let challengers that were switched off watch again, as they did before.

        Args:
            challengers: Models, or labels.

        Raises:
            Invalid, NotDeployed: See `change_shadow`.
        """
        on = dict.fromkeys(challengers, True)
        return self._change({"on": by_label(on, self._labels())})

    def shadow_changes(self) -> ShadowChanges:
        """Return what was changed of the pipeline's challengers, newest first.

        Returns:
            Dicts with the settings after each change (mode, shadow_wait_ms, sample, off), the
            `pipeline_version` (a uuid) that it was of, changed_at and changed_by.
        """
        route = self._route("deployment", "shadow", "changes")
        return ShadowChanges(self._session.transport.call("GET", route).json()["changes"])

    @property
    def _joined(self) -> bool:
        """Whether answers wait for challengers without being asked to."""
        deployed = self._view["deployment"]
        return deployed is not None and deployed["shadow"]["mode"] == "joined"

    def _labels(self) -> dict[str, str]:
        """Return the label of each challenger that is deployed, by the uuid of its version."""
        models = (self._view["deployment"] or {"models": ()})["models"]
        return {m["version"]: m["label"] for m in models if m["role"] == "challenger"}

    def _change(self, change: Mapping[str, Any]) -> Self:
        route = self._route("deployment", "shadow")
        view = self._session.transport.call("PATCH", route, document=change).json()
        self._view = {**self._view, "deployment": view}
        if not view["shadow"]["in_force"]:
            warnings.warn(
                f"Pipeline {self.name()!r} will do so, but does not yet: a front does not answer, "
                "or a new version is just starting. status() shows how it is.",
                UserWarning,
                stacklevel=3,
            )
        return self


class ShadowChanges(list[dict[str, Any]]):
    """Changes of how challengers watch, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        headings = ("Changed At", "Changed By", "Mode", "Waits Up To", "Sample", "Version")
        rows = (
            (
                html.time_text(datetime.fromisoformat(change["changed_at"])),
                change["changed_by"],
                change["mode"],
                f"{change['shadow_wait_ms']} ms",
                ", ".join(
                    f"{label}: {share_text(rate, on=label not in change['off'])}"
                    for label, rate in change["sample"].items()
                ),
                change["pipeline_version"],
            )
            for change in self
        )
        return html.table(headings, rows, empty="changes")


def check_mode(mode: Any) -> Mode:
    """Return the mode.

    Raises:
        Invalid: It is another one than "async" and "joined".
    """
    if mode not in ("async", "joined"):
        raise Invalid(f'mode must be "async" or "joined", got {mode!r}.')
    found: Mode = mode
    return found


def by_label(given: Any, labels: Mapping[str, str]) -> Any:
    """Return a mapping with each model in its keys replaced by its label; else what was given.

    Args:
        labels: Of challengers, by the uuid of their version. A model that is none of them
            becomes its name and number, which is no label.
    """
    if not isinstance(given, Mapping):
        return given
    return {
        labels.get(key.version(), f"{key.name()}@{key.ordinal()}")
        if isinstance(key, ModelBase)
        else key: value
        for key, value in given.items()
    }
