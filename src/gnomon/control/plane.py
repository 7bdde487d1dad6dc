"""The control plane, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gnomon.backends.base import Backend
from gnomon.control.access import Access
from gnomon.control.catalog import Catalog
from gnomon.control.changes import Changes
from gnomon.control.deployments import Deployments
from gnomon.control.garbage import Garbage
from gnomon.control.pipelines import Pipelines
from gnomon.control.reconciler import Reconciler
from gnomon.control.shadows import Shadows
from gnomon.control.tags import Tags
from gnomon.control.workspaces import Workspaces
from gnomon.core import limits
from gnomon.stores.artifacts import Artifacts
from gnomon.stores.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """Everything that the API calls, over one database; and the loop that acts on it."""

    database: Database
    backend: Backend
    access: Access
    workspaces: Workspaces
    catalog: Catalog
    pipelines: Pipelines
    deployments: Deployments
    shadows: Shadows
    tags: Tags
    garbage: Garbage
    reconciler: Reconciler

    @classmethod
    def open(
        cls,
        *,
        database: Path,
        artifacts: Path,
        inference_log: Path,
        backend: Backend,
        token_hash: str,
        front_url: str,
        open_inference: bool = False,
        allow_python_models: bool = False,
    ) -> ControlPlane:
        """Open the stores, make the owner where it is missing, and sweep what a crash left.

        Args:
            database: The metadata file, made if missing.
            artifacts: The directory of model files, made if missing.
            inference_log: The directory of the log.
            token_hash: Of the owner's token (`core.access.token_hash`).
            front_url: Of the data plane, without a slash at the end.
            open_inference: Inference needs no token.
            allow_python_models: Take Python models too.

        Raises:
            ServerError: The database cannot be used; the message says what to do.
        """
        opened = Database.open(database)
        try:
            store = Artifacts(artifacts)
            store.sweep()
            access = Access(opened)
            access.ensure_owner(token_hash)
        except BaseException:
            opened.close()
            raise
        changes = Changes()
        reconciler = Reconciler(opened, store, backend, changes, open_inference=open_inference)
        deployments = Deployments(
            opened, backend, changes, published=reconciler.published, front_url=front_url
        )
        catalog = Catalog(opened, store, backend, allow_python_models=allow_python_models)
        return cls(
            database=opened,
            backend=backend,
            access=access,
            workspaces=Workspaces(opened),
            catalog=catalog,
            pipelines=Pipelines(opened, deployments),
            deployments=deployments,
            shadows=Shadows(opened, deployments, changes, published=reconciler.published),
            tags=Tags(opened),
            garbage=Garbage(opened, store, catalog, inference_log),
            reconciler=reconciler,
        )

    def start(self) -> None:
        """Let the reconciler run; call before the API answers, so that it tells no old news."""
        self.reconciler.start(wait_s=limits.FRONT_CALL_TIMEOUT_S)

    def close(self) -> None:
        """Stop the reconciler and close the database; hosts and fronts go on."""
        self.reconciler.stop()
        self.database.close()
