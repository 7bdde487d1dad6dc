"""The columns that a Python model is said to have, as they stand in the query of its upload."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import TypeAdapter, ValidationError

from gnomon.api.bodies import ColumnBody, SchemaBody
from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.model import Runtime, Signature
from gnomon.core.schemas import declared_signature
from gnomon.core.tensors import TensorSpec

SchemaText = Annotated[str | None, Query(max_length=limits.SCHEMA_CHARS_MAX)]

_SCHEMA: TypeAdapter[list[ColumnBody]] = TypeAdapter(SchemaBody)


def declared_columns(
    runtime: Runtime, input_schema: str | None, output_schema: str | None
) -> Signature | None:
    """Return what a model is said to take and give at its upload; None: its file says so.

    Raises:
        Invalid: It is not said of a Python model, or of another one; or it makes no sense.
    """
    if runtime == "python":
        return declared_signature(
            _columns("input_schema", input_schema), _columns("output_schema", output_schema)
        )
    if input_schema is not None or output_schema is not None:
        raise Invalid("Schemas are declared of Python models only: an ONNX file has its own.")
    return None


def _columns(argument: str, text: str | None) -> list[TensorSpec]:
    if text is None:
        return []
    try:
        columns = _SCHEMA.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, (argument, *first["loc"])))
        raise Invalid(f"{where}: {first['msg']}"[: limits.ERROR_TEXT_CHARS_MAX]) from None
    return [TensorSpec.from_json(column.model_dump()) for column in columns]
