"""What an uploaded model says of itself, and how it is configured."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from gnomon.core.errors import Invalid
from gnomon.core.model import BatchConfig, Signature
from gnomon.core.steps import ModelRef
from gnomon.core.tensors import TensorSpec
from gnomon.sdk import html
from gnomon.sdk.configuring import check_batch_config, check_numbers, check_unset
from gnomon.sdk.schemas import schema_of, specs_of
from gnomon.sdk.session import Session
from gnomon.sdk.transport import path

if TYPE_CHECKING:
    import pyarrow as pa

_SCHEMAS = ("input_schema", "output_schema")


class ModelBase:
    """One uploaded version of a model: all of a `catalog.Model` that leads to nothing else."""

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

    def runtime(self) -> str:
        """Return what runs it: "onnx" or "python"."""
        return str(self._view["runtime"])

    def image_path(self) -> str | None:
        """Return None: models run as processes, not as images."""
        return None

    def last_update_time(self) -> datetime:
        """Return when this version was uploaded; aware, in UTC."""
        return datetime.fromisoformat(self._view["created_at"])

    def created_by(self) -> str:
        """Return the name of who uploaded it."""
        return str(self._view["author"])

    def tags(self) -> list[str]:
        """Return the version's tags, as they were when it was fetched."""
        return list(self._view["tags"])

    def delete(self) -> None:
        """Delete this version; its number is not given again. Its file stays until `gnomon gc`.

        Raises:
            Conflict: A pipeline runs it, or would at its next deploy; the message names them.
        """
        models = path("workspaces", self._view["workspace_id"], "models", self.name())
        self._session.transport.call("DELETE", f"{models}/versions/{self.version()}")

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
        """Return how the model is fed and run, and what else was given at the upload.

        Returns:
            "runtime", "tensor_fields", and what was given to `configure` and `upload_model`.
        """
        fields = self.tensor_fields()
        kept = {
            name: self._view[name]
            for name in ("batch_config", "dynamic_batching_config", *_SCHEMAS)
            if self._view.get(name) is not None
        }
        if self.runtime() == "python":  # where it was not said otherwise later
            declared = self._view["signature"]
            kept = {
                "input_schema": declared["inputs"],
                "output_schema": declared["outputs"],
                **kept,
            }
        schemas = {name: schema_of(kept[name]) for name in _SCHEMAS if name in kept}
        return {
            **self._options,
            **kept,
            **schemas,
            "runtime": self.runtime(),
            "tensor_fields": None if fields is None else list(fields),
        }

    def configure(
        self,
        runtime: str | None = None,
        tensor_fields: Sequence[str] | None = None,
        filter_threshold: float | None = None,
        input_schema: pa.Schema | None = None,
        output_schema: pa.Schema | None = None,
        batch_config: BatchConfig | None = None,
        dynamic_batching_config: Mapping[str, float] | None = None,
        continuous_batching_config: Any = None,
        openai_config: Any = None,
    ) -> Self:
        """Say how the model is fed and run, in pipelines that are deployed from now on.

        What is None stays as it is; if one thing is refused, none is changed.

        Args:
            runtime: What runs it already: it cannot be changed.
            tensor_fields: The i-th column name feeds the i-th input of the model's graph.
            filter_threshold: Only None, as for the last two: there is nothing in gnomon that it
                could set.
            input_schema: The columns that the model is expected to take, in any order: it is
                compared with what the file declares, and kept. A list's size may be left open.
            output_schema: The columns that it is expected to give; likewise.
            batch_config: "single": no run holds the rows of several requests. "batch": what
                waits together is run together, if the model was seen at its upload to answer
                each row from that row alone; so it is without being said.
            dynamic_batching_config: A mapping of numbers, kept without effect: nothing waits for
                a batch to grow.

        Returns:
            The model itself.

        Raises:
            Invalid: Another runtime, not one field per input, a schema that is not the model's,
                "single" together with dynamic batching, or what gnomon cannot be told.
        """
        if runtime not in (None, self.runtime()):
            raise Invalid(
                f"The runtime of {self.name()} is {self.runtime()!r}, and stays so; "
                f"{str(runtime)[:80]!r} was given."
            )
        check_unset(
            filter_threshold=filter_threshold,
            continuous_batching_config=continuous_batching_config,
            openai_config=openai_config,
        )
        changes: dict[str, Any] = {}
        if tensor_fields is not None:
            changes["tensor_fields"] = self._fields(tensor_fields)
        if batch_config is not None:
            changes["batch_config"] = check_batch_config(batch_config)
        if dynamic_batching_config is not None:
            changes["dynamic_batching_config"] = check_numbers(dynamic_batching_config)
        for name, schema in zip(_SCHEMAS, (input_schema, output_schema), strict=True):
            if schema is not None:
                changes[name] = specs_of(schema, name)
        if changes:
            route = path("workspaces", self._view["workspace_id"], "model-versions", self.version())
            self._view = self._session.transport.call("PATCH", route, document=changes).json()
        if dynamic_batching_config is not None:
            warnings.warn(
                "dynamic_batching_config is kept without effect: what waits when a host is idle "
                "runs together, and nothing waits for a batch to grow.",
                UserWarning,
                stacklevel=2,
            )
        return self

    def _fields(self, fields: Sequence[str]) -> list[str]:
        if isinstance(fields, str):
            raise Invalid(f"tensor_fields must be a list of column names: try [{fields!r}].")
        inputs = self.inputs()
        if len(fields) != len(inputs):
            names = ", ".join(repr(spec.name) for spec in inputs)
            raise Invalid(
                f"{self.name()} has {len(inputs)} inputs ({names}), and {len(fields)} "
                "tensor_fields were given; give one column name per input."
            )
        return list(fields)

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

    def _row(self) -> dict[str, object]:
        return {
            "name": self.name(),
            "version": self.version(),
            "number": self.ordinal(),
            "file_name": self.file_name(),
            "tags": ", ".join(self.tags()),
            "last_update_time": html.time_text(self.last_update_time()),
            "workspace_id": self._view["workspace_id"],
            "workspace_name": self._view["workspace"],
        }

    def _repr_html_(self) -> str:
        return html.facts(
            (
                ("Name", self.name()),
                ("Version", self.version()),
                ("Number", self.ordinal()),
                ("File Name", self.file_name()),
                ("SHA", self.sha()),
                ("Status", self.status()),
                ("Runtime", self.runtime()),
                ("Inputs", _specs_text(self.inputs())),
                ("Outputs", _specs_text(self.outputs())),
                ("Fed by", ", ".join(self.tensor_fields() or ()) or "(columns found by name)"),
                ("Tags", ", ".join(self.tags())),
                ("Updated At", html.time_text(self.last_update_time())),
                ("Uploaded by", self.created_by()),
                ("Workspace id", self._view["workspace_id"]),
                ("Workspace name", self._view["workspace"]),
            )
        )


def _specs_text(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name}: {spec}" for spec in specs)
