"""What to do next: a pure function from what is wanted and what is there to actions.

    start what is wanted -> when it is up, publish -> note it -> stop what nobody needs

New hosts are up before a front hears of them, and old ones stop after every front forgot them, so
a redeploy loses no request. A deployment is up when each champion has a host that is ready, and
each other host is ready, or failed, or had its time: a challenger, or one of several hosts of a
champion, never holds up a deployment for long and never fails one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gnomon.core import limits
from gnomon.core.deployment import HostStatus
from gnomon.core.routing import Route, ServedModel
from gnomon.stores.records import Observed

_DOWN = frozenset({"failed", "crash_looping"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One deployment, as the look found it.

    Attributes:
        wanted: Where its requests should go; None: it should not run.
        serving: Where they went when it was last noted; None: nowhere.
        noted: The state that was noted, at `noted_revision`, with `reason` if it is "failed".
        asked: Hosts that were asked for since this revision was first seen.
        refused: Hosts that the backend will not start, with the reason.
        came_up: It was up at this revision; what happens to its hosts now is no matter of
            deploying it.
        waited_s: Seconds since this revision was first seen.
    """

    id: int
    revision: int
    wanted: Route | None
    serving: Route | None = None
    noted: Observed = "stopped"
    noted_revision: int = 0
    reason: str | None = None
    asked: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    came_up: bool = False
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All that is decided upon.

    Attributes:
        hosts: What the backend runs, by name.
        published: The routes of the table that the fronts have, by deployment.
        current: The fronts have that table from this control plane, with today's tokens.
    """

    deployments: tuple[Seen, ...]
    hosts: Mapping[str, HostStatus]
    published: Mapping[int, Route]
    current: bool = True


@dataclass(frozen=True, slots=True)
class StartHost:
    """Start a host for a deployment: the only one of `model`, which is as that host has it."""

    deployment_id: int
    model: ServedModel


@dataclass(frozen=True, slots=True)
class StopHost:
    """Stop a host."""

    name: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Give the fronts a table with these routes, by deployment."""

    routes: Mapping[int, Route]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Write down the state of a deployment.

    Attributes:
        serving: uuid of the pipeline version that callers get; None: none.
    """

    deployment_id: int
    revision: int
    state: Observed
    serving: str | None = None
    reason: str | None = None


Action = StartHost | StopHost | Publish | Note


def decide(look: Look) -> list[Action]:
    """Return what to do now, in this order; look again afterwards.

    No action waits for another one of the same list: what must come later is decided by the next
    look, which sees what the actions did.
    """
    routes = {seen.id: route for seen in look.deployments if (route := _route(seen, look))}
    publish = routes != look.published or not look.current
    actions: list[Action] = []
    for seen in look.deployments:
        actions += _starts(seen, look)
    if publish:
        actions.append(Publish(routes))
    else:
        actions += _stops(look, routes)
    for seen in look.deployments:
        actions += _notes(seen, look, published=not publish)
    return actions


def is_busy(look: Look) -> bool:
    """Say whether a deployment is on its way up, so that it is worth looking again soon."""
    return any(
        seen.wanted is not None
        and not seen.came_up
        and not (seen.noted == "failed" and seen.noted_revision == seen.revision)
        for seen in look.deployments
    )


def _route(seen: Seen, look: Look) -> Route | None:
    """Return where the deployment's requests should go now."""
    if seen.wanted is None:
        return None
    if _gave_up(seen):
        return seen.serving
    published = look.published.get(seen.id)
    if published is None:
        return seen.wanted if _is_up(seen, look) else None
    # Of the version that is published only settings can change; its hosts are what they were.
    if _same_version(published, seen.wanted) or _is_up(seen, look):
        return seen.wanted
    return seen.serving if _same_version(published, seen.serving) else published


def _same_version(route: Route, other: Route | None) -> bool:
    return other is not None and other.pipeline_version == route.pipeline_version


def _gave_up(seen: Seen) -> bool:
    """Say whether this revision failed while an older version serves: that one is kept."""
    return (
        seen.noted == "failed"
        and seen.noted_revision == seen.revision
        and seen.wanted is not None
        and seen.serving is not None
        and seen.serving.pipeline_version != seen.wanted.pipeline_version
    )


def _needed(seen: Seen) -> Iterator[ServedModel]:
    """Yield the models that need hosts, each as each of its hosts has it."""
    if seen.wanted is None:
        return
    if not _gave_up(seen):
        yield from _in_hosts(seen.wanted)
    if seen.serving is not None:
        yield from _in_hosts(seen.serving)


def _in_hosts(route: Route) -> Iterator[ServedModel]:
    for model in route.served():
        yield from model.each()


def _starts(seen: Seen, look: Look) -> list[Action]:
    actions: list[Action] = []
    done = set(seen.refused)
    for model in _needed(seen):
        if model.host in done:
            continue
        done.add(model.host)
        status = look.hosts.get(model.host)
        if status is None or status.state == "stopping":
            actions.append(StartHost(seen.id, model))
        elif _is_left_over(status, seen):
            if status.state == "crash_looping":  # a host in a pause; this ends the pause
                actions.append(StopHost(model.host))
            actions.append(StartHost(seen.id, model))
    return actions


def _is_left_over(status: HostStatus, seen: Seen) -> bool:
    """Say whether a host went down before this revision asked for it: it is tried once more."""
    return (
        status.state in _DOWN
        and status.name not in seen.asked
        and not seen.came_up
        and not _gave_up(seen)
    )


def _down_reason(name: str, seen: Seen, look: Look) -> str | None:
    """Return why a host cannot come up; None if it may."""
    if name in seen.refused:
        return seen.refused[name]
    status = look.hosts.get(name)
    if status is None or status.state not in _DOWN or _is_left_over(status, seen):
        return None
    return status.reason or "Its host does not stay up."


def _champion_down(seen: Seen, look: Look) -> str | None:
    """Return why a champion cannot come up; None if all of them may."""
    assert seen.wanted is not None
    for model in seen.wanted.champions():
        reasons = [_down_reason(host, seen, look) for host in model.hosts]
        if all(reasons):
            return f"The champion {model} did not start: {reasons[0]}"
    return None


def _is_ready(name: str, look: Look) -> bool:
    status = look.hosts.get(name)
    return status is not None and status.state == "ready"


def _is_up(seen: Seen, look: Look) -> bool:
    assert seen.wanted is not None
    answers = all(
        any(_is_ready(host, look) for host in model.hosts) for model in seen.wanted.champions()
    )
    return answers and (
        seen.waited_s >= limits.OTHER_HOSTS_START_TIMEOUT_S
        or all(
            _is_ready(model.host, look) or _down_reason(model.host, seen, look) is not None
            for model in _in_hosts(seen.wanted)
        )
    )


def _stops(look: Look, routes: Mapping[int, Route]) -> list[Action]:
    needed = {model.host for seen in look.deployments for model in _needed(seen)}
    needed |= {model.host for route in routes.values() for model in _in_hosts(route)}
    return [
        StopHost(name)
        for name, status in look.hosts.items()
        if name not in needed and status.state != "stopping"
    ]


def _notes(seen: Seen, look: Look, *, published: bool) -> list[Action]:
    """Return the state to write down, if it is another one than stands there.

    Args:
        published: The fronts route as they should.
    """
    if seen.wanted is None:
        stopped = Note(deployment_id=seen.id, revision=seen.revision, state="stopped")
        return [stopped] if published and _is_news(stopped, seen) else []
    if seen.came_up or _gave_up(seen):
        return []
    served = look.published.get(seen.id)
    serving = None if served is None else served.pipeline_version
    note = None
    if _is_up(seen, look):
        if published:
            note = Note(
                deployment_id=seen.id, revision=seen.revision, state="running", serving=serving
            )
    elif reason := _champion_down(seen, look):
        note = Note(
            deployment_id=seen.id,
            revision=seen.revision,
            state="failed",
            serving=serving,
            reason=reason,
        )
    elif seen.noted == "running" and seen.noted_revision == seen.revision:
        note = Note(  # everything was restarted
            deployment_id=seen.id, revision=seen.revision, state="starting", serving=serving
        )
    return [note] if note is not None and _is_news(note, seen) else []


def _is_news(note: Note, seen: Seen) -> bool:
    serving = None if seen.serving is None else seen.serving.pipeline_version
    noted = (seen.noted, seen.noted_revision, serving, seen.reason)
    return (note.state, note.revision, note.serving, note.reason) != noted
