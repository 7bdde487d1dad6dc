"""The loop that makes true what is desired: look, decide, do, note."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gnomon.backends.base import Backend
from gnomon.control.changes import Changes
from gnomon.control.policy import (
    Action,
    Look,
    Note,
    Publish,
    Seen,
    StartHost,
    StopHost,
    decide,
    is_busy,
)
from gnomon.control.routes import host_spec, route_of
from gnomon.core import limits
from gnomon.core.errors import Invalid, ServerBusy, ServerUnreachable
from gnomon.core.routing import Route, RoutingTable
from gnomon.stores import deployments as rows
from gnomon.stores import models, users
from gnomon.stores.artifacts import Artifacts
from gnomon.stores.database import Database, Transaction
from gnomon.stores.records import Deployment

log = logging.getLogger(__name__)

_EPOCH = "routing_epoch"
_EPOCH_BITS = 32
_LOOKS_WITHOUT_PAUSE_MAX = 10
_FAILURES_COUNTED = 10
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """A deployment as the database has it, with its routes."""

    deployment: Deployment
    wanted: Route | None
    serving: Route | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desired:
    """What one look at the database found.

    Attributes:
        sizes: Bytes of each file, by its sha256.
    """

    wishes: Mapping[int, _Wish]
    tokens: Mapping[str, int]
    sizes: Mapping[str, int]
    read_at: float


@dataclass(slots=True)
class _Progress:
    """What this control plane did for one revision of a deployment."""

    revision: int
    since: float
    asked: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    came_up: bool = False


class Reconciler:
    """Brings what runs in line with the database, in a thread of its own.

    It alone writes the observed columns, starts and stops hosts, and publishes routing tables. It
    remembers nothing that a restart could not find again.

    Args:
        changes: Rings when something else is desired.
        open_inference: Inference needs no token.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        backend: Backend,
        changes: Changes,
        *,
        open_inference: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._backend = backend
        self._changes = changes
        self._open_inference = open_inference
        self._clock = clock
        self._desired: _Desired | None = None
        self._progress: dict[int, _Progress] = {}
        self._published: dict[int, Route] | None = None
        self._published_tokens: Mapping[str, int] | None = None
        self._table_version = 0
        self._failures = 0
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self, *, wait_s: float = 0.0) -> None:
        """Start the loop.

        Args:
            wait_s: Return after the first look, at most so many seconds from now. Until then the
                database says what was true before a restart.
        """
        self._thread.start()
        self._looked.wait(wait_s)

    def stop(self) -> None:
        """End the loop; what runs goes on running."""
        self._stopping.set()
        self._changes.wanted()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def published(self, deployment_id: int) -> Route | None:
        """Return the route that every front follows; None: there is none, or it is not known."""
        routes = None if self._published_tokens is None else self._published
        return None if routes is None else routes.get(deployment_id)

    def step(self) -> tuple[bool, bool]:
        """Look once and act.

        Returns:
            Whether something was done, and whether something is on its way.

        Raises:
            GnomonError: Something did not answer, or refused; the next step tries again.
        """
        desired = self._read()
        if self._published is None:
            self._published = {
                key: wish.serving for key, wish in desired.wishes.items() if wish.serving
            }
        hosts = {status.name: status for status in self._backend.hosts()}
        look = Look(
            deployments=tuple(self._seen(wish) for wish in desired.wishes.values()),
            hosts=hosts,
            published=self._published,
            current=self._published_tokens == desired.tokens,
        )
        actions = decide(look)
        failure: Exception | None = None
        for action in actions:
            try:
                self._do(action, desired)
            except Exception as error:  # one deployment's trouble is no other's
                failure = failure or error
                self._log_failure(type(action).__name__, error)
        if failure is not None:
            raise failure
        return bool(actions), is_busy(look)

    def _run(self) -> None:
        looks = 0
        pause_s = 0.0
        while not self._stopping.is_set():
            if self._changes.wait_for_work(pause_s):
                self._desired = None
            try:
                acted, busy = self.step()
            except Exception as error:
                self._log_failure("look", error)
                self._failures = min(self._failures + 1, _FAILURES_COUNTED)
                slower = limits.RECONCILE_BUSY_S * 2**self._failures
                pause_s = min(limits.RECONCILE_IDLE_S, slower)
                self._desired = None
                continue
            finally:
                self._looked.set()
            self._failures = 0
            looks = looks + 1 if acted else 0
            if acted and looks < _LOOKS_WITHOUT_PAUSE_MAX:
                pause_s = 0.0
            else:
                pause_s = limits.RECONCILE_BUSY_S if acted or busy else limits.RECONCILE_IDLE_S

    def _read(self) -> _Desired:
        """Return what the database says; it is asked again only after a change, or a while."""
        now = self._clock()
        if self._desired is None or now - self._desired.read_at >= limits.RECONCILE_IDLE_S:
            with self._database.read() as tx:
                self._desired = _read(tx, now)
            wishes = self._desired.wishes
            self._progress = {key: p for key, p in self._progress.items() if key in wishes}
        return self._desired

    def _seen(self, wish: _Wish) -> Seen:
        deployment = wish.deployment
        progress = self._progress.get(deployment.id)
        if progress is None or progress.revision != deployment.revision:
            progress = _Progress(revision=deployment.revision, since=self._clock())
            self._progress[deployment.id] = progress
        return Seen(
            id=deployment.id,
            revision=deployment.revision,
            wanted=wish.wanted,
            serving=wish.serving,
            noted=deployment.observed,
            noted_revision=deployment.observed_revision,
            reason=deployment.reason,
            asked=frozenset(progress.asked),
            refused=dict(progress.refused),
            came_up=progress.came_up,
            waited_s=self._clock() - progress.since,
        )

    def _do(self, action: Action, desired: _Desired) -> None:
        match action:
            case StartHost():
                self._start_host(action, desired)
            case StopHost(name):
                self._backend.stop_host(name)
                log.info("host.stopped name=%s", name)
            case Publish(routes):
                self._publish(routes, desired)
            case Note():
                self._note(action)

    def _start_host(self, action: StartHost, desired: _Desired) -> None:
        model = action.model
        progress = self._progress[action.deployment_id]
        try:
            self._backend.start_host(host_spec(model, self._artifacts, desired.sizes[model.sha256]))
        except Invalid as error:  # trying again would not help
            progress.refused[model.host] = error.message
            log.warning("host.refused name=%s reason=%r", model.host, error.message)
            return
        progress.asked.add(model.host)
        log.info("host.asked name=%s model=%s", model.host, model)

    def _publish(self, routes: Mapping[int, Route], desired: _Desired) -> None:
        if not self._table_version:
            # Grows across restarts, whatever the clock does: a front ignores an older table.
            with self._database.write() as tx:
                self._table_version = users.next_count(tx, _EPOCH) << _EPOCH_BITS
        self._table_version += 1
        table = RoutingTable(
            version=self._table_version,
            routes=tuple(routes.values()),
            token_hashes=dict(desired.tokens),
            open_inference=self._open_inference,
        )
        self._backend.publish(table)
        self._published = dict(routes)
        self._published_tokens = dict(desired.tokens)
        self._changes.observed()
        log.info("routing.published version=%d routes=%d", table.version, len(table.routes))

    def _note(self, note: Note) -> None:
        with self._database.write() as tx:
            rows.note(
                tx,
                note.deployment_id,
                revision=note.revision,
                observed=note.state,
                serving=note.serving,
                reason=note.reason,
            )
        self._desired = None
        if note.state == "running":
            self._progress[note.deployment_id].came_up = True
        self._changes.observed()
        log.info(
            "deployment.%s deployment=%d revision=%d version=%s reason=%r",
            note.state,
            note.deployment_id,
            note.revision,
            note.serving,
            note.reason,
        )

    def _log_failure(self, what: str, error: Exception) -> None:
        if self._failures:  # said already: it is tried again every second
            return
        if isinstance(error, ServerUnreachable | ServerBusy):
            log.warning("reconciler.waits what=%s reason=%r", what, error.message)
        else:
            log.error("reconciler.failed what=%s", what, exc_info=error)


def _read(tx: Transaction, now: float) -> _Desired:
    found = rows.all_deployments(tx, idle=False)
    versions = [v for d in found for v in (d.wanted, d.serving) if v is not None]
    refs = [m for v in versions for step in v.definition.steps for m in step.models()]
    known = models.versions_by_id(tx, (ref.version_id for ref in refs), deleted=True)
    wishes = {
        d.id: _Wish(
            deployment=d,
            wanted=route_of(d, d.wanted, known) if d.desired == "running" else None,
            serving=None if d.serving is None else route_of(d, d.serving, known),
        )
        for d in found
    }
    return _Desired(
        wishes=wishes,
        tokens=users.token_owners(tx),
        sizes={model.sha256: model.size_bytes for model in known.values()},
        read_at=now,
    )
