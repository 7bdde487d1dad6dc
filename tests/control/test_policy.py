"""States in, actions out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gnomon.control.policy import Note, Publish, Seen, StartHost, StopHost, decide, is_busy
from gnomon.core.routing import Route
from tests.control.looks import (
    ALONE,
    C1,
    C2,
    CHAMPION,
    D1,
    LATE,
    NEW,
    OLD,
    RIVAL,
    first,
    look,
    model,
    note,
    redeploy,
    route,
    running,
)

SAMPLED = replace(NEW, sampling=(0.5,))
START_C1, START_C2 = StartHost(1, CHAMPION), StartHost(1, RIVAL)
START_OLD = StartHost(1, model(10, "champion"))
NOT_STARTED = "The champion m1@1 did not start: "

TABLE = {
    "nothing wanted, nothing there: nothing to do": (look([], []), []),
    "the first look tells the fronts, even that there is nothing": (
        look([], [], current=False),
        [Publish({})],
    ),
    "a new deployment: start its hosts": (
        look(first(asked=frozenset()), []),
        [START_C1, START_C2],
    ),
    "a host that was asked for and is not listed is asked for again": (
        look(first(), [f"{C1} starting"]),
        [START_C2],
    ),
    "hosts on their way: wait": (look(first(), [f"{C1} starting", f"{C2} starting"]), []),
    "champion ready, challenger on its way: wait": (
        look(first(), [f"{C1} ready", f"{C2} starting"]),
        [],
    ),
    "challenger ready, champion on its way: wait, however long": (
        look(first(waited_s=LATE), [f"{C1} starting", f"{C2} ready"]),
        [],
    ),
    "all ready: publish": (look(first(), [f"{C1} ready", f"{C2} ready"]), [Publish({1: NEW})]),
    "a challenger that failed holds nothing up": (
        look(first(), [f"{C1} ready", f"{C2} failed: bad"]),
        [Publish({1: NEW})],
    ),
    "a challenger that crashes all the time holds nothing up": (
        look(first(), [f"{C1} ready", f"{C2} crash_looping: SIGFPE"]),
        [Publish({1: NEW})],
    ),
    "a challenger that the backend refuses holds nothing up": (
        look(first(asked=frozenset({C1}), refused={C2: "full"}), [f"{C1} ready"]),
        [Publish({1: NEW})],
    ),
    "a challenger that had its time holds nothing up": (
        look(first(waited_s=LATE), [f"{C1} ready", f"{C2} starting"]),
        [Publish({1: NEW})],
    ),
    "published: note that it runs": (
        look(first(), [f"{C1} ready", f"{C2} ready"], [NEW]),
        [note("running", serving="v-new")],
    ),
    "running and noted: nothing to do": (
        look(running(), [f"{C1} ready", f"{C2} ready"], [NEW]),
        [],
    ),
    "the champion cannot load and there is no older version: failed": (
        look(first(), [f"{C1} failed: no such file", f"{C2} ready"]),
        [note("failed", reason=NOT_STARTED + "no such file")],
    ),
    "the champion crashes all the time before it was ever ready: failed": (
        look(first(), [f"{C1} crash_looping: SIGSEGV", f"{C2} starting"]),
        [note("failed", reason=NOT_STARTED + "SIGSEGV")],
    ),
    "the backend refuses the champion: failed": (
        look(first(asked=frozenset({C2}), refused={C1: "no room"}), [f"{C2} ready"]),
        [note("failed", reason=NOT_STARTED + "no room")],
    ),
    "failed and noted: its hosts stay, in case it comes up": (
        look(
            first(noted="failed", noted_revision=1, reason=NOT_STARTED + "SIGSEGV"),
            [f"{C1} crash_looping: SIGSEGV", f"{C2} ready"],
        ),
        [],
    ),
    "failed for another reason now: note that": (
        look(
            first(noted="failed", noted_revision=1, reason=NOT_STARTED + "SIGSEGV"),
            [f"{C1} crash_looping: SIGFPE", f"{C2} ready"],
        ),
        [note("failed", reason=NOT_STARTED + "SIGFPE")],
    ),
    "failed, and ready after all: publish": (
        look(first(noted="failed", noted_revision=1, reason="x"), [f"{C1} ready", f"{C2} ready"]),
        [Publish({1: NEW})],
    ),
    "a redeploy starts the new beside the old": (
        look(redeploy(asked=frozenset()), [f"{D1} ready"], [OLD]),
        [START_C1, START_C2],
    ),
    "a redeploy on its way leaves the old alone": (
        look(redeploy(), [f"{D1} ready", f"{C1} starting", f"{C2} ready"], [OLD]),
        [],
    ),
    "a redeploy that is ready replaces the old in the table first": (
        look(redeploy(), [f"{D1} ready", f"{C1} ready", f"{C2} ready"], [OLD]),
        [Publish({1: NEW})],
    ),
    "then is noted, while the old still runs": (
        look(redeploy(), [f"{D1} ready", f"{C1} ready", f"{C2} ready"], [NEW]),
        [note("running", 2, "v-new")],
    ),
    "and then the old stops": (
        look(
            redeploy(serving=NEW, noted_revision=2, came_up=True),
            [f"{D1} ready", f"{C1} ready", f"{C2} ready"],
            [NEW],
        ),
        [StopHost(D1)],
    ),
    "a redeploy with the same champion reuses its host": (
        look(
            first(wanted=NEW, serving=ALONE, noted="running", noted_revision=1, revision=2),
            [f"{C1} ready"],
            [ALONE],
        ),
        [START_C2],
    ),
    "a redeploy without the challenger stops it in the end": (
        look(
            first(wanted=ALONE, serving=ALONE, noted="running", noted_revision=1, came_up=True),
            [f"{C1} ready", f"{C2} ready"],
            [ALONE],
        ),
        [StopHost(C2)],
    ),
    "a redeploy whose champion fails keeps the old one": (
        look(redeploy(), [f"{D1} ready", f"{C1} failed: bad", f"{C2} ready"], [OLD]),
        [note("failed", 2, "v-old", NOT_STARTED + "bad")],
    ),
    "and stops what was started for it": (
        look(
            redeploy(noted="failed", noted_revision=2, reason=NOT_STARTED + "bad"),
            [f"{D1} ready", f"{C1} failed: bad", f"{C2} ready"],
            [OLD],
        ),
        [StopHost(C1), StopHost(C2)],
    ),
    "and starts nothing again": (
        look(
            redeploy(noted="failed", noted_revision=2, reason="x", asked=frozenset()),
            [f"{D1} ready"],
            [OLD],
        ),
        [],
    ),
    "a redeploy given up is tried again by the next revision": (
        look(
            redeploy(revision=3, noted="failed", noted_revision=2, reason="x", asked=frozenset()),
            [f"{D1} ready"],
            [OLD],
        ),
        [START_C1, START_C2],
    ),
    "a host that failed before this revision is tried once more": (
        look(first(asked=frozenset()), [f"{C1} failed: bad", f"{C2} ready"]),
        [START_C1],
    ),
    "a host in a pause after crashes is started at once by a new revision": (
        look(first(asked=frozenset()), [f"{C1} crash_looping: bad", f"{C2} ready"]),
        [StopHost(C1), START_C1],
    ),
    "a champion that crashes after it ran: nothing to do, it stays running": (
        look(running(asked=frozenset()), [f"{C1} crash_looping: SIGFPE", f"{C2} ready"], [NEW]),
        [],
    ),
    "a challenger that fails after it ran: nothing to do": (
        look(running(asked=frozenset()), [f"{C1} ready", f"{C2} failed: x"], [NEW]),
        [],
    ),
    "a host of a running deployment that is gone is started": (
        look(running(), [f"{C2} ready"], [NEW]),
        [START_C1],
    ),
    "undeploy: publish without it first": (
        look(
            first(wanted=None, serving=NEW, noted="running", noted_revision=1, revision=2),
            [f"{C1} ready", f"{C2} ready"],
            [NEW],
        ),
        [Publish({})],
    ),
    "then stop its hosts and note it": (
        look(
            first(wanted=None, serving=NEW, noted="running", noted_revision=1, revision=2),
            [f"{C1} ready", f"{C2} crash_looping: x"],
        ),
        [StopHost(C1), StopHost(C2), note("stopped", 2)],
    ),
    "hosts that are stopping already are left alone": (
        look(
            first(wanted=None, serving=NEW, noted="running", noted_revision=1, revision=2),
            [f"{C1} stopping"],
        ),
        [note("stopped", 2)],
    ),
    "a host that is stopping is no host: it is started again": (
        look(first(), [f"{C1} stopping", f"{C2} ready"]),
        [START_C1],
    ),
    "undeploying what never came up": (
        look(first(wanted=None, revision=2), [f"{C1} starting"]),
        [StopHost(C1), note("stopped", 2)],
    ),
    "undeploying what failed": (
        look(first(wanted=None, revision=2, noted="failed", noted_revision=1, reason="x"), []),
        [note("stopped", 2)],
    ),
    "hosts of nobody are stopped": (
        look([], ["d9-s0-m9-champion ready"]),
        [StopHost("d9-s0-m9-champion")],
    ),
    "but not before the fronts know that nobody needs them": (
        look([], ["d9-s0-m9-champion ready"], current=False),
        [Publish({})],
    ),
    "after a restart of everything: route at once, start, and say so": (
        look(running(came_up=False, asked=frozenset()), [], [NEW], current=False),
        [START_C1, START_C2, Publish({1: NEW}), note("starting", serving="v-new")],
    ),
    "back up after a restart: note that": (
        look(running(came_up=False, noted="starting"), [f"{C1} ready", f"{C2} ready"], [NEW]),
        [note("running", serving="v-new")],
    ),
    "after a restart the model does not load any more: failed, with its route": (
        look(
            running(came_up=False, noted="starting"),
            [f"{C1} failed: damaged", f"{C2} ready"],
            [NEW],
        ),
        [note("failed", serving="v-new", reason=NOT_STARTED + "damaged")],
    ),
    "after a restart in the middle of a redeploy: start the old and the new": (
        look(redeploy(asked=frozenset()), [], [OLD], current=False),
        [START_C1, START_C2, START_OLD, Publish({1: OLD})],
    ),
    "after a restart a redeploy that failed stays failed, and the old serves": (
        look(
            redeploy(noted="failed", noted_revision=2, reason="x", asked=frozenset()),
            [],
            [OLD],
            current=False,
        ),
        [START_OLD, Publish({1: OLD})],
    ),
    "only the control plane was restarted: nothing but the table": (
        look(running(came_up=False), [f"{C1} ready", f"{C2} ready"], [NEW], current=False),
        [Publish({1: NEW})],
    ),
    "new tokens: publish the same routes": (
        look(running(), [f"{C1} ready", f"{C2} ready"], [NEW], current=False),
        [Publish({1: NEW})],
    ),
    "challengers watch in another way: publish, whatever their hosts do, and touch none": (
        look(running(wanted=SAMPLED), [f"{C1} starting", f"{C2} crash_looping: x"], [NEW]),
        [Publish({1: SAMPLED})],
    ),
    "the old version's challengers are changed while the new one comes up": (
        look(
            redeploy(serving=replace(OLD, mode="joined")),
            [f"{D1} ready", f"{C1} starting", f"{C2} ready"],
            [OLD],
        ),
        [Publish({1: replace(OLD, mode="joined")})],
    ),
    "the old version's challengers are changed after the new one failed": (
        look(
            redeploy(
                serving=replace(OLD, mode="joined"),
                noted="failed",
                noted_revision=2,
                reason="x",
            ),
            [f"{D1} ready"],
            [OLD],
        ),
        [Publish({1: replace(OLD, mode="joined")})],
    ),
    "a failure is noted even while no front answers": (
        look(first(), [f"{C1} failed: x", f"{C2} ready"], current=False),
        [Publish({}), note("failed", reason=NOT_STARTED + "x")],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_next_actions(name: str):
    seen, expected = TABLE[name]
    assert decide(seen) == expected


def other(**changes: Any) -> Seen:
    values: dict[str, Any] = {"id": 2, "revision": 1, "wanted": route("v2", 20, deployment=2)}
    return Seen(**{**values, "asked": frozenset({"d2-s0-m20-champion"}), **changes})


def test_one_deployment_that_fails_holds_up_no_other():
    seen = look([first(), other()], [f"{C1} failed: x", f"{C2} ready", "d2-s0-m20-champion ready"])
    assert decide(seen) == [
        Publish({2: route("v2", 20, deployment=2)}),
        note("failed", reason=NOT_STARTED + "x"),
    ]


def test_the_routes_of_others_stay_in_every_table():
    two = route("v2", 20, deployment=2)
    settled = other(serving=two, noted="running", noted_revision=1, came_up=True)
    hosts = [f"{C1} ready", f"{C2} ready", "d2-s0-m20-champion ready"]
    assert decide(look([first(), settled], hosts, [two])) == [Publish({1: NEW, 2: two})]


def test_a_host_without_a_reason_gets_one():
    [failed] = decide(look(first(), [f"{C1} failed", f"{C2} ready"]))
    assert failed.reason == NOT_STARTED + "Its host does not stay up."


@pytest.mark.parametrize(
    ("seen", "busy"),
    [
        (first(), True),
        (redeploy(), True),
        (running(), False),
        (running(came_up=False, noted="starting"), True),
        (first(noted="failed", noted_revision=1), False),
        (first(wanted=None), False),
    ],
)
def test_looking_again_soon_is_for_what_is_on_its_way_up(seen: Seen, busy: bool):
    assert is_busy(look(seen, [])) is busy


def test_it_comes_to_rest_from_everywhere():
    """Whatever a look finds, doing what is decided leads to a look with nothing to do."""
    states = ["starting", "ready", "failed", "crash_looping", "stopping", None]
    wishes = [
        (wanted, serving, noted, noted_revision)
        for wanted in (None, NEW)
        for serving in (None, OLD, NEW)
        for noted in ("starting", "running", "failed", "stopped")
        for noted_revision in (1, 2)
    ]
    for wanted, serving, noted, noted_revision in wishes:
        for champion in states:
            for challenger in states:
                hosts = {
                    name: state
                    for name, state in ((C1, champion), (C2, challenger), (D1, "ready"))
                    if state
                }
                seen = first(
                    revision=2,
                    wanted=wanted,
                    serving=serving,
                    noted=noted,
                    noted_revision=noted_revision,
                    asked=frozenset(),
                )
                _run_to_rest(seen, hosts, [serving] if serving else [])


def _run_to_rest(seen: Seen, states: dict[str, str], published: list[Route]) -> None:
    routes = {r.deployment_id: r for r in published}
    versions = {"v-old": OLD, "v-new": NEW}
    current = False
    for _ in range(12):
        hosts = [f"{name} {state}" for name, state in states.items()]
        actions = decide(look(seen, hosts, routes.values(), current=current))
        for action in actions:
            match action:
                case StartHost(_, served):
                    states[served.host] = "ready"
                    seen = replace(seen, asked=seen.asked | {served.host})
                case StopHost(name):
                    states.pop(name)
                case Publish(wanted):
                    routes, current = dict(wanted), True
                case Note():
                    seen = replace(
                        seen,
                        noted=action.state,
                        noted_revision=action.revision,
                        reason=action.reason,
                        serving=versions[action.serving] if action.serving else None,
                        came_up=action.state == "running" or seen.came_up,
                    )
        if not actions:
            break
        states = {name: "ready" if s == "starting" else s for name, s in states.items()}
    assert not actions, actions
    up = {m.host for r in routes.values() for m in r.models()}
    assert up <= set(states), "what is routed to has hosts"
    if seen.wanted is None:
        assert not routes
        assert seen.noted == "stopped"
    else:
        assert (seen.noted, seen.noted_revision) in {("running", 2), ("failed", 2)}
