"""Models and their versions, as a notebook sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gnomon.core.errors import Invalid
from gnomon.core.model import Signature
from gnomon.core.pipeline import ModelRef
from gnomon.core.tensors import TensorSpec
from gnomon.sdk import html
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path


class Model:
    """One uploaded version of a model. Made by `Client.upload_model`."""

    def __init__(
        self, session: Session, view: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> None:
        self._session = session
        self._view = view
        self._options = dict(options or {})
        self._signature = Signature.from_json(view["signature"])

    def id(self) -> int:
        """Return the version's id, unique in the server."""
        return int(self._view["id"])

    def uid(self) -> str:
        """Return "name-id"."""
        return f"{self.name()}-{self.id()}"

    def name(self) -> str:
        """Return the model's name, which all its versions share."""
        return str(self._view["name"])

    def version(self) -> str:
        """Return the version's uuid."""
        return str(self._view["uuid"])

    def ordinal(self) -> int:
        """Return the version's number under its name, from 1."""
        return int(self._view["ordinal"])

    def sha(self) -> str:
        """Return the SHA-256 of the file's bytes, in hex."""
        return str(self._view["sha256"])

    def file_name(self) -> str:
        """Return the name that the file had when it was uploaded."""
        return str(self._view["file_name"])

    def image_path(self) -> str | None:
        """Return None: models run as processes, not as images."""
        return None

    def last_update_time(self) -> datetime:
        """Return when this version was uploaded; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def tags(self) -> list[Any]:
        """Return the version's tags."""
        return list(self._view.get("tags", ()))

    def status(self) -> str:
        """Return "ready": a version exists only once a host has loaded it."""
        return "ready"

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return what the model takes, in the order of its graph."""
        return self._signature.inputs

    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return what the model gives, in the order of its graph."""
        return self._signature.outputs

    def tensor_fields(self) -> tuple[str, ...] | None:
        """Return the column that feeds each input; None if they are found by name."""
        fields = self._view["tensor_fields"]
        return None if fields is None else tuple(fields)

    def config(self) -> dict[str, Any]:
        """Return how the model is fed, and what else was given to `configure` and the upload.

        Only `tensor_fields` has an effect.
        """
        fields = self.tensor_fields()
        return {
            **self._options,
            "runtime": "onnx",
            "tensor_fields": None if fields is None else list(fields),
        }

    def configure(
        self,
        runtime: str | None = None,
        tensor_fields: Sequence[str] | None = None,
        filter_threshold: float | None = None,
        input_schema: Any = None,
        output_schema: Any = None,
        batch_config: Any = None,
        dynamic_batching_config: Any = None,
        continuous_batching_config: Any = None,
        openai_config: Any = None,
    ) -> Model:
        """Say how the model is fed.

        Args:
            runtime: "onnx", which it is without being said.
            tensor_fields: The i-th column name feeds the i-th input of the model's graph; None
                leaves it as it is. Holds for pipelines deployed from now on.
            filter_threshold: Only None, as for all that follows but the schemas: there is
                nothing in gnomon that it could set.
            input_schema: Kept in `config()`, as `output_schema`; both are read from the file.
            batch_config: Only None: gnomon decides by itself which requests run together.

        Returns:
            The model itself.

        Raises:
            Invalid: Another runtime, not one field per input, or what gnomon cannot be told.
        """
        if runtime not in (None, "onnx"):
            raise Invalid(
                f"gnomon runs ONNX models; the runtime {runtime!r} is not one of its own."
            )
        _check_batching(
            batch_config=batch_config,
            dynamic_batching_config=dynamic_batching_config,
            continuous_batching_config=continuous_batching_config,
        )
        for name, value in (
            ("filter_threshold", filter_threshold),
            ("openai_config", openai_config),
        ):
            if value is not None:
                raise Invalid(
                    f"{name} cannot be set: gnomon has nothing of the kind. Leave it out."
                )
        kept = {"input_schema": input_schema, "output_schema": output_schema}
        self._options.update({name: value for name, value in kept.items() if value is not None})
        if tensor_fields is not None:
            self._set_fields(tensor_fields)
        return self

    def _set_fields(self, fields: Sequence[str]) -> None:
        if isinstance(fields, str):
            raise Invalid(f"tensor_fields must be a list of column names: try [{fields!r}].")
        inputs = self.inputs()
        if len(fields) != len(inputs):
            names = ", ".join(repr(spec.name) for spec in inputs)
            raise Invalid(
                f"{self.name()} has {len(inputs)} inputs ({names}), and {len(fields)} "
                "tensor_fields were given; give one column name per input."
            )
        route = path("workspaces", self._view["workspace_id"], "model-versions", self.version())
        document = {"tensor_fields": list(fields)}
        self._view = self._session.transport.call("PATCH", route, document=document).json()

    def _ref(self) -> ModelRef:
        return ModelRef(
            version_id=self.id(),
            name=self.name(),
            ordinal=self.ordinal(),
            uuid=self.version(),
            sha256=self.sha(),
        )

    def __repr__(self) -> str:
        return repr(
            {
                "name": self.name(),
                "version": self.version(),
                "file_name": self.file_name(),
                "image_path": self.image_path(),
                "last_update_time": self.last_update_time(),
            }
        )

    def _repr_html_(self) -> str:
        return html.facts(
            (
                ("Name", self.name()),
                ("Version", self.version()),
                ("Number", self.ordinal()),
                ("File Name", self.file_name()),
                ("SHA", self.sha()),
                ("Inputs", _specs_text(self.inputs())),
                ("Outputs", _specs_text(self.outputs())),
                ("Fed by", ", ".join(self.tensor_fields() or ()) or "(columns found by name)"),
                ("Updated At", html.time_text(self.last_update_time())),
            )
        )


def _check_batching(**given: Any) -> None:
    """Refuse to be told which requests run together.

    Raises:
        Invalid: Something is not None.
    """
    for name, value in given.items():
        if value is not None:
            raise Invalid(
                f"{name}={str(value)[:80]!r} cannot be set: gnomon decides by itself. Rows of "
                "different requests run together only for models that were seen at their upload "
                "to answer each row from that row alone; all others run one request at a time. "
                "Leave it out."
            )


class ModelVersions(list[Model]):
    """Versions of a model, newest first, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = (
            (
                m.name(),
                m.version(),
                m.ordinal(),
                m.file_name(),
                html.time_text(m.last_update_time()),
            )
            for m in self
        )
        headings = ("name", "version", "number", "file_name", "last_update_time")
        return html.table(headings, rows, empty="model versions")


class ModelFamily:
    """All versions under one name. Listed by `Client.list_models`."""

    def __init__(self, session: Session, view: Mapping[str, Any]) -> None:
        self._view = view
        self._versions = ModelVersions(Model(session, version) for version in view["versions"])

    def id(self) -> int:
        """Return the model's id, unique in the server."""
        return int(self._view["id"])

    def name(self) -> str:
        """Return the name."""
        return str(self._view["name"])

    def versions(self) -> ModelVersions:
        """Return the versions, newest first."""
        return self._versions

    def created_at(self) -> datetime:
        """Return when the first version was uploaded; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def last_update_time(self) -> datetime:
        """Return when the newest version was uploaded; aware, in UTC."""
        return datetime.fromisoformat(self._view["updated_at"])

    def __repr__(self) -> str:
        return repr({"name": self.name(), "versions": len(self._versions)})

    def _row(self) -> tuple[object, ...]:
        return (
            self.name(),
            len(self._versions),
            html.time_text(self.last_update_time()),
            html.time_text(self.created_at()),
        )

    def _repr_html_(self) -> str:
        return html.facts(zip(_HEADINGS, self._row(), strict=True))


_HEADINGS = ("Name", "# of Versions", "Last Updated", "Created At")


class ModelList(list[ModelFamily]):
    """The models of a workspace, as a table in a notebook."""

    def _repr_html_(self) -> str:
        return html.table(_HEADINGS, (model._row() for model in self), empty="models")


def list_models(session: Session, workspace_id: int) -> ModelList:
    """Return the models of a workspace."""
    found = session.transport.call("GET", path("workspaces", workspace_id, "models")).json()
    return ModelList(ModelFamily(session, view) for view in found["models"])


def _specs_text(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name}: {spec}" for spec in specs)
