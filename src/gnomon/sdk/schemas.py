"""Columns of a model as pyarrow schemas say them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gnomon.core import limits
from gnomon.core.errors import Invalid

if TYPE_CHECKING:
    import pyarrow as pa

# What pyarrow calls the types of values -> a key of `core.tensors.DTYPES`.
_DTYPES = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "large_string": "string",
    "string_view": "string",
    **{
        name: name
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
                     "bool", "string")
    },
}  # fmt: skip


def specs_of(schema: Any, argument: str) -> list[dict[str, Any]]:
    """Return a schema's columns as the server takes them.

    Args:
        schema: A pyarrow.Schema; lists in lists are axes after the first one, which is the row.
        argument: What it was given for, for messages.

    Raises:
        Invalid: It is no schema, or a column holds what no model takes.
    """
    import pyarrow as pa

    if not isinstance(schema, pa.Schema):
        raise Invalid(
            f"{argument} must be a pyarrow.Schema, as pyarrow.schema([pyarrow.field('tensor', "
            f"pyarrow.list_(pyarrow.float32(), 29))]), got {type(schema).__name__}."
        )
    return [_spec(field, argument) for field in schema]


def schema_of(specs: Sequence[dict[str, Any]]) -> pa.Schema:
    """Return the schema of which `specs_of` makes these columns."""
    import pyarrow as pa

    fields = []
    for spec in specs:
        kind = pa.type_for_alias(spec["dtype"])
        for size in reversed(spec["shape"][1:]):
            kind = pa.list_(kind, -1 if size is None else size)
        fields.append(pa.field(spec["name"], kind))
    return pa.schema(fields)


def _spec(field: Any, argument: str) -> dict[str, Any]:
    import pyarrow as pa

    shape: list[int | None] = [None]
    kind = field.type
    while len(shape) < limits.TENSOR_RANK_MAX:
        if pa.types.is_fixed_size_list(kind):
            shape.append(kind.list_size)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            shape.append(None)
        else:
            break
        kind = kind.value_type
    if str(kind) not in _DTYPES:
        raise Invalid(
            f"{argument}: the column {field.name[:80]!r} is {str(field.type)[:80]}; models take "
            "numbers, booleans and text, and lists of them."
        )
    return {"name": field.name, "dtype": _DTYPES[str(kind)], "shape": shape}
