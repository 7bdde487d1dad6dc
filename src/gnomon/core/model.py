"""A model version: one uploaded file, its signature, and how it is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from gnomon.core.tensors import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives: read from an ONNX file, declared of a Python model.

    Attributes:
        inputs: In the order of the model's graph, or of what was declared.
        outputs: Likewise.
        row_wise: The probe saw that each row of the outputs follows from the same row of the
            inputs alone, so rows of different requests may be run together.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    row_wise: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the signature as JSON values."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "row_wise": self.row_wise,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Signature:
        """Read what `to_json` wrote."""
        return cls(
            inputs=tuple(TensorSpec.from_json(spec) for spec in value["inputs"]),
            outputs=tuple(TensorSpec.from_json(spec) for spec in value["outputs"]),
            row_wise=value.get("row_wise", False),
        )


BatchConfig = Literal["single", "batch"]
Runtime = Literal["onnx", "python"]

PYTHON_NOT_ALLOWED = (
    "This server runs no Python models. Start it with 'gnomon serve --allow-python-models' if "
    "whoever may upload a model may also run code on its machine."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What users say of a model version, beside which columns feed it.

    Attributes:
        batch_config: "single": no run holds the rows of several requests. "batch", or None: runs
            do, if `Signature.row_wise`.
        input_schema: The columns that the user expects it to take; checked, and kept.
        output_schema: The columns that the user expects it to give; checked, and kept.
        dynamic_batching_config: Kept without effect.
    """

    batch_config: BatchConfig | None = None
    input_schema: tuple[TensorSpec, ...] | None = None
    output_schema: tuple[TensorSpec, ...] | None = None
    dynamic_batching_config: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        kept = self.dynamic_batching_config
        return {
            "batch_config": self.batch_config,
            "input_schema": _specs_to_json(self.input_schema),
            "output_schema": _specs_to_json(self.output_schema),
            "dynamic_batching_config": None if kept is None else dict(kept),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Configuration:
        """Read what `to_json` wrote, or a part of it."""
        return cls(
            batch_config=value.get("batch_config"),
            input_schema=_specs_from_json(value.get("input_schema")),
            output_schema=_specs_from_json(value.get("output_schema")),
            dynamic_batching_config=value.get("dynamic_batching_config"),
        )


UNCONFIGURED = Configuration()


def _specs_to_json(specs: Sequence[TensorSpec] | None) -> list[dict[str, Any]] | None:
    return None if specs is None else [spec.to_json() for spec in specs]


def _specs_from_json(specs: Sequence[Mapping[str, Any]] | None) -> tuple[TensorSpec, ...] | None:
    return None if specs is None else tuple(TensorSpec.from_json(spec) for spec in specs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One upload under a model's name. Immutable, but for how it is configured and tagged.

    Attributes:
        id: Unique in the server.
        uuid: The version as users see it.
        workspace: The workspace's name.
        name: The model's name, unique in its workspace without regard to case.
        ordinal: 1 for the first upload under this name, then 2, 3, ...
        sha256: Hex digest of the file's bytes, and the file's name in the artifact store.
        runtime: What runs it: ONNX Runtime, or Python.
        tensor_fields: The i-th column name feeds the i-th graph input; None: found by name.
        created_by: Id of the user who uploaded it.
        author: That user's name.
        tags: Texts, in their order.
    """

    id: int
    uuid: str
    model_id: int
    workspace_id: int
    workspace: str
    name: str
    ordinal: int
    sha256: str
    size_bytes: int
    file_name: str
    signature: Signature
    runtime: Runtime = "onnx"
    tensor_fields: tuple[str, ...] | None = None
    configuration: Configuration = UNCONFIGURED
    created_at: datetime
    created_by: int
    author: str
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.ordinal >= 1
        assert len(self.sha256) == 64
        assert self.created_at.tzinfo is not None
