"""Routes of models: uploading and finding them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio.to_thread
from fastapi import Request

from gnomon.api.bodies import Configuration
from gnomon.api.calls import Caller, Catalog, Moment, PageRows, Term, WorkspaceId, period
from gnomon.api.columns import SchemaText, declared_columns
from gnomon.api.guards import guarded_router, needs
from gnomon.api.views import ModelsView, ModelView, VersionsView, VersionView
from gnomon.core import limits
from gnomon.core.access import Right
from gnomon.core.errors import ServerBusy
from gnomon.core.model import Runtime

Value = TypeVar("Value")

_PIECE_BYTES = limits.MIB

router = guarded_router("/v1/workspaces/{workspace}")


class UploadSlots:
    """Threads of their own for uploads, whose disk and probe would keep other calls waiting."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(limits.UPLOADS_MAX)
        self._taken = 0

    def __enter__(self) -> UploadSlots:
        if self._taken >= limits.UPLOADS_MAX:
            raise ServerBusy(
                f"{limits.UPLOADS_MAX} uploads are under way, the most there may be. "
                "Try again in a moment."
            )
        self._taken += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._taken -= 1

    async def run(self, work: Callable[[], Value]) -> Value:
        """Do blocking work in one of the threads."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


@router.get("/models")
@needs(Right.READ)
def list_models(workspace: WorkspaceId, call: Caller, catalog: Catalog) -> ModelsView:
    """Return the workspace's models, oldest first, with all their versions."""
    return ModelsView(models=[ModelView.of(model) for model in catalog.models(call, workspace)])


@router.post(
    "/models/{name}/versions",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
@needs(Right.WRITE, body_bytes_max=limits.MODEL_BYTES_MAX)
async def upload(
    request: Request,
    workspace: WorkspaceId,
    name: str,
    call: Caller,
    catalog: Catalog,
    file_name: str = "model.onnx",
    runtime: Runtime = "onnx",
    input_schema: SchemaText = None,
    output_schema: SchemaText = None,
) -> VersionView:
    """Take the body as the next version of a model, which is made if there is none.

    Of a Python model the schemas say what it takes and gives, as JSON: a list of `name`, `dtype`
    and `shape`, rows first. An ONNX file says so itself.

    Raises:
        ModelRejected (422): It cannot be served; `details.reason` says why.
        BodyTooLarge (413), OutOfSpace (507), ServerBusy (503).
    """
    slots: UploadSlots = request.app.state.uploads
    declared = declared_columns(runtime, input_schema, output_schema)
    begin = partial(catalog.begin_upload, file_name=file_name, declared=declared)
    with slots:
        incoming = await slots.run(partial(begin, call, workspace, name))
        with incoming:
            piece = bytearray()
            async for received in request.stream():
                piece += received
                if len(piece) >= _PIECE_BYTES:
                    await slots.run(partial(incoming.write, bytes(piece)))
                    piece.clear()
            await slots.run(partial(incoming.write, bytes(piece)))
            return VersionView.of(await slots.run(incoming.finish))


@router.get("/models/{name}")
@needs(Right.READ)
def get_model(workspace: WorkspaceId, name: str, call: Caller, catalog: Catalog) -> ModelView:
    """Return one model with all its versions, newest first."""
    return ModelView.of(catalog.model(call, workspace, name))


@router.get("/model-versions")
@needs(Right.READ)
def search_versions(
    workspace: WorkspaceId,
    call: Caller,
    catalog: Catalog,
    term: Term = None,
    uploaded_start: Moment = None,
    uploaded_end: Moment = None,
    limit: PageRows = limits.PAGE_ROWS_MAX,
) -> VersionsView:
    """Return the model versions of which all this is true, newest first.

    `term` is part of a name, sha256, uuid, file name or tag, whatever its case.
    """
    uploaded = period(uploaded_start, uploaded_end)
    found = catalog.search(call, workspace, term, uploaded, limit=limit)
    return VersionsView(versions=[VersionView.of(version) for version in found])


@router.get("/models/{name}/versions/{version}")
@needs(Right.READ)
def get_version(
    workspace: WorkspaceId, name: str, version: str, call: Caller, catalog: Catalog
) -> VersionView:
    """Return a version by its uuid or number, or the `latest`."""
    return VersionView.of(catalog.version(call, workspace, name, version))


@router.delete("/models/{name}/versions/{version}", status_code=204)
@needs(Right.WRITE)
def delete_version(
    workspace: WorkspaceId, name: str, version: str, call: Caller, catalog: Catalog
) -> None:
    """Let a version be found no more.

    Raises: NotFound (404); Conflict (409): `details.pipelines` names who uses it.
    """
    catalog.delete_version(call, workspace, name, version)


@router.patch("/model-versions/{version}")
@needs(Right.WRITE)
def configure(
    workspace: WorkspaceId, version: str, wanted: Configuration, call: Caller, catalog: Catalog
) -> VersionView:
    """Say how the version is fed and run, from the next deploy on."""
    changes = wanted.model_dump(exclude_unset=True)
    return VersionView.of(catalog.configure(call, workspace, version, changes))
