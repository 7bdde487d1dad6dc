"""A model version: one uploaded file, its signature, and how it is fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gnomon.core.tensors import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives, read from the file by the probe.

    Attributes:
        inputs: In the order of the model's graph.
        outputs: In the order of the model's graph.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One upload under a model's name. Immutable, but for `tensor_fields`.

    Attributes:
        id: Unique in the server.
        uuid: The version as users see it.
        name: The model's name, unique in its workspace without regard to case.
        ordinal: 1 for the first upload under this name, then 2, 3, ...
        sha256: Hex digest of the file's bytes, and the file's name in the artifact store.
        tensor_fields: The i-th column name feeds the i-th graph input; None: found by name.
        created_by: Id of the user who uploaded it.
    """

    id: int
    uuid: str
    model_id: int
    workspace_id: int
    name: str
    ordinal: int
    sha256: str
    size_bytes: int
    file_name: str
    signature: Signature
    tensor_fields: tuple[str, ...] | None = None
    created_at: datetime
    created_by: int

    def __post_init__(self) -> None:
        assert self.ordinal >= 1
        assert len(self.sha256) == 64
        assert self.created_at.tzinfo is not None
