"""Everything that is counted, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fastapi import Request, Response

from gnomon.api.calls import Caller, Deployments
from gnomon.api.guards import guarded_router, needs
from gnomon.backends.base import Backend
from gnomon.control.deployment_views import DeploymentView, ModelInDeployment
from gnomon.core.access import Right
from gnomon.core.deployment import ProcessStatus
from gnomon.core.stats import FrontStats, ModelStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = guarded_router("/v1")


@router.get("/metrics", response_class=Response)
@needs(Right.READ)
def metrics(request: Request, call: Caller, deployments: Deployments) -> Response:
    """Return the counters and gauges of fronts, deployments and processes."""
    backend: Backend = request.app.state.backend
    text = render(
        version=request.app.state.identity.version,
        fronts=backend.front_stats(),
        deployments=deployments.all(call),
        processes=backend.processes(),
    )
    return Response(text, media_type=CONTENT_TYPE)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, its kind, what it means, and its samples."""

    name: str
    kind: str
    text: str
    lines: list[str] = field(default_factory=list)

    def add(self, value: float, **labels: object) -> None:
        """Add a sample; True is 1."""
        number = int(value) if isinstance(value, bool) else value
        pairs = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels.items())
        self.lines.append(f"gnomon_{self.name}{f'{{{pairs}}}' if pairs else ''} {number}")


def render(
    *,
    version: str,
    fronts: Sequence[FrontStats],
    deployments: Sequence[DeploymentView],
    processes: Sequence[ProcessStatus],
) -> str:
    """Return the page.

    Counters are told a front each, because a front that is restarted begins at 0 alone; sums are
    for the reader to make.
    """
    build = Family("build_info", "gauge", "1; the version is in the label.")
    build.add(1, version=version)
    families = [
        build,
        *_of_processes(processes),
        *_of_fronts(fronts),
        *_of_deployments(deployments),
        *_of_models(fronts, deployments),
    ]
    return "".join(
        f"# HELP gnomon_{family.name} {family.text}\n# TYPE gnomon_{family.name} {family.kind}\n"
        + "".join(f"{line}\n" for line in family.lines)
        for family in families
    )


def _of_processes(processes: Iterable[ProcessStatus]) -> list[Family]:
    up = Family("process_up", "gauge", "1 while a process of the server runs.")
    restarts = Family("process_restarts_total", "counter", "How often it was started again.")
    for process in processes:
        up.add(process.state == "running", process=process.name)
        restarts.add(process.restarts, process=process.name)
    return [up, restarts]


def _of_fronts(fronts: Iterable[FrontStats]) -> list[Family]:
    up = Family("front_up", "gauge", "1 while a front answers; else nothing else is told of it.")
    entries = Family("log_entries_total", "counter", "Entries appended to the inference log.")
    dropped = Family("log_dropped_total", "counter", "Entries that the log had no room for.")
    waiting = Family("log_uncommitted", "gauge", "Entries that are not on disk yet.")
    vain = Family("log_undurable_total", "counter", "Entries that were waited for in vain.")
    trouble = Family("log_trouble", "gauge", "1 while the inference log cannot be written.")
    counted = (
        (entries, "appended"),
        (dropped, "dropped"),
        (waiting, "uncommitted"),
        (vain, "undurable"),
    )
    for front in fronts:
        up.add(front.answers, front=front.front)
        if not front.answers:
            continue
        trouble.add(front.log_trouble is not None, front=front.front)
        for family, name in counted:
            if name in front.log:
                family.add(front.log[name], front=front.front)
    return [up, entries, dropped, waiting, vain, trouble]


def _of_deployments(deployments: Iterable[DeploymentView]) -> list[Family]:
    running = Family("deployment_running", "gauge", "1 while a pipeline is deployed and up.")
    ready = Family("host_ready", "gauge", "How many of a model's hosts are ready: nearly always 1.")
    restarts = Family("host_restarts_total", "counter", "How often a model's hosts were restarted.")
    sample = Family("sample_ratio", "gauge", "Share of the requests that a model is to see.")
    for deployment in deployments:
        about = {
            "workspace": deployment.workspace_id,
            "pipeline": deployment.pipeline,
            "deployment": deployment.id,
        }
        running.add(deployment.state == "running", **about)
        if deployment.desired == "stopped":
            continue
        for model in deployment.models:
            labels = {**about, "label": model.label, "role": model.role}
            ready.add(sum(host.state == "ready" for host in model.hosts), **labels)
            restarts.add(model.restarts, **labels)
            sample.add(model.sample if model.on else 0.0, **labels)
    return [running, ready, restarts, sample]


def _of_models(fronts: Iterable[FrontStats], deployments: Iterable[DeploymentView]) -> list[Family]:
    sampled = Family(
        "sampled_total",
        "counter",
        "Requests that were for a model: the sum of its outcomes, and of those pending.",
    )
    outcomes = Family("outcomes_total", "counter", "How a model's requests ended.")
    pending = Family("pending", "gauge", "A model's requests that have not ended yet.")
    latency = Family("latency_seconds", "gauge", "Quantiles of the newest runs of a model.")
    breaker = Family("breaker_state", "gauge", "1 for the state that a challenger's breaker is in.")
    connected = Family("host_connected", "gauge", "1 while a front is connected to the host.")
    for labels, stats in _told(fronts, deployments):
        sampled.add(stats.sampled, **labels)
        for outcome, count in stats.counts.items():
            if outcome == "pending":
                pending.add(count, **labels)
            else:
                outcomes.add(count, **labels, outcome=outcome)
        for quantile, value_ms in (("0.5", stats.p50_ms), ("0.99", stats.p99_ms)):
            if value_ms is not None:
                latency.add(value_ms / 1000, **labels, quantile=quantile)
        if stats.breaker is not None:
            for state in ("closed", "half_open", "open"):
                breaker.add(stats.breaker == state, **labels, state=state)
        connected.add(stats.connected, **labels)
    return [sampled, outcomes, pending, latency, breaker, connected]


def _told(
    fronts: Iterable[FrontStats], deployments: Iterable[DeploymentView]
) -> Iterator[tuple[dict[str, object], ModelStats]]:
    """Yield what each front says of each model of each deployment."""
    known = {
        (deployment.id, model.label): (deployment, model)
        for deployment in deployments
        for model in deployment.models
    }
    for front in fronts:
        for deployment_id, models in front.models.items():
            for label, stats in models.items():
                if (deployment_id, label) in known:
                    yield _labels(front, *known[deployment_id, label]), stats


def _labels(
    front: FrontStats, deployment: DeploymentView, model: ModelInDeployment
) -> dict[str, object]:
    return {
        "workspace": deployment.workspace_id,
        "pipeline": deployment.pipeline,
        "deployment": deployment.id,
        "label": model.label,
        "role": model.role,
        "front": front.front,
    }


def _escaped(label: object) -> str:
    return str(label).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
