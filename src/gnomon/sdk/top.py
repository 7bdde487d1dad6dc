"""What `gnomon top` shows: how every model of a server fares, again and again."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gnomon.core.errors import NotFound, ServerBusy, ServerUnreachable
from gnomon.core.stats import OUTCOMES
from gnomon.sdk import deployment
from gnomon.sdk.bars import ms_text, share_text
from gnomon.sdk.printing import print_json, printable, table_lines
from gnomon.sdk.status import log_trouble
from gnomon.sdk.transport import Transport, path

_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # a screen of its own, no cursor
_HEADINGS = ("  model", "host", "breaker", "sees", "req/s", "p50", "p99", "sampled", "ended")
_NUMBERS = range(3, 8)  # columns
_SHOWN = ("step", "label", "role", "state", "sample", "on")  # of a model's view


@dataclass(frozen=True, slots=True)
class Look:
    """What a server said at one moment.

    Attributes:
        at_s: When, on a clock that only goes forward.
        server: Its processes and deployments.
        stats: What its fronts counted.
    """

    at_s: float
    server: Mapping[str, Any]
    stats: Mapping[str, Any]

    @classmethod
    def take(cls, transport: Transport) -> Look:
        """Ask a server."""
        stats = transport.call("GET", path("stats")).json()
        return cls(time.monotonic(), transport.call("GET", path("server")).json(), stats)

    def sampled(self) -> dict[tuple[int, str], int]:
        """Return how many requests each model was sampled for, by deployment and label."""
        return {
            (found["id"], label): counted["sampled"]
            for found in self.stats["deployments"]
            for label, counted in found["models"].items()
        }


def document(before: Look, now: Look, pipeline: str | None = None) -> dict[str, Any]:
    """Return what is shown, as JSON values.

    Args:
        before: An earlier look; requests a second are those in between.
        pipeline: Only the deployments of this name.

    Raises:
        NotFound: No pipeline of this name is deployed.
    """
    deployed = [
        view
        for view in now.server["deployments"]
        if view["desired"] == "running" and pipeline in (None, view["pipeline"])
    ]
    if pipeline is not None and not deployed:
        raise NotFound(f"No pipeline {pipeline[:80]!r} is deployed; 'gnomon status' shows them.")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": now.server["version"],
        "fronts": now.stats["fronts"],
        "deployments": [_deployment(before, now, view) for view in deployed],
    }


def _deployment(before: Look, now: Look, view: Mapping[str, Any]) -> dict[str, Any]:
    [counted] = [d["models"] for d in now.stats["deployments"] if d["id"] == view["id"]] or [{}]
    earlier, later = before.sampled(), now.sampled()
    models = []
    for model in view["models"]:
        key = (view["id"], model["label"])
        shown = {name: model[name] for name in _SHOWN}
        rate = None
        if key in earlier and key in later and later[key] >= earlier[key]:  # no front restarted
            rate = (later[key] - earlier[key]) / max(now.at_s - before.at_s, 1e-6)
        models.append({**shown, "requests_per_s": rate, **counted.get(model["label"], {})})
    return {
        "id": view["id"],
        "pipeline": view["pipeline"],
        "workspace_id": view["workspace_id"],
        "state": deployment.state(view),
        "shadow": view["shadow"],
        "models": models,
    }


def _of_log(front: Mapping[str, Any]) -> str:
    trouble = log_trouble(front)
    return f" ({printable(trouble)})" if trouble else ""


def lines(shown: Mapping[str, Any]) -> list[str]:
    """Return a document as lines of text."""
    fronts = ", ".join(
        f"{front['front']} {front['requests']:,} requests{_of_log(front)}"
        if front["answers"]
        else f"{front['front']} does not answer"
        for front in shown["fronts"]
    )
    found = [f"gnomon {shown['version']}  {shown['time'][11:19]} UTC  {fronts or 'no front'}"]
    if not shown["deployments"]:
        found += ["", "No pipeline is deployed."]
    for view in shown["deployments"]:
        shadow = view["shadow"]
        waits = f"joined, up to {shadow['shadow_wait_ms']} ms"
        how = waits if shadow["mode"] == "joined" else "async"
        not_yet = "" if shadow["in_force"] else ", not in force yet"
        found += ["", f"pipeline {printable(view['pipeline'])}: {view['state']} ({how}{not_yet})"]
        several = len({model["step"] for model in view["models"]}) > 1
        rows = [_row(model, several=several) for model in view["models"]]
        found += table_lines(_HEADINGS, rows, right=_NUMBERS)
    return found


def _row(model: Mapping[str, Any], *, several: bool) -> tuple[object, ...]:
    champion = model["role"] == "champion"
    rate = model["requests_per_s"]
    step = f"{model['step']} " if several else ""
    return (
        f"  {step}{model['label']}" if champion else f"  {step}> {model['label']}",
        model["state"],
        (model.get("breaker") or "-").replace("_", " "),
        "all" if champion else share_text(model["sample"], on=model["on"]),
        "-" if rate is None else f"{rate:,.1f}",
        ms_text(model.get("p50_ms")),
        ms_text(model.get("p99_ms")),
        f"{model['sampled']:,}" if "sampled" in model else "-",
        ", ".join(f"{model[name]:,} {name}" for name in OUTCOMES if model.get(name)),
    )


def show_once(
    transport: Transport, interval_s: float, pipeline: str | None, *, as_json: bool
) -> None:
    """Print what a server does, as counted over one interval.

    Raises:
        NotFound: No pipeline of this name is deployed.
        ServerUnreachable: No server answers.
    """
    before = Look.take(transport)
    time.sleep(interval_s)
    shown = document(before, Look.take(transport), pipeline)
    if as_json:
        print_json(shown)
    else:
        print("\n".join(lines(shown)))


def show(transport: Transport, interval_s: float, pipeline: str | None) -> None:
    """Print it again and again until interrupted: in place on a terminal, else one below another.

    A server that goes away is waited for.

    Raises:
        NotFound: No pipeline of this name is deployed when it begins.
        ServerUnreachable: No server answers when it begins.
    """
    before = Look.take(transport)
    document(before, before, pipeline)
    with _screen() as in_place:
        while True:
            time.sleep(interval_s)
            try:
                now = Look.take(transport)
                text = lines(document(before, now, pipeline))
                before = now
            except (ServerUnreachable, ServerBusy, NotFound) as error:
                text = [printable(error.message)]
            _draw(text, in_place=in_place)


def _draw(text: list[str], *, in_place: bool) -> None:
    if in_place:
        columns, rows = shutil.get_terminal_size()
        cut = [f"{line[:columns]}{_CLEAR_LINE}" for line in text[: max(1, rows - 1)]]
        sys.stdout.write(_HOME + "\n".join(cut) + _CLEAR_BELOW)
    else:
        sys.stdout.write("\n".join(text) + "\n\n")
    sys.stdout.flush()


@contextmanager
def _screen() -> Iterator[bool]:
    """Have a screen of one's own, if there is a terminal; say whether there is."""
    in_place = sys.stdout.isatty()
    if not in_place:
        yield False
        return
    sys.stdout.write(_ENTER)
    try:
        yield True
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
