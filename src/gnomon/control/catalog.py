"""Models: taking in their files, finding them, and removing them."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from gnomon.backends.base import Backend
from gnomon.control.access import workspace_for
from gnomon.control.uses import check_not_in_use
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.errors import Invalid, LimitReached, ModelRejected, NotFound
from gnomon.core.model import PYTHON_NOT_ALLOWED, Configuration, ModelVersion, Signature
from gnomon.core.names import check_name
from gnomon.core.schemas import check_configuration
from gnomon.stores import models
from gnomon.stores.artifacts import Artifact, Artifacts, IncomingArtifact
from gnomon.stores.database import Database, Transaction
from gnomon.stores.models import LATEST
from gnomon.stores.records import Model, Period
from gnomon.stores.tags import untag_model

log = logging.getLogger(__name__)

_FILE_NAME_MAX = 255


class Catalog:
    """Models: taking in their files, finding them, and removing them.

    Args:
        allow_python_models: Take Python models too.
    """

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        backend: Backend,
        *,
        allow_python_models: bool = False,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._backend = backend
        self._allow_python_models = allow_python_models
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()  # sha256 of the files that uploads are about

    def models(self, caller: Caller, workspace_id: int) -> list[Model]:
        """Return a workspace's models, oldest first.

        Raises:
            NotFound: No such workspace.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            return models.all_models(tx, workspace_id)

    def model(self, caller: Caller, workspace_id: int, name: str) -> Model:
        """Return a model with all its versions.

        Raises:
            NotFound: No such workspace or model.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            found = models.all_models(tx, workspace_id, name=name)
        if not found:
            raise _not_found(workspace_id, name)
        return found[0]

    def search(
        self,
        caller: Caller,
        workspace_id: int,
        term: str | None,
        uploaded: Period,
        *,
        limit: int = limits.PAGE_ROWS_MAX,
    ) -> list[ModelVersion]:
        """Return the model versions of which this is true, newest first; see `models.search`.

        Raises:
            NotFound: No such workspace.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            return models.search(tx, workspace_id, term, uploaded, limit=limit)

    def version(
        self, caller: Caller, workspace_id: int, name: str, version: str = LATEST
    ) -> ModelVersion:
        """Return one version of a model.

        Args:
            version: Its uuid, its number, or "latest".

        Raises:
            NotFound: No such workspace, model or version.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            found = models.find_version(tx, workspace_id, name, version)
        if found is None:
            raise _not_found(workspace_id, name, version)
        return found

    def delete_version(self, caller: Caller, workspace_id: int, name: str, version: str) -> None:
        """Let a version be found no more. Its file stays until it is collected.

        Args:
            version: Its uuid, or its number.

        Raises:
            NotFound: No such workspace, model or version.
            Conflict: A pipeline runs it, or would at its next deploy; the message names them.
        """
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            found = models.find_version(tx, workspace_id, name, version)
            if found is None:
                raise _not_found(workspace_id, name, version)
            check_not_in_use(tx, found)
            untag_model(tx, found.id)
            models.delete_version(tx, found.id, datetime.now(UTC))
        log.info("model.deleted version=%d user=%d", found.id, caller.user_id)

    def configure(
        self,
        caller: Caller,
        workspace_id: int,
        version: str,
        changes: Mapping[str, Any],
    ) -> ModelVersion:
        """Say how a version is fed and run, from the next deploy on.

        Args:
            version: Its uuid.
            changes: `tensor_fields` (the i-th column feeds the i-th graph input; None: found by
                name) and fields of `Configuration` as JSON values. What is not there stays.

        Raises:
            NotFound: No such workspace or version.
            Invalid: There are none, or not one column for each input; or see
                `check_configuration`.
        """
        if not changes:
            raise Invalid("Nothing is to be changed: say tensor_fields, batch_config, a schema.")
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            found = models.version_by_uuid(tx, workspace_id, version)
            if found is None:
                raise NotFound(
                    f"There is no model version {version[:40]!r} in workspace {workspace_id}."
                )
            wanted = {"tensor_fields": found.tensor_fields, **found.configuration.to_json()}
            wanted |= changes
            named = wanted["tensor_fields"]
            fields = None if named is None else tuple(named)
            _check_fields(fields, found)
            configuration = Configuration.from_json(wanted)
            check_configuration(
                configuration, found.signature, fields, model=f"{found.name}@{found.ordinal}"
            )
            models.configure(tx, found.id, fields, configuration)
            return models.versions_by_id(tx, [found.id])[found.id]

    def begin_upload(
        self,
        caller: Caller,
        workspace_id: int,
        name: str,
        *,
        file_name: str,
        declared: Signature | None = None,
    ) -> Upload:
        """Start to take in a file as the next version of a model.

        Args:
            file_name: What the user calls the file; only ever shown.
            declared: What a Python model takes and gives; None: it is an ONNX file.

        Raises:
            InvalidName, Invalid, LimitReached, OutOfSpace.
            ModelRejected: The server takes no Python models.
            NotFound: No such workspace.
            Conflict: It is archived.
        """
        check_name("model", name)
        shown = _check_file_name(file_name)
        if declared is not None and not self._allow_python_models:
            raise ModelRejected(PYTHON_NOT_ALLOWED, reason="python_not_allowed")
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id, adding=True)
            _check_room(tx, workspace_id, name)
        return Upload(self, self._artifacts.begin(), caller, workspace_id, name, shown, declared)

    def take_in(self, incoming: IncomingArtifact, upload: Upload) -> ModelVersion:
        """Keep a received file, look into it, and make it a version; see `Upload.finish`."""
        if incoming.size_bytes == 0:
            raise ModelRejected("The file is empty: nothing was uploaded.", reason="empty_file")
        with self._holding(incoming.sha256):
            artifact = incoming.commit()
            try:
                return self._add_version(artifact, self._probe(artifact, upload.declared), upload)
            except BaseException:
                self._forget(artifact)
                raise

    def _probe(self, artifact: Artifact, declared: Signature | None) -> Signature:
        report = self._backend.probe(artifact.path, artifact.sha256, declared)
        if report.signature is None:
            log.info("model.rejected sha256=%s reason=%s", artifact.sha256, report.reason)
            raise ModelRejected(
                report.message or "The file is not a model that can be served.",
                reason=report.reason,
                sha256=artifact.sha256,
            )
        if declared is not None:  # a Python model may say what it likes
            return replace(declared, row_wise=report.signature.row_wise)
        return report.signature

    def _add_version(
        self, artifact: Artifact, signature: Signature, upload: Upload
    ) -> ModelVersion:
        now = datetime.now(UTC)
        caller = upload.caller
        with self._database.write() as tx:
            workspace_for(tx, caller, upload.workspace_id, adding=True)
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
                runtime="onnx" if upload.declared is None else "python",
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
        try:
            self.remove_unused(artifact.sha256, uploads=1)
        except Exception:
            log.exception("artifact.kept sha256=%s", artifact.sha256)

    def is_held(self, sha256: str) -> bool:
        """Say whether an upload is about this file."""
        with self._lock:
            return self._held[sha256] > 0

    def remove_unused(self, sha256: str, *, uploads: int = 0) -> bool:
        """Remove a file unless a version has it, or more than so many uploads are about it.

        Returns:
            Whether it was removed.
        """
        with self._lock:
            if self._held[sha256] > uploads:
                return False
            with self._database.read() as tx:
                if models.is_used(tx, sha256):
                    return False
            self._artifacts.remove(sha256)
            return True


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
        declared: Signature | None,
    ) -> None:
        self._catalog = catalog
        self._incoming = incoming
        self.caller = caller
        self.workspace_id = workspace_id
        self.name = name
        self.file_name = file_name
        self.declared = declared

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


def _not_found(workspace_id: int, name: str, version: str = LATEST) -> NotFound:
    wanted = "" if version == LATEST else f", version {version[:40]!r}"
    return NotFound(
        f"There is no model {name[:80]!r}{wanted} in workspace {workspace_id}.", model=name[:80]
    )


def _check_room(tx: Transaction, workspace_id: int, name: str) -> int | None:
    """Return the id of the model with this name; None if it can be made."""
    model_id = models.find_model_id(tx, workspace_id, name)
    is_new = not models.all_models(tx, workspace_id, name=name)  # or all of it was deleted
    if is_new and models.count_models(tx, workspace_id) >= limits.MODELS_PER_WORKSPACE_MAX:
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
