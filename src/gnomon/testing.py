"""Fakes that behave as the real parts do, for tests of what is built on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.core.deployment import (
    HostSpec,
    HostState,
    HostStatus,
    ProbeReport,
    ProcessStatus,
)
from gnomon.core.errors import (
    GnomonError,
    HostUnavailable,
    LimitReached,
    Overloaded,
    ServerUnreachable,
)
from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status, Told
from gnomon.core.model import Signature
from gnomon.core.routing import RoutingTable, ServedModel
from gnomon.core.stats import FrontStats
from gnomon.core.tensors import Array, TensorSpec

if TYPE_CHECKING:
    from gnomon.front.batches import Run


class FakeChannel:
    """A `front.service.Channel` whose model is a function of this process.

    Args:
        model: Whose observations it makes.
        run: From inputs to outputs; a GnomonError that it raises fails the run.
        holding: Runs wait for `release`.

    Attributes:
        run, holding: As given; may be changed.
        connected: Set it to False to take the host away from the runs that follow.
        trusted: Set it to False to have nobody wait for it.
        queue_max: Runs held at most; those beyond are dropped.
        runs: The inputs of every run so far.
    """

    def __init__(
        self,
        model: ServedModel,
        run: Callable[..., tuple[Array, ...]],
        *,
        holding: bool = False,
        queue_max: int = 1_000,
    ) -> None:
        self.model = model
        self.connected = True
        self.trusted = True
        self.queue_max = queue_max
        self.runs: list[tuple[Array, ...]] = []
        self.run = run
        self.holding = holding
        self._held: list[Run] = []

    @property
    def room(self) -> int:
        """Return how many more requests it takes."""
        return self.queue_max - sum(map(len, self._held))

    def submit(self, run: Run) -> None:
        """Run the model now, or at `release`; see `front.service.Channel`."""
        if not self.connected:
            gone = HostUnavailable(f"{self.model}: its host is not running; try again shortly.")
            run.end(self._failure(Status.ERROR, gone))
        elif len(run) > self.room:
            full = Overloaded(f"{self.model}: its queue is full; try again shortly.")
            run.end(self._failure(Status.DROPPED, full))
        elif self.holding:
            self._held.append(run)
        else:
            self._end(run)

    def release(self) -> None:
        """Run what waits."""
        held, self._held = self._held, []
        for run in held:
            self._end(run)

    def sweep(self, now: float) -> None:
        """Give up what waits longer than it may."""
        late = [run for run in self._held if run.deadline <= now]
        self._held = [run for run in self._held if run.deadline > now]
        for run in late:
            error = GnomonError(f"{self.model}: no answer within the deadline.")
            run.end(self._failure(Status.TIMEOUT, error, code="inference_timeout"))

    def lose_host(self) -> None:
        """End what waits, as when the host dies."""
        self.connected = False
        held, self._held = self._held, []
        for run in held:
            error = HostUnavailable(
                f"{self.model}: its host ended while the request was under way."
            )
            run.end(self._failure(Status.ERROR, error))

    def _end(self, run: Run) -> None:
        self.runs.append(run.tensors)
        try:
            outputs = self.run(*run.tensors)
        except GnomonError as error:
            run.end(self._failure(Status.ERROR, error))
            return
        observation = Observation(
            model=self.model,
            status=Status.OK,
            outputs=outputs,
            elapsed_ns=1_000,
            time_us=time.time_ns() // 1000,
        )
        run.end(observation)

    def _failure(self, status: Status, error: GnomonError, code: str = "") -> Observation:
        return Observation(
            model=self.model,
            status=status,
            error=error.message,
            time_us=time.time_ns() // 1000,
            code=code or error.code,
        )


class ListLog:
    """An inference log in a list.

    Attributes:
        entries: Everything appended, in order.
        commits: How often a commit was asked for.
        holding: Set it to True to have those who wait for a commit wait for `settle`.
        is_full: Set it to True to have everything dropped.
        trouble: Set it to say that nothing can be written at present.
    """

    def __init__(self) -> None:
        self.entries: list[InferenceEntry | ObservationEntry] = []
        self.commits = 0
        self.holding = False
        self.is_full = False
        self.trouble: str | None = None
        self._waiting: list[Told] = []

    def append(self, entry: InferenceEntry | ObservationEntry, told: Told | None = None) -> bool:
        """Take the entry, and say at once that it is on the disk, or is not if there is trouble."""
        if self.is_full:
            return False
        self.entries.append(entry)
        if told is not None:
            self._waiting.append(told)
            if not self.holding:
                self.settle(is_kept=self.trouble is None)
        return True

    def settle(self, *, is_kept: bool) -> None:
        """Tell those who wait whether what they wait for is on the disk."""
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told(is_kept)

    def deliver_by(self, deliver: Callable[[Callable[[], None]], object]) -> None:
        """Do nothing: who waits is told in the thread that appends, or settles."""

    def commit(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Count the call."""
        self.commits += 1
        return True

    def stats(self) -> dict[str, Any]:
        """Return the counters of `front.control.FrontLog`."""
        return {"appended": len(self.entries), "dropped": 0, "uncommitted": 0}

    def inferences(self) -> list[InferenceEntry]:
        """Return the entries of one kind."""
        return [entry for entry in self.entries if isinstance(entry, InferenceEntry)]

    def observations(self) -> list[ObservationEntry]:
        """Return the entries of the other kind."""
        return [entry for entry in self.entries if isinstance(entry, ObservationEntry)]


SIGNATURE = Signature(
    inputs=(TensorSpec(name="tensor", dtype="float32", shape=(None, 2)),),
    outputs=(TensorSpec(name="out", dtype="float32", shape=(None, 1)),),
)


class FakeBackend:
    """A `backends.base.Backend` without processes; any thread may use it.

    Hosts are ready at once and every file is a model with `SIGNATURE`, unless a test says
    otherwise, by the sha256 of the file:

        backend.rejects(sha256, "not_onnx")      # the probe refuses it
        backend.declares(sha256, signature)      # the probe finds this
        backend.hosts_become(sha256, "failed")   # its hosts start like this from now on
        backend.set_state(name, "ready")         # this host is like this from now on

    Attributes:
        orders: What was ordered, oldest first: ("start", host), ("stop", host),
            ("publish", table version).
        tables: Every published table, oldest first.
        away: Nothing answers.
        fronts_away: The fronts do not answer.
        host_room: How many hosts fit.
        unread: What `commit_logs` returns.
        stats: What `front_stats` returns.
    """

    def __init__(self) -> None:
        self.orders: list[tuple[str, str | int]] = []
        self.tables: list[RoutingTable] = []
        self.away = False
        self.fronts_away = False
        self.host_room = 100
        self.unread: list[str] = []
        self.stats: list[FrontStats] = [FrontStats(front="front-0", answers=True)]
        self._changed = threading.Condition()
        self._hosts: dict[str, HostStatus] = {}
        self._probed: dict[str, ProbeReport] = {}
        self._first_states: dict[str, tuple[HostState, str | None]] = {}
        self._pid = 10_000_000  # above what Linux gives

    # What a test says and asks

    def rejects(self, sha256: str, reason: str, message: str = "It is no model.") -> None:
        """Let the probe refuse a file."""
        self._probed[sha256] = ProbeReport(reason=reason, message=message)

    def declares(self, sha256: str, signature: Signature) -> None:
        """Let the probe find that a file takes and gives this."""
        self._probed[sha256] = ProbeReport(signature=signature)

    def hosts_become(self, sha256: str, state: HostState, reason: str | None = None) -> None:
        """Let the hosts of a file be in this state as soon as they are started."""
        self._first_states[sha256] = (state, reason)

    def set_state(self, name: str, state: HostState, reason: str | None = None) -> None:
        """Change the state of a host that was started."""
        with self._changed:
            status = self._hosts[name]
            self._hosts[name] = replace(status, state=state, reason=reason)
            self._changed.notify_all()

    def lose_hosts(self) -> None:
        """Forget every host, as a restart of the machine does."""
        with self._changed:
            self._hosts.clear()

    @property
    def table(self) -> RoutingTable | None:
        """Return the last published table."""
        with self._changed:
            return self.tables[-1] if self.tables else None

    def wait_until(self, true: Callable[[FakeBackend], bool], timeout_s: float = 5.0) -> bool:
        """Wait until something is true of this backend; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: true(self), timeout_s)

    # What the control plane asks

    def start_host(self, spec: HostSpec) -> None:
        """See `Backend`."""
        with self._changed:
            self._answer()
            there = self._hosts.get(spec.name)
            if there is not None and there.state != "failed":
                return
            if there is None and len(self._hosts) >= self.host_room:
                raise LimitReached(f"{self.host_room} model hosts run already.")
            state, reason = self._first_states.get(spec.sha256, ("ready", None))
            self._pid += 1
            self._hosts[spec.name] = HostStatus(
                name=spec.name,
                state=state,
                pid=None if state in ("failed", "crash_looping") else self._pid,
                restarts=0,
                reason=reason,
                spec=spec,
            )
            self._ordered("start", spec.name)

    def stop_host(self, name: str) -> None:
        """See `Backend`."""
        with self._changed:
            self._answer()
            if self._hosts.pop(name, None) is not None:
                self._ordered("stop", name)

    def hosts(self) -> list[HostStatus]:
        """See `Backend`."""
        with self._changed:
            self._answer()
            return list(self._hosts.values())

    def probe(self, path: Path, sha256: str, declared: Signature | None = None) -> ProbeReport:
        """See `Backend`."""
        self._answer()
        if not path.is_file():
            return ProbeReport(reason="model_load_failed", message="The file is not there.")
        return self._probed.get(sha256, ProbeReport(signature=declared or SIGNATURE))

    def publish(self, table: RoutingTable) -> None:
        """See `Backend`. Like a front, it ignores a table that is older than the one it has."""
        with self._changed:
            self._answer()
            if self.fronts_away:
                raise ServerUnreachable("The front does not answer.")
            if not self.tables or table.version > self.tables[-1].version:
                self.tables.append(table)
                self._ordered("publish", table.version)

    def commit_logs(self) -> list[str]:
        """See `Backend`."""
        self._answer()
        return list(self.unread)

    def front_stats(self) -> list[FrontStats]:
        """See `Backend`."""
        self._answer()
        return list(self.stats)

    def processes(self) -> list[ProcessStatus]:
        """See `Backend`."""
        self._answer()
        return [ProcessStatus(name="front-0", pid=None, state="stopped", restarts=0, log="")]

    def _answer(self) -> None:
        if self.away:
            raise ServerUnreachable("The backend is away.")

    def _ordered(self, what: str, about: str | int) -> None:
        self.orders.append((what, about))
        self._changed.notify_all()
