"""The way in: a client of one gnomon server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gnomon import settings
from gnomon.core import limits
from gnomon.core.errors import Invalid, LimitReached, NotFound
from gnomon.core.names import check_name, name_key
from gnomon.framework import Framework
from gnomon.sdk import local
from gnomon.sdk.asking import check_seconds
from gnomon.sdk.catalog import Model, Pipeline, Workspace, Workspaces
from gnomon.sdk.finding import Finding
from gnomon.sdk.schemas import specs_of
from gnomon.sdk.session import Session
from gnomon.sdk.transport import Transport, path
from gnomon.settings import Home

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Auth:
    """How this client proves who it is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def auth_header(self) -> dict[str, str]:
        """Return the header that carries the token, for a request of one's own."""
        return self._transport.authorization()


class Client(Finding):
    """A connection to a gnomon server.

    `Client()` joins the server that runs on this machine with the data in GNOMON_HOME, or
    starts one, which then runs until `gnomon down`. `Client(url)` connects to a remote one.

    Args:
        url: The control plane's address; None: GNOMON_URL, else the server of this machine.
        token: None: GNOMON_TOKEN, or, for a server of this machine, its token file.
        api_endpoint: Another name for `url`.
        request_timeout: Seconds that a call, a deployment or an inference may take.
        interactive: Print what is being waited for.
        home: Data directory of the server of this machine; None: GNOMON_HOME.
        start: Start a server if none runs on this machine.
        auth_type: Taken for compatibility and not used: a gnomon server takes tokens.

    Raises:
        ServerUnreachable: Nothing answers, or the server could not be started.
        ServerError: The data directory cannot be used.
        Invalid: `url` is not an address; or a server is needed here, and this is not Linux, or
            `home` is no directory.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        api_endpoint: str | None = None,
        request_timeout: float | None = None,
        interactive: bool = True,
        home: str | os.PathLike[str] | None = None,
        start: bool = True,
        auth_type: Any = None,
    ) -> None:
        del auth_type
        self.timeout = limits.CLIENT_TIMEOUT_S if request_timeout is None else request_timeout
        check_seconds("request_timeout", self.timeout)
        place = Home() if home is None else Home(Path(home).expanduser().absolute())
        given = url or api_endpoint or (settings.server_url() if home is None else None)
        if given is None:
            server = local.find_or_start(place, shown=interactive) if start else local.find(place)
            address = server.control_url
            token = token or local.token(place) or settings.token()
        else:
            address = given
            token = token or settings.token()
            # The token of this machine's server is no business of other machines.
            if token is None and urlsplit(address).hostname in _LOOPBACK:
                token = local.token(place)
        self._transport = Transport(address, token, timeout_s=self.timeout)
        self._session = Session(self._transport, self.timeout, interactive)
        self.api_endpoint = self._transport.url
        self.auth = Auth(self._transport)
        self._workspace: Workspace | None = None
        if given:  # a server of this machine was found to answer
            self._transport.call("GET", path("health"))

    def __repr__(self) -> str:
        return f"Client({self.api_endpoint!r})"

    # Workspaces

    def list_workspaces(self) -> Workspaces:
        """Return all workspaces."""
        found = self._transport.call("GET", path("workspaces")).json()["workspaces"]
        return Workspaces(Workspace(self._session, view) for view in found)

    def create_workspace(self, workspace_name: str) -> Workspace:
        """Make a workspace.

        Raises:
            InvalidName: See `core/names.py`.
            Conflict: There is one of that name; two names that differ only in case are one.
        """
        document = {"name": check_name("workspace", workspace_name)}
        view = self._transport.call("POST", path("workspaces"), document=document).json()
        return Workspace(self._session, view)

    def get_workspace(self, name: str, create_if_not_exist: bool = False) -> Workspace:
        """Return the workspace of that name.

        Raises:
            NotFound: There is none, and it was not to be made.
        """
        check_name("workspace", name)
        everything = self.list_workspaces()
        for workspace in everything:
            if name_key(workspace.name()) == name_key(name):
                return workspace
        if create_if_not_exist:
            return self.create_workspace(name)
        known = ", ".join(repr(workspace.name()) for workspace in everything[:10]) or "none"
        raise NotFound(
            f"There is no workspace {name!r}; there are {known}. "
            "Make it with get_workspace(name, create_if_not_exist=True).",
            name=name,
        )

    def set_current_workspace(self, workspace: Workspace) -> Workspace:
        """Work in `workspace` from now on, with this client.

        Raises:
            TypeError: It is not a Workspace.
        """
        if not isinstance(workspace, Workspace):
            raise TypeError(
                f"set_current_workspace takes a Workspace, got {type(workspace).__name__}: "
                "try set_current_workspace(client.get_workspace(name))."
            )
        self._workspace = workspace
        return workspace

    def get_current_workspace(self) -> Workspace:
        """Return the workspace that this client works in; at first the user's own."""
        if self._workspace is None:
            view = self._transport.call("GET", path("workspaces", "default")).json()
            self._workspace = Workspace(self._session, view)
        return self._workspace

    # Models

    def upload_model(
        self,
        name: str,
        path: str | os.PathLike[str],
        framework: Framework | str | None = None,
        input_schema: Any = None,
        output_schema: Any = None,
        convert_wait: bool | None = None,
        arch: Any = None,
        accel: Any = None,
        framework_config: Any = None,
    ) -> Model:
        """Upload a file into the current workspace, as a new version of model `name`.

        Args:
            framework: None or Framework.ONNX for an ONNX file; Framework.PYTHON for a module with
                a function `process(inputs)`, or a zip of one, if the server runs such.
            input_schema: pyarrow.Schema of the columns that a Python model takes. An ONNX file
                says so itself, and the schema is only kept in `config()`.
            output_schema: Of those that it gives; likewise.
            convert_wait: This and what follows is kept in the model's `config()` and has no
                effect: nothing is converted.

        Raises:
            InvalidName: See `core/names.py`.
            FileNotFoundError: There is no file at `path`.
            IsADirectoryError: It is a directory.
            ModelRejected: The file is not a model that can be served, or the server runs no
                Python models; the message says why.
            Invalid: Another framework, a Python model without schemas, or `path` is none.
            LimitReached: The file is too large.
        """
        check_name("model", name)
        schemas = {"input_schema": input_schema, "output_schema": output_schema}
        declared = _declared(framework, schemas)
        if not isinstance(path, str | os.PathLike):
            raise Invalid(
                f"path must be where the {'Python' if declared else 'ONNX'} file is, "
                f"got {type(path).__name__}."
            )
        options = {
            **({} if declared else schemas),
            "convert_wait": convert_wait,
            "arch": arch,
            "accel": accel,
            "framework_config": framework_config,
        }
        view = self._upload(name, Path(path), declared)
        return Model(self._session, view, {k: v for k, v in options.items() if v is not None})

    def _upload(self, name: str, file: Path, declared: Mapping[str, str]) -> Any:
        if file.is_dir():
            raise IsADirectoryError(f"{str(file)!r} is a directory; give the model's file in it.")
        if not file.is_file():
            raise FileNotFoundError(f"There is no model file {str(file)!r}.")
        size = file.stat().st_size
        if size > limits.MODEL_BYTES_MAX:
            raise LimitReached(
                f"{file.name} has {size} bytes; a model may have {limits.MODEL_BYTES_MAX}."
            )
        workspace = self.get_current_workspace().id()
        route = path("workspaces", workspace, "models", name, "versions")
        timeout_s = limits.PROBE_TIMEOUT_S + self.timeout
        with file.open("rb") as content, self._session.waiting("model upload", timeout_s):
            return self._transport.send(
                "POST",
                self._transport.query_url(route, {"file_name": file.name, **declared}),
                body=content,
                headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
                timeout_s=timeout_s,
            ).json()

    # Pipelines

    def build_pipeline(self, pipeline_name: str) -> Pipeline:
        """Make a pipeline in the current workspace; if the name exists, a new version of it.

        Raises:
            InvalidName: See `core/names.py`; pipelines are lower-case.
        """
        document = {"name": check_name("pipeline", pipeline_name)}
        route = path("workspaces", self.get_current_workspace().id(), "pipelines")
        return Pipeline(
            self._session, self._transport.call("POST", route, document=document).json()
        )


def _declared(framework: Framework | str | None, schemas: Mapping[str, Any]) -> dict[str, str]:
    """Return what the server is told of a model beside its file."""
    match None if framework is None else str(framework).lower():
        case None | Framework.ONNX:
            return {}
        case Framework.PYTHON:
            columns = {name: specs_of(schema, name) for name, schema in schemas.items()}
            return {
                "runtime": "python",
                **{name: json.dumps(c, separators=(",", ":")) for name, c in columns.items()},
            }
        case _:
            raise Invalid(
                f"gnomon serves ONNX models, and Python functions; {str(framework)[:80]!r} has to "
                "be exported to ONNX first (skl2onnx, tf2onnx, torch.onnx.export)."
            )
