"""How a pipeline and each of its models is: `Pipeline.status()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gnomon.core.log_settings import USUAL_LOG, LogSettings
from gnomon.core.stats import OUTCOMES
from gnomon.sdk import bars, deployment, html
from gnomon.sdk.html import Html, cell

_COUNTS = ("sampled", *OUTCOMES, "p50_ms", "p99_ms", "breaker", "connected")
_HEADINGS = ("Model", "State", "Sees", "Requests", "How They Ended", "Time", "Breaker")


class Status(dict[str, Any]):
    """A status as `status` returns it, which a notebook shows as a table with a picture."""

    def _repr_html_(self) -> str:
        head = f"<p><strong>{cell(self['status'])}</strong>{_told(self)}</p>"
        notes = "".join(f"<p>{cell(detail)}</p>" for detail in self["details"])
        models = [m for e in self["engines"] for m in e["model_statuses"]["models"]]
        if not models:
            return head + notes
        slowest_ms = max((m["p99_ms"] or 0.0 for m in models), default=0.0)
        several = len({model["step"] for model in models}) > 1
        rows = [_row(model, slowest_ms, several=several) for model in models]
        return head + notes + html.table(_HEADINGS, rows, empty="models", wrap=False)


def status(
    name: str, view: Mapping[str, Any] | None, stats: Mapping[str, Any] | None = None
) -> Status:
    """Return how a deployment and each of its models is.

    Args:
        view: The deployment; None: there never was one.
        stats: What the fronts counted of it; None: it is not known.

    Returns:
        `status` is "Running", "Starting", "Stopping" or "Error"; `details` says what is wrong.
        `engines` has the models of all steps, with step (an index), label, role, state, reason,
        restarts, pid, hosts (the last five of each), sample and on; what the fronts counted since
        the server started, where `sampled` is the sum of ok, error, timeout, dropped, schema,
        skipped, lost and pending; p50_ms, p99_ms, breaker and connected. These are None while no
        front answers. Its `log` says how requests are logged: level, when_full, redact.
        `engine_lbs` has the fronts.
    """
    if view is None or (view["desired"] == "stopped" and view["state"] == "stopped"):
        return Status(
            status=f"Pipeline {name} is not deployed",
            details=[],
            engines=[],
            engine_lbs=[],
            sidekicks=[],
        )
    fronts = [] if stats is None else stats["fronts"]
    answering = any(front["answers"] for front in fronts)
    shown = deployment.word(view)
    if shown == "Running" and stats is not None and not answering:
        shown = "Error"
    version = view["pipeline_version"] or view["wanted_version"]
    counted = stats["deployments"][0]["models"] if stats is not None and answering else None
    engine = {
        "ip": None,
        "name": f"{view['pipeline']}-{view['id']}",
        "status": shown,
        "reason": view["reason"],
        "details": [],
        "pipeline_statuses": {
            "pipelines": [{"id": view["pipeline"], "status": shown, "version": version}]
        },
        "model_statuses": {
            "models": [
                {
                    **model,
                    "status": deployment.model_word(view, model),
                    **_counts(model["label"], counted),
                }
                for model in view["models"]
            ]
        },
        "shadow": dict(view["shadow"]),
        "log": dict(view["log"]),
    }
    return Status(
        status=shown,
        details=[*deployment.problems(view), *_front_problems(fronts)],
        engines=[engine],
        engine_lbs=[_front(front) for front in fronts],
        sidekicks=[],
    )


def _counts(label: str, counted: Mapping[str, Any] | None) -> dict[str, Any]:
    if counted is None:
        return dict.fromkeys(_COUNTS)
    nothing = {**dict.fromkeys(_COUNTS), **dict.fromkeys(("sampled", *OUTCOMES), 0)}
    return {**nothing, "connected": False, **counted.get(label, {})}


def _front(front: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ip": None,
        "name": front["front"],
        "status": "Running" if front["answers"] else "Error",
        "reason": None if front["answers"] else "it does not answer",
        "details": [],
        "requests": front["requests"] if front["answers"] else None,
    }


def _front_problems(fronts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    silent = [front["front"] for front in fronts if not front["answers"]]
    for name in silent:
        yield f"{name} does not answer: what it counted is missing here."
    for front in fronts:
        if trouble := log_trouble(front):
            yield f"{front['front']}: {trouble}."
    if silent and len(silent) == len(fronts):
        yield "No front answers, so nobody is answered; a front that ended is started again."


def log_trouble(front: Mapping[str, Any]) -> str:
    """Say what a front's log cannot do, or could not; empty if all is well."""
    reason, dropped = front["log_trouble"], front["log"].get("dropped", 0)
    said = [f"its log cannot be written now ({reason})"] if reason else []
    if dropped:
        said.append(f"its log has dropped {dropped:,} entries")
    return "; ".join(said)


def _told(status: Mapping[str, Any]) -> str:
    """Return what is to be said of the deployment as a whole."""
    for engine in status["engines"]:
        shadow = engine["shadow"]
        text = "answers wait for nobody unless asked to"
        if shadow["mode"] == "joined":
            text = f"joined: answers wait up to {shadow['shadow_wait_ms']} ms for challengers"
        not_yet = "" if shadow["in_force"] else " (not in force yet)"
        log = LogSettings.from_json(engine["log"])
        logged = "" if log == USUAL_LOG else f" &nbsp; log: {cell(log.text())}"
        return f" &nbsp; {cell(engine['name'])} &nbsp; {cell(text)}{not_yet}{logged}"
    return ""


def _row(model: Mapping[str, Any], slowest_ms: float, *, several: bool) -> tuple[object, ...]:
    step = f", step {model['step']}" if several else ""
    name = Html(f"<strong>{cell(model['label'])}</strong><br>{cell(model['role'])}{step}")
    state = str(model["status"])
    if model["reason"]:
        state = Html(f'<span title="{cell(model["reason"])}">{cell(state)}</span>')
    if model["sampled"] is None:
        return (name, state, _sees(model), "not known", "", "", "-")
    times = f"p50 {bars.ms_text(model['p50_ms'])}, p99 {bars.ms_text(model['p99_ms'])}"
    picture = bars.latency(model["p50_ms"], model["p99_ms"], slowest_ms)
    return (
        name,
        state,
        _sees(model),
        f"{model['sampled']:,}",
        Html(f"{bars.outcomes(model)}<br>{bars.outcomes_text(model)}"),
        Html(f"{picture}<br>{times}") if picture else "-",
        (model["breaker"] or "-").replace("_", " "),
    )


def _sees(model: Mapping[str, Any]) -> str:
    if model["role"] == "champion":
        return "all"
    return bars.share_text(model["sample"], on=model["on"])
