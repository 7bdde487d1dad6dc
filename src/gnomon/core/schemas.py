"""The columns that users say a model takes or gives: of a Python model they make them so."""

from __future__ import annotations

from collections.abc import Sequence

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.model import Configuration, Signature
from gnomon.core.tensors import DTYPES, TensorSpec


def check_configuration(
    configuration: Configuration,
    signature: Signature,
    tensor_fields: tuple[str, ...] | None,
    *,
    model: str,
) -> None:
    """Refuse what contradicts a model, or itself.

    Args:
        tensor_fields: The columns that feed its inputs; None: they have the inputs' names.
        model: "name@ordinal", for messages.

    Raises:
        Invalid: The message names what was expected, and what the model has.
    """
    names = tensor_fields or tuple(spec.name for spec in signature.inputs)
    _check_schema("input_schema", configuration.input_schema, signature.inputs, names, model)
    names = tuple(spec.name for spec in signature.outputs)
    _check_schema("output_schema", configuration.output_schema, signature.outputs, names, model)
    if configuration.batch_config == "single" and configuration.dynamic_batching_config is not None:
        raise Invalid(
            f'{model}: batch_config "single" runs each request alone, and dynamic_batching_config '
            "is about running several together; give one of them."
        )


def declared_signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Signature:
    """Return what a Python model takes and gives, as its user says.

    Raises:
        Invalid: There are no columns, too many of them, or some that no model can have.
    """
    for argument, columns in (("input_schema", inputs), ("output_schema", outputs)):
        if not columns:
            raise Invalid(
                f"A Python model needs the columns that it takes and gives: {argument} has none."
            )
        if len(columns) > limits.TENSORS_PER_REQUEST_MAX:
            raise Invalid(
                f"{argument} has {len(columns)} columns; {limits.TENSORS_PER_REQUEST_MAX} at most."
            )
        for column in columns:
            _check_column(argument, column)
        if len({column.name for column in columns}) < len(columns):
            raise Invalid(f"{argument} has two columns of one name; name each once.")
    return Signature(inputs=tuple(inputs), outputs=tuple(outputs))


def _check_column(argument: str, column: TensorSpec) -> None:
    name = column.name
    if not name or not name.isprintable() or len(name.encode()) > limits.MODEL_NAME_BYTES_MAX:
        raise Invalid(
            f"{argument}: a column must be named by 1 to {limits.MODEL_NAME_BYTES_MAX} bytes of "
            f"printable text, got {name[:80]!r}."
        )
    sizes = [size for size in column.shape[1:] if size is not None]
    if (
        column.dtype not in DTYPES
        or column.shape[:1] != (None,)
        or len(column.shape) > limits.TENSOR_RANK_MAX
        or not all(1 <= size <= limits.TENSOR_ELEMENTS_MAX for size in sizes)
    ):
        raise Invalid(
            f"{argument}: the column {name[:80]!r} is {str(column)[:80]}; a column has any number "
            f"of rows, and values of one of the types {', '.join(DTYPES)}."
        )


def _check_schema(
    argument: str,
    given: Sequence[TensorSpec] | None,
    declared: Sequence[TensorSpec],
    names: Sequence[str],
    model: str,
) -> None:
    if given is None:
        return
    by_name = {column.name: column for column in given}
    if len(given) != len(declared) or set(by_name) != set(names):
        raise Invalid(
            f"{argument} has the columns {_shown([column.name for column in given])}; {model} has "
            f"{_shown(names)}. Name these, and no others"
            + (
                ", or name other columns with tensor_fields." if argument == "input_schema" else "."
            ),
        )
    for name, spec in zip(names, declared, strict=True):
        column = by_name[name]
        if column.dtype != spec.dtype or not _fits(column.shape, spec.shape):
            raise Invalid(
                f"{argument}: the column {name[:80]!r} is {column}, and {model} declares {spec}."
            )


def _fits(given: tuple[int | None, ...], declared: tuple[int | None, ...]) -> bool:
    """Say whether a column of this shape can be what the model declares, row axis included.

    A size that is left open on either side fits any; one value a row needs no list.
    """
    if len(given) == 1 and len(declared) > 1:
        return set(declared[1:]) == {1}
    return len(given) == max(len(declared), 1) and all(
        None in (one, other) or one == other for one, other in zip(given, declared, strict=False)
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:80]) for name in names[:10]) or "none"
