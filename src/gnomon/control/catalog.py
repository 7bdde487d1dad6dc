"""Workspaces, and the models in them."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType

from gnomon.backends.base import Backend
from gnomon.control.access import workspace_for
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.errors import Conflict, Invalid, LimitReached, ModelRejected, NotFound
from gnomon.core.model import ModelVersion, Signature
from gnomon.core.names import check_name
from gnomon.stores import models, users
from gnomon.stores.artifacts import Artifact, Artifacts, IncomingArtifact
from gnomon.stores.database import Database, Transaction
from gnomon.stores.records import Model, Workspace

log = logging.getLogger(__name__)

LATEST = "latest"
_FILE_NAME_MAX = 255


class Catalog:
    """Workspaces and models: making them, finding them, and taking in model files."""

    def __init__(self, database: Database, artifacts: Artifacts, backend: Backend) -> None:
        self._database = database
        self._artifacts = artifacts
        self._backend = backend
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()  # sha256 of the files that uploads are about

    def workspaces(self, caller: Caller) -> list[Workspace]:
        """Return the caller's workspaces, oldest first."""
        assert caller.rights
        with self._database.read() as tx:
            return users.all_workspaces(tx)

    def add_workspace(self, caller: Caller, name: str) -> Workspace:
        """Make a workspace.

        Raises:
            InvalidName, LimitReached.
            Conflict: The name is taken.
        """
        check_name("workspace", name)
        with self._database.write() as tx:
            taken = users.find_workspace(tx, name)
            if taken is not None:
                raise Conflict(f"There is a workspace {taken.name!r} already.", name=taken.name)
            if users.count_workspaces(tx) >= limits.WORKSPACES_MAX:
                raise LimitReached(f"{limits.WORKSPACES_MAX} workspaces are the most there can be.")
            return users.add_workspace(tx, name, caller.user_id, datetime.now(UTC))

    def default_workspace(self, caller: Caller) -> Workspace:
        """Return the caller's own workspace, made if it is missing."""
        with self._database.read() as tx:
            found = users.own_workspace(tx, caller.user_id)
        if found is not None:
            return found
        with self._database.write() as tx:
            return users.default_workspace(tx, caller.user_id, datetime.now(UTC))

    def models(self, caller: Caller, workspace_id: int) -> list[Model]:
        """Return a workspace's models, oldest first.

        Raises:
            NotFound: No such workspace.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            return models.all_models(tx, workspace_id)

    def version(
        self, caller: Caller, workspace_id: int, name: str, version: str = LATEST
    ) -> ModelVersion:
        """Return one version of a model.

        Args:
            version: Its uuid, or "latest".

        Raises:
            NotFound: No such workspace, model or version.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            model_id = models.find_model_id(tx, workspace_id, name)
            found = None
            if model_id is not None:
                found = (
                    models.newest_version(tx, model_id)
                    if version == LATEST
                    else models.version_by_uuid(tx, workspace_id, version)
                )
        if found is None or found.model_id != model_id:
            wanted = "" if version == LATEST else f", version {version[:40]!r}"
            raise NotFound(
                f"There is no model {name[:80]!r}{wanted} in workspace {workspace_id}.",
                model=name[:80],
            )
        return found

    def configure(
        self,
        caller: Caller,
        workspace_id: int,
        version: str,
        tensor_fields: Sequence[str] | None,
    ) -> ModelVersion:
        """Say which columns feed a version's inputs, from the next deploy on.

        Args:
            version: Its uuid.
            tensor_fields: The i-th column feeds the i-th graph input; None: found by name.

        Raises:
            NotFound: No such workspace or version.
            Invalid: Not one column for each input.
        """
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            found = models.version_by_uuid(tx, workspace_id, version)
            if found is None:
                raise NotFound(
                    f"There is no model version {version[:40]!r} in workspace {workspace_id}."
                )
            fields = None if tensor_fields is None else tuple(tensor_fields)
            _check_fields(fields, found)
            models.set_tensor_fields(tx, found.id, fields)
            return models.versions_by_id(tx, [found.id])[found.id]

    def begin_upload(
        self, caller: Caller, workspace_id: int, name: str, *, file_name: str
    ) -> Upload:
        """Start to take in a file as the next version of a model.

        Args:
            file_name: What the user calls the file; only ever shown.

        Raises:
            InvalidName, Invalid, LimitReached, OutOfSpace.
            NotFound: No such workspace.
        """
        check_name("model", name)
        shown = _check_file_name(file_name)
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            _check_room(tx, workspace_id, name)
        return Upload(self, self._artifacts.begin(), caller, workspace_id, name, shown)

    def take_in(self, incoming: IncomingArtifact, upload: Upload) -> ModelVersion:
        """Keep a received file, look into it, and make it a version; see `Upload.finish`."""
        if incoming.size_bytes == 0:
            raise ModelRejected("The file is empty: nothing was uploaded.", reason="empty_file")
        with self._holding(incoming.sha256):
            artifact = incoming.commit()
            try:
                return self._add_version(artifact, self._probe(artifact), upload)
            except BaseException:
                self._forget(artifact)
                raise

    def _probe(self, artifact: Artifact) -> Signature:
        report = self._backend.probe(artifact.path, artifact.sha256)
        if report.signature is None:
            log.info("model.rejected sha256=%s reason=%s", artifact.sha256, report.reason)
            raise ModelRejected(
                report.message or "The file is not a model that can be served.",
                reason=report.reason,
                sha256=artifact.sha256,
            )
        return report.signature

    def _add_version(
        self, artifact: Artifact, signature: Signature, upload: Upload
    ) -> ModelVersion:
        now = datetime.now(UTC)
        caller = upload.caller
        with self._database.write() as tx:
            workspace_for(tx, caller, upload.workspace_id)
            model_id = _check_room(tx, upload.workspace_id, upload.name)
            if model_id is None:
                model_id = models.add_model(
                    tx, upload.workspace_id, upload.name, caller.user_id, now
                )
            version = models.add_version(
                tx,
                model_id,
                uuid=str(uuid.uuid4()),
                sha256=artifact.sha256,
                size_bytes=artifact.size_bytes,
                file_name=upload.file_name,
                signature=signature,
                user_id=caller.user_id,
                now=now,
            )
        log.info("model.uploaded version=%d sha256=%s", version.id, version.sha256)
        return version

    @contextlib.contextmanager
    def _holding(self, sha256: str) -> Iterator[None]:
        """Say that an upload is about this file: nobody else removes it."""
        with self._lock:
            self._held[sha256] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[sha256] -= 1
                if not self._held[sha256]:
                    del self._held[sha256]

    def _forget(self, artifact: Artifact) -> None:
        """Remove a file that did not become a version, unless another one has it."""
        with self._lock:
            if self._held[artifact.sha256] > 1:
                return
            try:
                with self._database.read() as tx:
                    used = models.is_used(tx, artifact.sha256)
            except Exception:
                log.exception("artifact.kept sha256=%s", artifact.sha256)
                return
            if not used:
                self._artifacts.remove(artifact.sha256)


class Upload:
    """A file on its way in: `write` its pieces, then `finish`. Not for several threads at once.

    Leaving the `with` block without `finish` forgets the file.
    """

    def __init__(
        self,
        catalog: Catalog,
        incoming: IncomingArtifact,
        caller: Caller,
        workspace_id: int,
        name: str,
        file_name: str,
    ) -> None:
        self._catalog = catalog
        self._incoming = incoming
        self.caller = caller
        self.workspace_id = workspace_id
        self.name = name
        self.file_name = file_name

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._incoming.discard()

    def write(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            BodyTooLarge, OutOfSpace.
        """
        self._incoming.write(piece)

    def finish(self) -> ModelVersion:
        """Make the file a version; takes as long as the probe does.

        Raises:
            ModelRejected: It cannot be served; `details["reason"]` says why in a word.
            LimitReached, OutOfSpace, ServerBusy, ServerUnreachable.
        """
        return self._catalog.take_in(self._incoming, self)


def _check_room(tx: Transaction, workspace_id: int, name: str) -> int | None:
    """Return the id of the model with this name; None if it can be made."""
    model_id = models.find_model_id(tx, workspace_id, name)
    if (
        model_id is None
        and models.count_models(tx, workspace_id) >= limits.MODELS_PER_WORKSPACE_MAX
    ):
        raise LimitReached(
            f"Workspace {workspace_id} has {limits.MODELS_PER_WORKSPACE_MAX} models, "
            "the most it may have. Upload under a name that is there, or use another workspace."
        )
    return model_id


def _check_file_name(file_name: str) -> str:
    shown = file_name.replace("\\", "/").rpartition("/")[2]
    if not shown or len(shown) > _FILE_NAME_MAX or not shown.isprintable():
        raise Invalid(
            f"file_name must have 1 to {_FILE_NAME_MAX} printable characters.", field="file_name"
        )
    return shown


def _check_fields(fields: tuple[str, ...] | None, version: ModelVersion) -> None:
    if fields is None:
        return
    inputs = [spec.name for spec in version.signature.inputs]
    if len(fields) != len(inputs):
        raise Invalid(
            f"{version.name}@{version.ordinal} has {len(inputs)} input(s), "
            f"{', '.join(map(repr, inputs[:10]))}; tensor_fields names {len(fields)}. "
            "Name one column for each input.",
            expected=len(inputs),
            found=len(fields),
        )
    for field in fields:
        if not field or len(field.encode()) > limits.MODEL_NAME_BYTES_MAX:
            raise Invalid(
                f"A column in tensor_fields must have 1 to {limits.MODEL_NAME_BYTES_MAX} bytes."
            )
